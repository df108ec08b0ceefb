package systemd

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

func TestSweepOnlyAfterATimeout(t *testing.T) {
	state := filepath.Join(t.TempDir(), "daemon.json")
	for name, c := range map[string]struct{ result, state string }{
		"a success":      {"success", `{"stopping":true}`},
		"the watchdog":   {"watchdog", `{"stopping":true}`},
		"nothing said":   {"", `{"stopping":true}`},
		"a crash":        {"timeout", `{"loop":{}}`},
		"a stop done":    {"timeout", `{"stopping":true,"closed":true}`},
		"a broken state": {"timeout", `{"stopping":true`},
		"no state":       {"timeout", ""},
	} {
		os.Remove(state)
		if c.state != "" {
			if err := os.WriteFile(state, []byte(c.state), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if n, err := Sweep(c.result, state); n != 0 || err != nil {
			t.Errorf("%s: %d killed, %v", name, n, err)
		}
	}
	// This process is in no service's cgroup, or in one that is not to be swept here.
	os.WriteFile(state, []byte(`{"stopping":true}`), 0o600)
	if _, err := ownCgroup("/proc/self"); err != nil {
		if _, err := Sweep("timeout", state); err == nil {
			t.Error("a cgroup was swept")
		}
	}
}

// What was being stopped is stopped then, and nobody is to go on with it.
func TestSettle(t *testing.T) {
	state := filepath.Join(t.TempDir(), "daemon.json")
	if err := os.WriteFile(state, []byte(`{"schema":1,"boot_id":"b","stopping":true,"loop":{"apps":[]}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := settle(state); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(state)
	if want := `{"boot_id":"b","closed":true,"schema":1,"stopping":true}`; err != nil || string(data) != want {
		t.Errorf("%s, %v, want %s", data, err, want)
	}
	if stopping(state) {
		t.Error("it goes on")
	}
}

func TestSweepKillsWhatIsThere(t *testing.T) {
	dir := t.TempDir()
	below := filepath.Join(dir, "below")
	if err := os.Mkdir(below, 0o755); err != nil {
		t.Fatal(err)
	}
	var cmds []*exec.Cmd
	for range 3 {
		cmd := exec.Command("sleep", "1000")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		cmds = append(cmds, cmd)
	}
	pid := func(i int) string { return strconv.Itoa(cmds[i].Process.Pid) }
	os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(pid(0)+"\n"+pid(1)+"\n"), 0o644)
	os.WriteFile(filepath.Join(below, "cgroup.procs"), []byte(pid(2)+"\n"), 0o644)
	n, err := sweep(dir, cmds[1].Process.Pid)
	if n != 2 || err != nil {
		t.Errorf("%d killed, %v", n, err)
	}
	if cmds[1].Process.Signal(os.Kill) != nil {
		t.Error("the spared one is gone")
	}
	for _, cmd := range cmds {
		cmd.Wait()
	}
}

func TestOwnCgroup(t *testing.T) {
	root := t.TempDir()
	for _, dir := range []string{"v2/system.slice/web.service", "v1/system.slice/web.service", "part"} {
		dir = filepath.Join(root, dir)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		os.WriteFile(filepath.Join(dir, "cgroup.procs"), nil, 0o644)
	}
	unified := "30 24 0:26 / ROOT/v2 rw,nosuid shared:4 - cgroup2 cgroup2 rw\n"
	legacy := "31 24 0:27 / ROOT/v1 rw shared:5 - cgroup cgroup rw,xattr,name=systemd\n"
	for name, c := range map[string]struct{ groups, mounts, want string }{
		"unified":        {"0::/system.slice/web.service\n", unified, "v2/system.slice/web.service"},
		"hybrid":         {"1:name=systemd:/system.slice/web.service\n0::/system.slice/web.service\n", legacy + unified, "v2/system.slice/web.service"},
		"legacy":         {"12:cpu,cpuacct:/\n1:name=systemd:/system.slice/web.service\n", legacy, "v1/system.slice/web.service"},
		"a part mounted": {"0::/system.slice/web.service\n", "30 24 0:26 /system.slice/web.service ROOT/part rw - cgroup2 none rw\n", "part"},
		"a session":      {"0::/user.slice/session-1.scope\n", unified, ""},
		"the root":       {"0::/\n", unified, ""},
		"outside":        {"0::/../other/web.service\n", "30 24 0:26 /inner ROOT/v2 rw - cgroup2 none rw\n", ""},
		"not mounted":    {"0::/system.slice/web.service\n", "", ""},
		"garbage":        {"0::\nx\n:::\n", "\n-\n a - b\n", ""},
	} {
		proc := filepath.Join(t.TempDir())
		os.WriteFile(filepath.Join(proc, "cgroup"), []byte(c.groups), 0o644)
		os.WriteFile(filepath.Join(proc, "mountinfo"), []byte(strings.ReplaceAll(c.mounts, "ROOT", root)), 0o644)
		got, err := ownCgroup(proc)
		if (err != nil) != (c.want == "") || err == nil && got != filepath.Join(root, c.want) {
			t.Errorf("%s: %s, %v, want %s", name, got, err, c.want)
		}
	}
}
