package e2e

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"supervisor/supervisor/state"
)

// kill -9 of the daemon: what it has left is ended by the next one, which says so,
// and runs once.
func TestADaemonThatWasKilled(t *testing.T) {
	t.Parallel()
	s := newSupervisor(t)
	s.ecosystem(behaves(t, "calm", "calm", "instances: 2"), behaves(t, "mule", "swarm 1", "kill_timeout: 300ms"))
	s.Must("start")
	old := append(s.Pids("calm"), s.Pids("mule")...)
	daemon := s.List().Daemon.PID
	s.slay(daemon)
	s.Fails(3, []string{"no supervisor runs"}, "list")
	if left := s.Processes(); len(left) != 4 { // who was to end with the daemon?
		t.Errorf("after the daemon's death: %v", left)
	}
	s.Must("start")
	if got := s.Processes(); len(got) != 5 {
		t.Errorf("after the new start: %v", got)
	}
	log := s.read(filepath.Join(s.Home, "supervisor.log"))
	for _, pid := range old {
		if want := fmt.Sprintf("ended pid %d, which an earlier supervisor has left", pid); !strings.Contains(log, want) {
			t.Errorf("supervisor.log does not say %q:\n%s", want, log)
		}
	}
	for _, app := range s.List().Apps {
		if app.Status != "online" {
			t.Errorf("%+v", app)
		}
	}
}

// slay kills a process that is no child of ours, and waits for its end.
func (s *supervisor) slay(pid int) {
	s.t.Helper()
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		s.t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil {
		s.t.Fatal(err)
	}
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(guard.Milliseconds()))
		if err == unix.EINTR {
			continue
		}
		if n != 1 {
			s.t.Fatalf("pid %d does not end: %v", pid, err)
		}
		return
	}
}

// kill -9 of the daemon in the middle of a reload: the next one ends both generations
// and runs one.
func TestADaemonThatWasKilledInAReload(t *testing.T) {
	t.Parallel()
	for _, instant := range []string{state.WhatSpawned, state.WhatReady, state.WhatDraining, state.WhatGone} {
		t.Run(instant, func(t *testing.T) {
			s := newSupervisor(t)
			s.ecosystem(behaves(t, "web", "calm", "instances: 2"))
			s.Must("start")
			daemon := s.List().Daemon.PID
			events := s.events()
			reload := s.Command("reload", "web")
			var said strings.Builder
			reload.Stderr = &said
			if err := reload.Start(); err != nil {
				t.Fatal(err)
			}
			events.until(instant, func(e state.Event) bool { return e.App == "web" && e.What == instant })
			s.slay(daemon)
			reload.Wait()
			switch code := reload.ProcessState.ExitCode(); {
			case code == 0: // it was over by then
			case code != 1 || !strings.Contains(said.String(), "went away"):
				t.Errorf("the reload: exit %d: %s", code, said.String())
			}
			s.Must("start")
			if got := s.Processes(); len(got) != 3 {
				t.Errorf("want the daemon and two workers: %v", got)
			}
			if app := s.App("web"); app.Status != "online" || len(app.Workers) != 2 {
				t.Errorf("%+v", app)
			}
		})
	}
}

// kill ends what a killed daemon has left, and says that it did.
func TestKillAfterADaemonWasKilled(t *testing.T) {
	t.Parallel()
	s := newSupervisor(t)
	s.ecosystem(behaves(t, "calm", "calm", "instances: 2"))
	s.Must("start")
	s.slay(s.List().Daemon.PID)
	if left := s.Processes(); len(left) != 2 {
		t.Errorf("after the daemon's death: %v", left)
	}
	if out := s.Must("kill"); !strings.Contains(out.All(), "every app with it") {
		t.Errorf("kill says %s", out.All())
	}
	if left := s.Processes(); len(left) != 0 {
		t.Errorf("after kill: %v", left)
	}
}
