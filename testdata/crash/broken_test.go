package crash

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"supervisor/testdata/lab"
	"supervisor/testdata/load"
)

// An upgrade to what is no good is exit 1, says why, and changes nothing: the same
// daemon answers.
func TestBrokenUpgrades(t *testing.T) {
	s := newSite(t, web(t), stamped(t), node(t))
	s.Must("start")
	before := s.steady()
	script := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(s.Dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	lab.Under(t, func([]*load.Load) {
		for _, bad := range []struct {
			what, binary, says string
			code               int
		}{
			{"missing", filepath.Join(s.Dir, "missing"), "no such file", 2},
			{"not executable", script("plain", "#!/bin/sh\n", 0o644), "no program", 2},
			{"no program", script("garbage", "\x7fELF and no more", 0o755), "exec format error", 1},
			{"exits at once", script("exits", "#!/bin/sh\nexit 3\n", 0o755), "", 1},
			{"exits 0 at once", script("well", "#!/bin/sh\nexit 0\n", 0o755), "", 1},
			{"another program", "/bin/true", "", 1},
			{"hangs", script("hangs", "#!/bin/sh\nexec sleep 1000\n", 0o755), "", 1},
		} {
			daemon := s.daemon()
			s.Fails(bad.code, []string{bad.says}, "upgrade", bad.binary)
			s.unchanged(bad.what, daemon)
			s.same(bad.what, before, s.steady())
		}
		old := s.daemon()
		s.Must("upgrade") // it can still be
		s.upgraded(old)
		s.same("a good upgrade", before, s.steady())
	}, s.loads(s.apps...)...)
}

// unchanged checks that the daemon is still the one before.
func (s *site) unchanged(when string, before *lab.Handle) {
	s.t.Helper()
	if pong := s.pong(); before.Ended() || pong.PID != before.PID {
		s.t.Errorf("%s: pid %d answers, it was %d", when, pong.PID, before.PID)
	}
}

// Whoever dies at whichever step of an upgrade: one daemon is there afterwards, of
// which every other test's demands are true, and the exit code says which binary it is.
func TestUpgradesThatDie(t *testing.T) {
	binary := built(t, buildFaults)
	other := filepath.Join(lab.Built, "another-supervisor-with-faults")
	if err := os.Link(binary, other); err != nil {
		t.Fatal(err)
	}
	steps := slices.DeleteFunc(points(t), func(name string) bool {
		return !strings.HasPrefix(name, "upgrade.") && !strings.HasPrefix(name, "successor.")
	})
	if len(steps) == 0 {
		t.Error("no step has a name")
	}
	for _, step := range steps {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			p := newPointed(t, binary, step)
			p.Must("start")
			p.now = p.steady()
			lab.Under(t, func([]*load.Load) {
				p.lay()
				old := p.daemon()
				out := p.Run("upgrade", other)
				if !p.used() {
					t.Errorf("nobody came to the point %s", step)
				}
				now := p.steady()
				p.same(step, p.now, now)
				next := p.daemon()
				runs, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", next.PID))
				t.Logf("exit %d; pid %d, then %d of %s (%v): %s", out.Code, old.PID, next.PID, runs, err, out.All())
				if want := map[int]string{0: other, 1: binary}[out.Code]; runs != want {
					t.Errorf("exit %d, and it is %s that runs", out.Code, runs)
				}
				if strings.HasPrefix(step, "successor.") && out.Code == 1 {
					p.unchanged(step, old)
				}
				p.Must("upgrade")
				p.upgraded(next)
				p.same("a good upgrade after it", now, p.steady())
			}, p.loads(p.app("web"), p.app("node"))...)
		})
	}
}
