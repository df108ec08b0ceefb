package e2e

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// --dry-run does nothing, whatever it is given: a file, a name, a script, everything.
func TestDryRunDoesNothing(t *testing.T) {
	t.Parallel()
	s := newSupervisor(t)
	server := goServer(t)
	s.ecosystem(fmt.Sprintf("name: filed\nscript: %s\nsoak: 0\nenv: {PORT: %d}\nenv_other: {DRY_RUN_SAYS: y}", server, freePort(t)))
	s.Must("start")
	idle := s.write("idle.sh", "exec sleep 1000\n")
	s.Must("start", idle, "--name", "scripted")
	s.Must("stop", "scripted")
	before := s.running()
	for _, c := range []struct{ command, says string }{
		{"start scripted --dry-run", "scripted: start"},
		{"start filed --dry-run", "filed: unchanged"},
		{"reload --dry-run", "filed: replace"},
		{"reload filed --dry-run --env other", "filed: reload"},
		{"start " + idle + " --name third --dry-run", "third: start"},
	} {
		out := s.Must(strings.Fields(c.command)...)
		if !strings.Contains(out.Stdout, c.says) {
			t.Errorf("%s does not say %q:\n%s", c.command, c.says, out.All())
		}
	}
	if now := s.running(); now != before {
		t.Errorf("%s became %s", before, now)
	}
	s.Must("start", "scripted")
	before = s.running()
	s.Must("reload", "--dry-run")
	if now := s.running(); now != before {
		t.Errorf("%s became %s", before, now)
	}
	s.Must("reload", "filed") // an --env of a dry run is not remembered
	if env := s.read(fmt.Sprintf("/proc/%d/environ", s.Pids("filed")[0])); strings.Contains(env, "\x00DRY_RUN_SAYS=y\x00") {
		t.Error("the --env of a dry run holds")
	}
	if left, _ := filepath.Glob(filepath.Join(s.Home, "logs", "third-*")); len(left) > 0 {
		t.Errorf("third ran: %v", left)
	}
}

// running tells every app's status and pids.
func (s *supervisor) running() string {
	var all []string
	for _, app := range s.List().Apps {
		line := app.Name + " " + app.Status
		for _, w := range app.Workers {
			line += fmt.Sprint(" ", w.PID)
		}
		all = append(all, line)
	}
	return strings.Join(all, "; ")
}
