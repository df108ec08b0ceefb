package cli

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"supervisor/supervisor/control"
)

// fakeManager is a systemd that remembers what it was told.
type fakeManager struct {
	calls []string
	fails map[string]string // verb -> what it says
}

func (m *fakeManager) run(program string, args ...string) (string, error) {
	call := strings.Join(append([]string{program}, args...), " ")
	m.calls = append(m.calls, call)
	if program == "journalctl" {
		return "cannot use it\nthe last words\n", nil
	}
	args = slices.DeleteFunc(slices.Clone(args), func(a string) bool { return a == "--user" })
	if said, fails := m.fails[args[0]]; fails {
		return "", errors.New(said)
	}
	return "", nil
}

// withManager gives a world a file, and a systemd to install it in.
func withManager(t *testing.T) (*world, *fakeManager) {
	w := newWorld(t)
	m := &fakeManager{fails: map[string]string{"is-active": "inactive"}}
	w.systemd = Systemd{Euid: func() int { return 0 }, Dir: filepath.Join(w.dir, "units"), Programs: filepath.Join(w.dir, "libexec"), Run: m.run}
	w.write("app.js", "#!/bin/true\n")
	w.write("shop.yaml", valid+"    instances: 3\n    kill_timeout: 30s\n")
	w.env["HOME"], w.env["PATH"] = "/home/me", "/opt/100% mine/bin:/bin"
	return w, m
}

func (w *world) read(path ...string) string {
	w.t.Helper()
	data, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		w.t.Fatal(err)
	}
	return string(data)
}

func TestUnitIsPrinted(t *testing.T) {
	w, m := withManager(t)
	w.systemd.Euid = func() int { return 1000 } // it needs no root
	self, err := filepath.EvalSymlinks("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(w.dir, "shop.yaml")
	w.want(w.run("unit", "shop.yaml", "--env", ""), 0,
		"ExecStart="+self+" start --no-daemon "+file+"\n", "Environment=SUPERVISOR_HOME="+w.home+"\n",
		`Environment="PATH=/opt/100%% mine/bin:/bin"`, "Environment=HOME=/home/me\n", "TimeoutStopSec=45s\n", "WantedBy=multi-user.target\n")
	text := w.out
	w.terminal = true
	if w.run("unit", "shop.yaml", "--env", ""); w.out != text {
		t.Errorf("a terminal shows\n%s", w.out)
	}
	w.terminal = false
	if strings.Contains(w.out, "SUPERVISOR_INSTALLED") {
		t.Error("an upgrade would replace the program")
	}
	w.want(w.run("unit", "--user", "--json", "shop.yaml"), 0, `"name":"supervisor-shop.service"`, "WantedBy=default.target")
	w.write("shop.conf", valid)
	w.want(w.run("unit", "shop.conf"), 2, "cannot make a unit of shop.conf: the name of its file has to end in .yaml")
	w.write("bad.yaml", "apps: 3\n")
	w.want(w.run("unit", "bad.yaml"), 2, "cannot make a unit of bad.yaml: 1 complaint")
	if len(m.calls) > 0 {
		t.Errorf("systemd was told %q", m.calls)
	}
}

func TestStartup(t *testing.T) {
	w, m := withManager(t)
	file := filepath.Join(w.dir, "shop.yaml")
	program := filepath.Join(w.dir, "libexec", "supervisor-shop")
	w.want(w.run("startup", "shop.yaml"), 0, "installed "+program, "enabled supervisor-shop.service", "supervisor-shop.service runs, and starts at each boot")
	want := []string{"systemctl show --property=Version", "systemctl daemon-reload", "systemctl enable supervisor-shop.service", "systemctl is-active supervisor-shop.service", "systemctl start supervisor-shop.service"}
	if !slices.Equal(m.calls, want) {
		t.Errorf("systemd was told %q", m.calls)
	}
	text := w.read(w.dir, "units", "supervisor-shop.service")
	for _, line := range []string{"ExecStart=" + program + " start --no-daemon " + file, "Environment=SUPERVISOR_INSTALLED=" + program} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("the unit has no %q:\n%s", line, text)
		}
	}
	if w.read(program) != w.read("/proc/self/exe") {
		t.Error("the installed program is another")
	}

	// Again, while it runs: it is left alone.
	delete(m.fails, "is-active")
	w.want(w.run("startup", "shop.yaml", "--json"), 0, `"running":true`)
	w.want(w.run("startup", "shop.yaml"), 0, "runs already", "systemctl restart supervisor-shop.service")

	// Another file does not take its name.
	w.write("other.yaml", valid)
	w.want(w.run("startup", "other.yaml", "--name", "supervisor-shop"), 1, "is there, and was not made for", "--name takes another")

	m.calls = nil
	w.want(w.run("unstartup"), 0, "stopped and disabled supervisor-shop.service", "removed "+program)
	want = []string{"systemctl disable supervisor-shop.service", "systemctl stop supervisor-shop.service", "systemctl daemon-reload", "systemctl reset-failed supervisor-shop.service"}
	if !slices.Equal(m.calls, want) {
		t.Errorf("systemd was told %q", m.calls)
	}
	for _, dir := range []string{"units", "libexec"} {
		if left, _ := os.ReadDir(filepath.Join(w.dir, dir)); len(left) > 0 {
			t.Errorf("left: %v", left)
		}
	}
	w.want(w.run("unstartup"), 1, "startup has installed none")
}

func TestStartupOfAUser(t *testing.T) {
	w, m := withManager(t)
	w.systemd.Euid = func() int { return 1000 }
	w.env["HOME"] = w.dir
	w.want(w.run("startup", "shop.yaml"), 1, "you are not root", "--user")
	w.want(w.run("unstartup"), 1, "you are not root", "--user")
	w.home = filepath.Join(w.home, "new")
	w.env["SUPERVISOR_HOME"] = w.home
	w.want(w.run("startup", "shop.yaml", "--user", "--name", "mine"), 0, "mine.service runs, and starts at each login", "enable-linger")
	if info, err := os.Stat(w.home); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("others may look into the home: %v, %v", info.Mode(), err)
	}
	text := w.read(w.dir, ".config", "systemd", "user", "mine.service")
	if !strings.Contains(text, "ExecStart="+filepath.Join(w.home, "bin", "mine")+" ") || strings.Contains(text, "CapabilityBoundingSet") {
		t.Errorf("unit:\n%s", text)
	}
	if !slices.Contains(m.calls, "systemctl --user start mine.service") {
		t.Errorf("systemd was told %q", m.calls)
	}
	w.want(w.run("unstartup", "--user", "shop.yaml", "--json"), 0, `{"unit":"mine.service"}`)
	delete(w.env, "HOME")
	w.want(w.run("startup", "shop.yaml", "--user"), 2, "cannot find your systemd units")
}

// A service that does not start is not tried for ever, and its last words are shown.
func TestStartupFails(t *testing.T) {
	w, m := withManager(t)
	m.fails["start"] = "Job for supervisor-shop.service failed."
	w.want(w.run("startup", "shop.yaml"), 1, "is installed and enabled, but did not start: Job for", "the last words")
	if last := m.calls[len(m.calls)-1]; last != "systemctl stop supervisor-shop.service" {
		t.Errorf("last systemd was told %q", last)
	}
	m.fails["enable"] = "no"
	w.want(w.run("startup", "shop.yaml"), 1, "cannot enable supervisor-shop.service: no")
	m.fails["daemon-reload"] = "Access denied"
	w.want(w.run("startup", "shop.yaml"), 1, "cannot install supervisor-shop.service: Access denied")
}

// Where there is no systemd nothing is left of the attempt.
func TestStartupWithoutSystemd(t *testing.T) {
	w, m := withManager(t)
	m.fails["show"] = "System has not been booted with systemd"
	w.want(w.run("startup", "shop.yaml"), 1, "cannot install supervisor-shop.service: System has not been booted with systemd")
	for _, dir := range []string{"units", "libexec"} {
		if left, _ := os.ReadDir(filepath.Join(w.dir, dir)); len(left) > 0 {
			t.Errorf("left: %v", left)
		}
	}
}

func TestUnstartupTells(t *testing.T) {
	w, _ := withManager(t)
	w.write("web.yaml", valid)
	for _, file := range []string{"shop.yaml", "web.yaml"} {
		w.want(w.run("startup", file), 0)
	}
	w.want(w.run("unstartup"), 2, "name one of supervisor-shop.service, supervisor-web.service")
	w.want(w.run("unstartup", "nope"), 1, "startup has installed supervisor-shop.service, supervisor-web.service")
	w.want(w.run("unstartup", "supervisor-web"), 0)
	os.Remove(filepath.Join(w.dir, "shop.yaml")) // the file is gone, its service is not
	w.want(w.run("unstartup", "shop.yaml"), 0)
}

// A supervisor that has the home already would keep the service from starting.
func TestStartupBesideAnother(t *testing.T) {
	w, m := withManager(t)
	w.withDaemon(func(b *fakeBackend) { b.pong = control.Pong{PID: 123} })
	w.want(w.run("startup", "shop.yaml"), 1, "another supervisor (pid", "supervisor kill")
	if len(m.calls) > 0 {
		t.Errorf("systemd was told %q", m.calls)
	}
}

func TestSweepCommand(t *testing.T) {
	w := newWorld(t)
	w.want(w.run("sweep"), 0)
	w.env["SERVICE_RESULT"] = "timeout"
	w.want(w.run("sweep"), 0) // nothing was being stopped
	if w.out+w.err != "" {
		t.Errorf("said %q %q", w.out, w.err)
	}
	os.Mkdir(filepath.Join(w.home, "state"), 0o700)
	state, _ := json.Marshal(map[string]bool{"stopping": true, "closed": true})
	os.WriteFile(filepath.Join(w.home, "state", "daemon.json"), state, 0o600)
	w.want(w.run("sweep"), 0)
}
