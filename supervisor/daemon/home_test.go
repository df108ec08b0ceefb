package daemon

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"supervisor/supervisor/state"
)

func TestAHomeHasOneHolder(t *testing.T) {
	h := home(shortDir(t))
	lock, err := h.prepare(false)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"state", "history", "run", "logs"} {
		if info, err := os.Stat(h.path(name)); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	var held errHeld
	if _, err := h.prepare(false); !errors.As(err, &held) || held.pid != 0 {
		t.Errorf("a second one: %v", err)
	}
	if err := os.WriteFile(h.pidFile(), []byte("4711\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := h.prepare(false); err == nil || !strings.Contains(err.Error(), "pid 4711 has it") {
		t.Errorf("a second one: %v", err)
	}
	lock.Close()
	if lock, err = h.prepare(false); err != nil {
		t.Errorf("after the first has ended: %v", err)
	}
	lock.Close()
}

func TestABrokenPidFileIsNoPid(t *testing.T) {
	h := home(t.TempDir())
	for _, text := range []string{"", "x", "12 13"} {
		os.WriteFile(h.pidFile(), []byte(text), 0o600)
		if pid := h.pid(); pid != 0 {
			t.Errorf("%q: %d", text, pid)
		}
	}
}

func TestAHomeThatCannotBeUsedIsNamed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	os.WriteFile(file, nil, 0o600)
	for _, path := range []string{filepath.Join(file, "home"), file, "/proc/none"} {
		if _, err := home(path).prepare(false); err == nil || !strings.Contains(err.Error(), "cannot use SUPERVISOR_HOME "+path) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestWhatLiesAtTheSocketsPath(t *testing.T) {
	h := home(shortDir(t))
	left, err := net.ListenUnix("unix", &net.UnixAddr{Name: h.socket(), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	left.SetUnlinkOnClose(false)
	left.Close() // as a dead daemon leaves it
	ln, err := h.listen()
	if err != nil {
		t.Fatalf("over a stale socket: %v", err)
	}
	if info, err := os.Stat(h.socket()); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	ln.Close()
	os.Remove(h.socket())
	os.WriteFile(h.socket(), []byte("precious"), 0o600)
	if _, err := h.listen(); err == nil || !strings.Contains(err.Error(), h.socket()+": it is there and is no socket") {
		t.Errorf("over a file: %v", err)
	}
	if data, _ := os.ReadFile(h.socket()); string(data) != "precious" {
		t.Error("the file was touched")
	}
	long := home(filepath.Join(t.TempDir(), strings.Repeat("x", 120)))
	if _, err := long.listen(); err == nil || !strings.Contains(err.Error(), "choose a shorter SUPERVISOR_HOME") {
		t.Errorf("a long path: %v", err)
	}
}

func TestADaemonThatCannotBeginSaysWhyAndLeavesNothing(t *testing.T) {
	for name, spoil := range map[string]func(h home) string{
		"no socket": func(h home) string { os.WriteFile(h.socket(), nil, 0o600); return "it is there and is no socket" },
		"pid file":  func(h home) string { os.Mkdir(h.pidFile(), 0o700); return "cannot write " + h.pidFile() },
		"log pipes": func(h home) string { os.WriteFile(h.path("logs"), nil, 0o600); return "cannot use SUPERVISOR_HOME" },
	} {
		t.Run(name, func(t *testing.T) {
			leaktight(t)
			dir := shortDir(t)
			want := spoil(home(dir))
			i, line := launch(t, dir, Options{})
			if !strings.HasPrefix(line, "error: ") || !strings.Contains(line, want) {
				t.Errorf("it says %q, want %q", line, want)
			}
			if code := i.ended(); code != state.ExitFailed {
				t.Errorf("exit code %d", code)
			}
			if !strings.Contains(i.log(), want) {
				t.Errorf("the log has: %s", i.log())
			}
		})
	}
}

func TestAStaleSocketAndPidFileAreTakenOver(t *testing.T) {
	leaktight(t)
	h := home(shortDir(t))
	left, err := net.ListenUnix("unix", &net.UnixAddr{Name: h.socket(), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	left.SetUnlinkOnClose(false)
	left.Close()
	os.WriteFile(h.pidFile(), []byte("1\n"), 0o600)
	i, line := launch(t, string(h), Options{})
	if line != readyOK {
		t.Fatalf("it says %q\n%s", line, i.log())
	}
	if pid := h.pid(); pid != os.Getpid() {
		t.Errorf("pid file: %d", pid)
	}
	i.kill()
}
