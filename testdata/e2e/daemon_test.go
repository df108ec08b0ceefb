package e2e

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"supervisor/supervisor/state"
	"supervisor/testdata/lab"
)

// unpacked reads a file that may be compressed.
func unpacked(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err == nil && strings.HasSuffix(path, ".gz") {
		var r *gzip.Reader
		if r, err = gzip.NewReader(bytes.NewReader(data)); err == nil {
			data, err = io.ReadAll(r)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestTheDaemonInTheForeground(t *testing.T) {
	t.Parallel()
	for name, sig := range map[string]os.Signal{"SIGTERM": syscall.SIGTERM, "SIGINT": syscall.SIGINT} {
		t.Run(name, func(t *testing.T) {
			s := newSupervisor(t)
			s.ecosystem(behaves(t, "web", "lines 3", "instances: 2"))
			d := s.watch("start", "--no-daemon")
			if line := d.until("0000002"); !strings.HasPrefix(line, "web:") || !strings.Contains(line, " | line") {
				t.Errorf("%q", line)
			}
			d.until("0000002")
			s.Must("start", "web") // waits for its first start
			if err := d.cmd.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			d.until("bye") // its last words are shown
			d.until("bye")
			if err := d.cmd.Wait(); err != nil {
				t.Errorf("%v", err)
			}
			if left := s.Processes(); len(left) > 0 {
				t.Errorf("left: %v", left)
			}
			s.Fails(3, []string{"no supervisor runs"}, "ping")
		})
	}
}

func TestABrokenFileInTheForeground(t *testing.T) {
	t.Parallel()
	s := newSupervisor(t)
	s.ecosystem("name: web\nscrpt: x")
	s.Fails(2, []string{"ecosystem.yaml:2", "scrpt"}, "start", "--no-daemon")
}

func TestCommandsThatTell(t *testing.T) {
	t.Parallel()
	s := newSupervisor(t)
	s.Fails(3, []string{"no supervisor runs"}, "ping")
	s.ecosystem(behaves(t, "web", "calm", "env: {SECRET: hunter2}"))
	s.Must("start")
	var pong struct {
		PID     int
		Version string
	}
	s.Decode(s.Must("ping", "--json").Stdout, &pong)
	if pong.PID != s.List().Daemon.PID || pong.Version == "" {
		t.Errorf("ping: %+v", pong)
	}
	if out := s.Must("history").Stdout; !strings.Contains(out, "no reload yet") {
		t.Errorf("history: %s", out)
	}
	s.Must("reload", "web")
	s.Must("reload", "web")
	var history struct{ Receipts []state.Receipt }
	s.Decode(s.Must("history", "web", "--json").Stdout, &history)
	if len(history.Receipts) != 2 || history.Receipts[1].ToGeneration != 3 || history.Receipts[1].Result != state.Complete {
		t.Errorf("history: %+v", history)
	}
	var described struct{ Apps []json.RawMessage }
	s.Decode(s.Must("describe", "web", "--json").Stdout, &described)
	if len(described.Apps) != 1 || !strings.Contains(string(described.Apps[0]), `"last_reload"`) {
		t.Errorf("describe: %s", described.Apps)
	}
	for _, args := range [][]string{{"list"}, {"list", "--json"}} {
		if out := s.Must(args...).Stdout; strings.Contains(out, "hunter2") {
			t.Errorf("%v shows a value of env", args)
		}
	}
	events := s.events()
	unix.Kill(s.Pids("web")[0], unix.SIGKILL)
	events.worker("web", 0, state.WhatReady)
	if app := s.App("web"); app.Restarts != 1 {
		t.Errorf("restarts: %d", app.Restarts)
	}
	s.Must("reset", "web")
	if app := s.App("web"); app.Restarts != 0 {
		t.Errorf("restarts after reset: %d", app.Restarts)
	}
	var failed struct{ Error state.Error }
	s.Decode(s.Fails(1, nil, "stop", "wbe", "--json").Stdout, &failed)
	if failed.Error.Code != 1 || !strings.Contains(failed.Error.Message, "wbe") {
		t.Errorf("an error: %+v", failed)
	}
}

func TestTwoStartsAtOnceYieldOneDaemon(t *testing.T) {
	t.Parallel()
	for range 10 {
		s := newSupervisor(t)
		s.ecosystem(behaves(t, "web", "calm"))
		var both sync.WaitGroup
		for range 2 {
			both.Go(func() {
				if out, err := s.Command("start").CombinedOutput(); err != nil {
					t.Errorf("%v\n%s", err, out)
				}
			})
		}
		both.Wait()
		if got := s.Processes(); len(got) != 3 {
			t.Errorf("want a keeper, a daemon and a worker: %v", got)
		}
		s.Must("kill")
	}
}

func TestCtrlCLeavesTheWork(t *testing.T) {
	t.Parallel()
	s := newSupervisor(t)
	s.ecosystem(behaves(t, "web", "calm"))
	s.Must("start")
	old := s.Pids("web")[0]
	s.ecosystem(behaves(t, "web", "late"))
	events, waits := s.events(), s.follow("web", "late")
	var said bytes.Buffer
	reload := s.Command("reload", "web")
	reload.Stdout, reload.Stderr = &said, &said
	if err := reload.Start(); err != nil {
		t.Fatal(err)
	}
	spawned := events.worker("web", 0, state.WhatSpawned)
	reload.Process.Signal(syscall.SIGINT)
	if reload.Wait(); reload.ProcessState.ExitCode() != 130 || !strings.Contains(said.String(), "the work goes on") {
		t.Errorf("exit %d: %s", reload.ProcessState.ExitCode(), said.String())
	}
	if now := s.App("web"); now.Status != "reloading" {
		t.Errorf("after Ctrl-C: %+v", now)
	}
	waits.wait()
	unix.Kill(spawned.PID, unix.SIGUSR2)
	done := events.until("the end of the reload", func(e state.Event) bool { return e.Receipt != nil })
	if now := s.Pids("web"); done.Receipt.Result != state.Complete || len(now) != 1 || now[0] != spawned.PID || now[0] == old {
		t.Errorf("%s: pid %v, the new one is %d", done.Receipt.Result, now, spawned.PID)
	}
}

func TestAnotherUserIsRefused(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("needs another user to be")
	}
	s := newSupervisor(t)
	unharmed := steady(t, s)
	socket := filepath.Join(s.Home, "supervisor.sock")
	if info, err := os.Stat(socket); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if info, err := os.Stat(s.Home); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info, err)
	}
	own := filepath.Join(s.Dir, "supervisor")
	if out, err := exec.Command("cp", lab.Binary, own).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, path := range []string{filepath.Dir(s.Home), s.Dir, own} {
		os.Chmod(path, 0o755)
	}
	text, code := asNobody(t, s.Home, own, "list")
	if code != 1 || !strings.Contains(text, "permission denied") {
		t.Errorf("a closed home: exit %d: %s", code, text)
	}
	os.Chmod(s.Home, 0o755)
	os.Chmod(socket, 0o666)
	for _, args := range [][]string{{"list"}, {"stop"}, {"kill"}, {"logs"}} {
		text, code := asNobody(t, s.Home, own, args...)
		if code == 0 || !strings.Contains(text, "65534") {
			t.Errorf("%v: exit %d: %s", args, code, text)
		}
	}
	unharmed()
}
