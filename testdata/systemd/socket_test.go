package systemd

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// A socket unit's sockets become those of the apps that declare or bind them.
func TestSocketUnit(t *testing.T) {
	a := web(t) // binds its address
	named := app{name: "named", port: ports.Free(t), mode: "listenfds"}
	named.keys = fmt.Sprintf("listen: 'front=tcp://127.0.0.1:%d'\n", ports.Free(t)) // elsewhere: the name counts
	v := started(t, "", a, named)
	v.systemctl("stop")
	name := strings.TrimSuffix(v.name, ".service") + ".socket"
	path := "/etc/systemd/system/" + name
	text := fmt.Sprintf("[Socket]\nListenStream=%s\nFileDescriptorName=front\n", named.address())
	other := fmt.Sprintf("[Socket]\nListenStream=%s\nListenStream=127.0.0.1:%d\nService=%s\n", a.address(), ports.Free(t), v.name)
	for p, text := range map[string]string{path: text, strings.Replace(path, ".socket", "-other.socket", 1): other} {
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	names := []string{name, strings.Replace(name, ".socket", "-other.socket", 1)}
	for _, args := range [][]string{{"daemon-reload"}, append([]string{"start"}, names...)} {
		if out, err := exec.Command("systemctl", args...).CombinedOutput(); err != nil {
			t.Fatalf("systemctl %v: %v\n%s", args, err, out)
		}
	}
	v.systemctl("start")
	v.under(func() {
		v.systemctl("restart")
		v.main().Kill()
		v.ping()
		v.systemctl("reload")
		v.Must("stop", "web")
		v.Must("start", "web")
	}, a, named)
	for _, name := range names {
		exec.Command("systemctl", "stop", name).Run()
	}
}
