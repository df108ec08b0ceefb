package crash

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"supervisor/supervisor/state"
	"supervisor/testdata/lab"
	"supervisor/testdata/load"
)

// gated is an app that is ready when a file is there, beside its ready message.
func gated(t *testing.T) *app {
	t.Helper()
	a := web(t)
	a.instances, a.rate, a.keys = 1, "", "ready: 'exec: test -e open'"
	return a
}

// open opens the gates of gated apps.
func (s *site) open() {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.Dir, "open"), nil, 0o644); err != nil {
		s.t.Fatal(err)
	}
}

// recorded waits until the daemon's state has a text.
func (s *site) recorded(text string) {
	s.t.Helper()
	path := filepath.Join(s.Home, "state", "daemon.json")
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		s.t.Fatal(err)
	}
	if !lab.NewWatch(s.t, filepath.Dir(path)).Until(func() bool {
		data, _ := os.ReadFile(path)
		return strings.Contains(string(data), text)
	}) {
		s.t.Fatalf("the state never has %s", text)
	}
}

// The supervisor dies between a worker's ready message and the answer to its probe.
func TestAWorkerIsProbedOnByTheNextSupervisor(t *testing.T) {
	s := newSite(t, gated(t))
	start := s.Command("start")
	if err := start.Start(); err != nil {
		t.Fatal(err)
	}
	s.recorded(`"said":"READY_FD"`)
	s.dies()
	s.daemon()
	s.open()
	if err := start.Wait(); err != nil {
		t.Errorf("start: %v", err)
	}
	s.steady()
}

// The supervisor dies while an app of the file that it was started with waits for the one
// that it depends on: nobody would ask for that app any more.
func TestTheFileIsStartedToItsEndByTheNextSupervisor(t *testing.T) {
	db, web := gated(t), web(t)
	db.name, web.instances, web.keys = "db", 1, "depends_on: [db]"
	s := newSite(t, web, db)
	cmd := s.Command("start", "--no-daemon")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s.recorded(`"said":"READY_FD"`)
	s.dies()
	s.daemon()
	s.open()
	s.steady()
	cmd.Process.Signal(unix.SIGTERM)
	if err := cmd.Wait(); err != nil {
		t.Errorf("start --no-daemon: %v", err)
	}
}

// A reload of two apps, of which the second is not begun, goes on after an upgrade, and
// after a death that the first one comes out of.
func TestAReloadOfTwoAppsGoesOn(t *testing.T) {
	for _, how := range []string{"upgrade", "death", "upgrade of a SIGHUP's", "death of a SIGHUP's", "upgrade, its client gone", "death, its client gone"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			first, second := web(t), job(t)
			first.instances, first.mode, first.env = 1, "ready-late", "DELAY: 500ms"
			second.keys = "depends_on: [web]"
			s := newSite(t, first, second)
			s.Must("start")
			before := s.steady()
			lab.Under(t, func([]*load.Load) {
				events := s.Events(t.Context())
				cmd := s.Command("reload")
				bySignal := strings.HasSuffix(how, "SIGHUP's")
				if bySignal {
					s.daemon().Signal(unix.SIGHUP)
				} else if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				events.Until(func(e state.Event) bool { return e.App == "web" && e.What == state.WhatSpawned })
				if strings.HasSuffix(how, "gone") {
					cmd.Process.Kill()
					cmd.Wait()
					s.recorded(`"own":[`)
				}
				old := s.daemon()
				if strings.HasPrefix(how, "upgrade") {
					s.Must("upgrade")
					s.upgraded(old)
				} else {
					old.Kill()
				}
				if bySignal || cmd.ProcessState != nil {
					s.settled(func(snapshot state.Snapshot) string {
						for _, a := range snapshot.Apps {
							if a.Generation != 2 {
								return a.Name + " is not reloaded"
							}
						}
						return ""
					})
				} else if err := cmd.Wait(); err != nil {
					t.Errorf("the reload: %v", err)
				}
				after := s.steady()
				s.replaced(how, "web", before, after)
				s.replaced(how, "job", before, after)
			}, s.loads(s.apps...)...)
		})
	}
}
