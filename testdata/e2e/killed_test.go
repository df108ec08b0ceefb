package e2e

import (
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"supervisor/supervisor/state"
)

// kill -9 of the daemon: the next one goes on with the same workers, and nothing is left
// of what it stops.
func TestADaemonThatWasKilled(t *testing.T) {
	t.Parallel()
	s := newSupervisor(t)
	s.ecosystem(behaves(t, "calm", "calm", "instances: 2"), behaves(t, "mule", "swarm 1", "kill_timeout: 300ms"))
	s.Must("start")
	old := append(s.Pids("calm"), s.Pids("mule")...)
	daemon := s.List().Daemon.PID
	s.slay(daemon)
	if pid := s.List().Daemon.PID; pid == daemon {
		t.Errorf("pid %d answers, which is dead", pid)
	}
	if now := append(s.Pids("calm"), s.Pids("mule")...); !slices.Equal(now, old) {
		t.Errorf("the workers were %v and are %v", old, now)
	}
	s.Must("start")
	if got := s.Processes(); len(got) != 6 { // keeper, daemon, two, and one with its child
		t.Errorf("after another start: %v", got)
	}
	for _, app := range s.List().Apps {
		if app.Status != "online" || app.Restarts != 0 {
			t.Errorf("%+v", app)
		}
	}
	s.Must("stop")
	if left := s.Processes(); len(left) != 2 {
		t.Errorf("after stop: %v", left)
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

// kill -9 of the daemon in the middle of a reload: the next one settles it, the command
// waits for that and tells, and the cluster is whole.
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
			reload.Stdout = &said
			reload.Stderr = &said
			if err := reload.Start(); err != nil {
				t.Fatal(err)
			}
			events.until(instant, func(e state.Event) bool { return e.App == "web" && e.What == instant })
			s.slay(daemon)
			reload.Wait()
			switch code := reload.ProcessState.ExitCode(); {
			case code == 0 && strings.Contains(said.String(), "complete"):
			case code == 1 && strings.Contains(said.String(), "interrupted"):
			default:
				t.Errorf("the reload: exit %d: %s", code, said.String())
			}
			if got := s.Processes(); len(got) != 4 {
				t.Errorf("want the keeper, the daemon and two workers: %v", got)
			}
			if app := s.App("web"); app.Status != "online" || len(app.Workers) != 2 {
				t.Errorf("%+v", app)
			}
		})
	}
}

// kill ends the workers of a daemon that was killed, too.
func TestKillAfterADaemonWasKilled(t *testing.T) {
	t.Parallel()
	s := newSupervisor(t)
	s.ecosystem(behaves(t, "calm", "calm", "instances: 2"))
	s.Must("start")
	s.slay(s.List().Daemon.PID)
	if out := s.Must("kill"); !strings.Contains(out.All(), "every app with it") {
		t.Errorf("kill says %s", out.All())
	}
	if left := s.Processes(); len(left) != 0 {
		t.Errorf("after kill: %v", left)
	}
}
