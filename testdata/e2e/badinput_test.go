package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"supervisor/testdata/lab"
)

func TestFilesThatCannotBeUsed(t *testing.T) {
	t.Parallel()
	s := newSupervisor(t)
	unharmed := steady(t, s)
	port := freePort(t)
	for _, c := range []struct {
		name, file, text string
		says             []string
	}{
		{"missing", "", "", []string{"none.yaml", "no such file"}},
		{"empty", "empty.yaml", "", []string{"empty.yaml"}},
		{"no yaml", "torn.yaml", "apps:\n  - name: [web\n", []string{"torn.yaml:"}},
		{"not apps", "list.yaml", "- a\n- b\n", []string{"list.yaml:1"}},
		{"unknown key", "key.yaml", "apps:\n  - name: web\n    script: /bin/true\n    instnaces: 2\n", []string{"key.yaml:4:5", "instnaces", "instances"}},
		{"wrong type", "type.yaml", "apps:\n  - name: web\n    script: /bin/true\n    kill_timeout: [soon]\n", []string{"type.yaml:4", "kill_timeout"}},
		{"several at once", "all.yaml", "apps:\n  - name: web\n    scirpt: x\n    instances: -x\n  - script: /bin/true\n    cwd: /none\n",
			[]string{"scirpt", "instances", "/none"}},
		{"two of one name", "twins.yaml", "apps:\n  - {name: web, script: /bin/true}\n  - {name: web, script: /bin/true}\n", []string{"twins.yaml:3", "web"}},
		{"one port twice", "port.yaml", fmt.Sprintf("apps:\n  - {name: a, script: /bin/true, listen: [\"tcp://127.0.0.1:%d\"]}\n  - {name: b, script: /bin/true, listen: [\"tcp://127.0.0.1:%d\"]}\n", port, port),
			[]string{"port.yaml:3", fmt.Sprint(port), "a"}},
		{"missing script", "script.yaml", "apps:\n  - {name: web, script: gone.js}\n", []string{"script.yaml:2", "gone.js"}},
		{"missing interpreter", "interpreter.yaml", "apps:\n  - {name: web, script: /bin/true, interpreter: cobol}\n", []string{"interpreter.yaml:2", "cobol", "PATH"}},
		{"a folder without package main", "folder.yaml", "apps:\n  - {name: web, script: /usr/share}\n", []string{"folder.yaml:2", "/usr/share", "package main"}},
		{"a name that another file has", "name.yaml", "apps:\n  - {name: calm, script: /bin/true}\n", []string{"calm", "calm.yaml", "nothing was changed"}},
	} {
		path := filepath.Join(s.Dir, "none.yaml")
		if c.file != "" {
			path = s.write(c.file, c.text)
		}
		for _, verb := range []string{"start", "reload", "validate"} {
			if verb == "validate" && c.name == "a name that another file has" {
				continue // the file itself is good
			}
			out := s.Fails(2, c.says, verb, path)
			if t.Failed() {
				t.Fatalf("%s: %s", c.name, out.All())
			}
			if strings.Contains(out.All(), "goroutine ") {
				t.Errorf("%s: %s", c.name, out.All())
			}
		}
		unharmed()
	}
	if apps := s.List().Apps; len(apps) != 1 {
		t.Errorf("%d apps", len(apps))
	}
}

func TestABrokenFileStartsNoDaemon(t *testing.T) {
	t.Parallel()
	s := newSupervisor(t)
	path := s.write("bad.yaml", "apps: [{script: x, nmae: y}]\n")
	s.Fails(2, []string{"bad.yaml:1", "nmae"}, "start", path)
	s.Fails(1, []string{"gone.js"}, "start", "gone.js")
	s.Fails(3, []string{"no supervisor runs"}, "list")
}

// A port that two apps bind by themselves: the second one's worker is refused, as it
// would be without a supervisor, and the message names who has it.
func TestTwoAppsThatBindOnePort(t *testing.T) {
	t.Parallel()
	s := newSupervisor(t)
	port := freePort(t)
	keys := fmt.Sprintf("autorestart: false\nenv: {PORT: %d}", port)
	s.ecosystem(behaves(t, "first", "bind", keys))
	s.Must("start")
	unharmed := s.Pids("first")
	s.ecosystem(behaves(t, "first", "bind", keys), behaves(t, "second", "bind", keys))
	out := s.Fails(1, []string{"second", "address already in use", fmt.Sprintf("can't have tcp://127.0.0.1:%d: app first has it", port)}, "start")
	if strings.Count(out.All(), "can't have") != 1 {
		t.Errorf("it says: %s", out.All())
	}
	if now := s.Pids("first"); now[0] != unharmed[0] {
		t.Errorf("pid %v became %v\n%s", unharmed, now, out.All())
	}
	s.Fails(0, []string{"app first has it"}, "describe", "second")
}

func TestAHomeThatIsNotWritable(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("needs another user to be")
	}
	root, err := os.MkdirTemp("", "sv")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(root)
	os.Chmod(root, 0o755)
	own := filepath.Join(root, "supervisor") // that of the tests lies in a folder of ours
	data, err := os.ReadFile(lab.Binary)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(own, data, 0o755); err != nil {
		t.Fatal(err)
	}
	home := filepath.Join(root, "home")
	os.Mkdir(home, 0o755)
	for _, c := range []struct{ name, home string }{{"there", home}, {"to be made", filepath.Join(home, "new")}} {
		for _, args := range [][]string{{"start", "/bin/true"}, {"start", "--no-daemon", "/bin/true"}} {
			text, code := asNobody(t, c.home, own, args...)
			if code != 1 || !strings.Contains(text, c.home) || !strings.Contains(text, "permission denied") {
				t.Errorf("%s: %v: exit %d: %s", c.name, args, code, text)
			}
		}
	}
	if left, _ := os.ReadDir(home); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestAStaleSocket(t *testing.T) {
	t.Parallel()
	s := newSupervisor(t)
	os.Mkdir(s.Home, 0o700)
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(s.Home, "supervisor.sock"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	ln.SetUnlinkOnClose(false)
	ln.Close()
	os.WriteFile(filepath.Join(s.Home, "supervisor.pid"), []byte("1\n"), 0o600)
	s.Fails(3, []string{"no supervisor runs"}, "ping")
	s.Fails(3, []string{"no supervisor runs"}, "list")
	steady(t, s)()
}

func TestASecondDaemon(t *testing.T) {
	t.Parallel()
	s := newSupervisor(t)
	unharmed := steady(t, s)
	s.Fails(1, []string{s.Home, fmt.Sprintf("pid %d has it", s.List().Daemon.PID)}, "start", "--no-daemon", "calm.yaml")
	unharmed()
}

func TestNamesAndCountsThatMakeNoSense(t *testing.T) {
	t.Parallel()
	s := newSupervisor(t)
	unharmed := steady(t, s)
	for _, c := range []struct {
		code int
		says string
		args []string
	}{
		{1, "calm", []string{"reload", "clam"}},
		{1, "calm", []string{"stop", "clam"}},
		{2, "scale", []string{"scale", "calm"}},
		{2, "calm", []string{"scale", "calm", "many"}},
		{2, "calm", []string{"scale", "calm", "-2"}},
		{2, "0", []string{"scale", "calm", "0x"}},
		{2, "SIGWHAT", []string{"signal", "SIGWHAT", "calm"}},
		{2, "realod", []string{"realod"}},
		{2, "jsno", []string{"list", "--jsno"}},
		{2, "-n", []string{"logs", "-n", "many"}},
	} {
		s.Fails(c.code, []string{c.says}, c.args...)
	}
	unharmed()
}

func TestAFolderThatIsNoProgram(t *testing.T) {
	t.Parallel()
	s := newSupervisor(t)
	unharmed := steady(t, s)
	os.Mkdir(filepath.Join(s.Dir, "folder"), 0o755)
	out := s.Fails(2, []string{"folder", "package main"}, "start", "./folder")
	if strings.Count(out.All(), "cannot start") != 1 {
		t.Errorf("it says: %s", out.All())
	}
	unharmed()
}
