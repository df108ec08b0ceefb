//go:build faults

package handover

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"supervisor/supervisor/fault"
)

// newFaultyStage has a first player that dies at a point, or its successor does.
func newFaultyStage(t *testing.T, point string) *upgradeStage {
	t.Helper()
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s := newUpgradeStage(t, fault.Name+"="+point, fault.Token+"="+token)
	s.ask(order{Verb: "hold", N: 3})
	s.ask(order{Verb: "write", Name: "w1.i", Text: "unread"})
	return s
}

// unread checks that whoever serves has what was written before.
func (s *upgradeStage) unread() {
	s.t.Helper()
	s.fine()
	if a := s.ask(order{Verb: "read", Name: "w1.o"}); a.Text != "unread" {
		s.t.Errorf("the pipe has %q", a.Text)
	}
}

func TestTheOldOneIsKilledAtEveryPoint(t *testing.T) {
	for _, point := range []string{"upgrade.hello", "upgrade.sent", "upgrade.adopted", "upgrade.quiet", "upgrade.ready", "upgrade.mainpid", "upgrade.commit"} {
		t.Run(point, func(t *testing.T) {
			s := newFaultyStage(t, point)
			s.call(s.order(order{}))
			s.first.Wait()
			if status := s.first.ProcessState.Sys().(syscall.WaitStatus); !status.Signaled() {
				t.Fatalf("the old one: %v", s.first.ProcessState)
			}
			if point == "upgrade.commit" {
				s.await("serving")
				s.unread()
				return
			}
			left := children()
			if len(left) != 1 {
				t.Fatalf("left: %v", left)
			}
			if status := ended(t, left[0]); status.ExitStatus() != ExitRefused {
				t.Errorf("the new one ended with %v", status)
			}
		})
	}
}

func TestTheNewOneIsKilledAtEveryPoint(t *testing.T) {
	for _, point := range []string{"successor.begun", "successor.adopted", "successor.final", "successor.before-ready", "successor.after-ready", "successor.committed"} {
		t.Run(point, func(t *testing.T) {
			s := newFaultyStage(t, point)
			pid, _ := s.fine()
			a, err := s.call(s.order(order{}))
			if err != nil {
				t.Fatal(err)
			}
			if a.Error == "" { // it had been named upward: the holder starts another
				if !strings.HasSuffix(point, "after-ready") && !strings.HasSuffix(point, "committed") {
					t.Fatalf("no error, pid %d", a.N)
				}
				if err := s.first.Wait(); err != nil {
					t.Errorf("the old one: %v", err)
				}
				for _, pid := range s.orphans() {
					ended(t, pid)
				}
				return
			}
			if now, _ := s.fine(); now != pid {
				t.Errorf("pid %d before, %d after: %s", pid, now, a.Error)
			}
			s.took(s.upgrade(order{}))
			s.unread()
		})
	}
}
