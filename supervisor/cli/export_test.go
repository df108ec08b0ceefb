package cli

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"supervisor/supervisor/state"
)

const exportable = "apps:\n  - name: web\n    script: app.js\n    interpreter: none\n    port: 3000\n    depends_on: db\n  - name: db\n    script: app.js\n    interpreter: none\n    kill_signal: SIGTERM\n"

func TestExportPrintsDocumentsAndNamesWhatIsLost(t *testing.T) {
	w := newWorld(t)
	w.write("app.js", "")
	w.write("ecosystem.yaml", exportable)
	w.want(w.run("export", "k8s", "ecosystem.yaml", "--image", "example/web:1"), state.ExitOK)
	for _, word := range []string{"kind: Deployment", "kind: Service", "image: example/web:1", "- ./app.js", "name: db"} {
		if !strings.Contains(w.out, word) {
			t.Errorf("no %q in\n%s", word, w.out)
		}
	}
	path := filepath.Join(w.dir, "ecosystem.yaml")
	for _, line := range []string{
		"warning: " + path + ":6:5: apps[0].depends_on: all apps are started at once",
		"warning: " + path + ":2:5: apps[0].kill_signal: stopSignal needs", // not written: SIGINT is ours
		"warning: " + path + ":7:5: apps[1]: no port is known",
	} {
		if !strings.Contains(w.err, line) {
			t.Errorf("no %q in\n%s", line, w.err)
		}
	}
	w.write("metered.yaml", "metrics: 127.0.0.1:9615\n"+exportable)
	w.want(w.run("export", "nomad", "metered.yaml"), state.ExitOK, "metered.yaml:1:1: metrics: nobody answers there")
	w.want(w.run("export", "nomad", "ecosystem.yaml"), state.ExitOK, `job "`, `group "db"`, `driver`, `"exec"`, "depends_on")
}

func TestExportAsJSON(t *testing.T) {
	w := newWorld(t)
	w.write("app.js", "")
	w.write("ecosystem.yaml", exportable)
	w.want(w.run("export", "nomad", "ecosystem.yaml", "--image", "example/web:1", "--json"), state.ExitOK)
	var answer exportJSON
	if err := json.Unmarshal([]byte(w.out), &answer); err != nil || w.err != "" {
		t.Fatalf("%v: %s%s", err, w.out, w.err)
	}
	if !strings.Contains(answer.Document, `image   = "example/web:1"`) || len(answer.Warnings) == 0 {
		t.Errorf("%+v", answer)
	}
}

func TestExportRefuses(t *testing.T) {
	w := newWorld(t)
	w.write("app.js", "")
	w.write("ecosystem.yaml", exportable)
	w.want(w.run("export", "k8s", "ecosystem.yaml"), state.ExitUsage, "--image NAME")
	w.want(w.run("export", "swarm", "ecosystem.yaml"), state.ExitUsage, "write k8s or nomad")
	w.want(w.run("export", "k8s"), state.ExitUsage, "export wants k8s|nomad FILE")
	w.write("ecosystem.yaml", exportable+"    wiat_ready: true\n")
	w.want(w.run("export", "nomad", "ecosystem.yaml"), state.ExitUsage, "cannot export ecosystem.yaml: 1 complaint", "wait_ready")
}
