package supervisor

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"supervisor/supervisor/rollout"
	"supervisor/supervisor/state"
)

// The supervisor dies during a reload of two workers that take 100 ms to boot, soak for
// two seconds and drain for three, one slot after the other.
func TestAReloadThatWasInterruptedSettles(t *testing.T) {
	soak := 2 * second
	soaking := func() state.Spec {
		spec := web(2)
		spec.Soak = &soak
		return spec
	}
	blueGreen := soaking()
	blueGreen.Reload.BlueGreen = true
	changed := soaking()
	changed.Args = []string{"new"}
	fork := changed
	fork.Mode = state.Fork
	for _, c := range []struct {
		story   string
		first   state.Spec
		then    state.Spec
		release program // what the reload spawns
		after   time.Duration
		result  string
		runs    []int // generation by slot
		spawns  int   // in all
	}{
		{"the first is soaking", soaking(), soaking(), program{drain: 3 * second}, second, state.Interrupted, []int{1, 1}, 3},
		{"the first is booting", soaking(), soaking(), program{boot: 4 * second}, 2 * second, state.Interrupted, []int{1, 1}, 3},
		{"the first is never ready", soaking(), soaking(), program{mute: true}, 2 * second, state.Interrupted, []int{1, 1}, 3},
		{"the old one of the first drains, nothing to go back to", soaking(), soaking(), program{}, 3 * second, state.Interrupted, []int{2, 1}, 3},
		{"the old one of the first drains, and it can go back", soaking(), changed, program{}, 3 * second, state.Interrupted, []int{1, 1}, 4},
		{"the last is soaking", soaking(), changed, program{}, 6500 * ms, state.Complete, []int{2, 2}, 4},
		{"the last of the old drains", soaking(), changed, program{}, 8500 * ms, state.Complete, []int{2, 2}, 4},
		{"the last ends within its soak", soaking(), changed, program{lives: 1500 * ms, code: 1}, 500 * ms, state.Interrupted, []int{1, 1}, 3},
		{"blue-green, all are soaking", soaking(), blueGreen, program{}, second, state.Complete, []int{2, 2}, 4},
		{"blue-green, and they end within their soak", soaking(), blueGreen, program{lives: 1500 * ms, code: 1}, second, state.Interrupted, []int{1, 1}, 4},
		{"a fork's slot is empty", fork, func() state.Spec { s := fork; s.Args = nil; return s }(), program{}, 1500 * ms, state.Interrupted, []int{1, 1}, 3},
	} {
		t.Run(c.story, func(t *testing.T) {
			scene(t, func(s *site) {
				s.script(func(o SpawnOrder) program {
					if o.Gen == 2 {
						return c.release
					}
					return program{drain: 3 * second}
				})
				s.start(c.first)
				untouched := s.pids()
				s.ask(Put{Spec: c.then, Replace: true})
				s.sleep(c.after)
				s.die()
				s.sleep(100 * ms)
				s.revive()
				out := s.do(Await{Name: "web"})
				receipts := s.saw().kept
				if len(receipts) != 1 {
					t.Fatalf("%+v", receipts)
				}
				r := receipts[0]
				reason := ""
				if c.result == state.Interrupted {
					reason = rollout.Died
				}
				if r.Result != c.result || r.Reason != reason || !r.StartedAt.Equal(out.Receipt.StartedAt) {
					t.Errorf("%+v", r)
				}
				var runs []int
				for slot, row := range r.Workers {
					runs = append(runs, row.SlotRuns)
					if c.runs[slot] == 1 && s.spawns() == 3 && c.first.Mode == state.Cluster && s.pids()[slot] != untouched[slot] {
						t.Errorf("slot %d was not to be touched", slot)
					}
				}
				if !slices.Equal(runs, c.runs) || s.spawns() != c.spawns {
					t.Errorf("slots run %v after %d spawns, want %v after %d", runs, s.spawns(), c.runs, c.spawns)
				}
				s.status(state.AppOnline, fmt.Sprintf("0/%d online", c.runs[0]), fmt.Sprintf("1/%d online", c.runs[1]))
			})
		})
	}
}

// Before an end is told, the channels of whoever has ended are read for up to two seconds,
// where a process that it has left holds them (package daemon).
func TestTheDeadAreNotTakenForSoaked(t *testing.T) {
	scene(t, func(s *site) {
		soak := 2 * second
		spec := web(1)
		spec.Soak = &soak
		s.start(spec)
		s.run(program{lives: 1500 * ms, code: 1})
		s.ask(release(spec))
		s.sleep(second)
		s.die()
		s.sleep(5 * second) // it ends meanwhile
		s.slowly = 2 * second
		s.live(true, s.clock, func() bool { return true })
		s.good(Await{Name: "web"}, Settled)
		if r := s.saw().kept[0]; r.Result != state.Interrupted || r.Workers[0].SlotRuns != 1 || s.spawns() != 2 {
			t.Errorf("%+v after %d spawns", r, s.spawns())
		}
	})
}

func TestAReloadThatRolledBackGoesOnForItsOwnReason(t *testing.T) {
	scene(t, func(s *site) {
		s.start(web(1))
		s.run(program{lives: 50 * ms, code: 7, boot: second, left: 1, leftFor: 5 * second, lines: []string{"boom"}})
		s.ask(release(web(1)))
		s.sleep(second)
		s.die()
		s.revive()
		s.good(Await{Name: "web"}, Settled)
		r := s.saw().kept[0]
		if r.Result != state.RolledBack || r.Workers[0].SlotRuns != 1 || *r.Workers[0].NewExitCode != 7 || r.Workers[0].LastLines[0] != "boom" {
			t.Errorf("%+v", r)
		}
	})
}

func TestAReloadThatIsBeingPreparedChangesNothing(t *testing.T) {
	scene(t, func(s *site) {
		s.start(web(2))
		pids := s.pids()
		s.slow(5 * second)
		s.ask(release(web(2)))
		s.sleep(second)
		s.die()
		s.revive()
		s.good(Await{Name: "web"}, Settled)
		r := s.saw().kept[0]
		if r.Result != state.Interrupted || r.Reason != rollout.Died || r.ToGeneration != 1 || r.Workers[1].SlotRuns != 1 || !slices.Equal(pids, s.pids()) {
			t.Errorf("%+v, %v", r, s.pids())
		}
		s.slow(0)
		s.good(release(web(2)), Reloaded)
	})
}

func TestARestartThatWasInterruptedLeavesTheOthersAlone(t *testing.T) {
	scene(t, func(s *site) {
		s.start(web(3))
		pids := s.pids()
		s.run(program{boot: 2 * second})
		s.ask(RestartApp{"web"})
		s.sleep(second)
		s.die()
		s.revive()
		s.good(Await{Name: "web"}, Settled)
		r := s.saw().kept[0]
		if r.Result != state.Interrupted || s.spawns() != 4 || !slices.Equal(pids[1:], s.pids()[1:]) || pids[0] == s.pids()[0] {
			t.Errorf("%+v, %v then %v", r, pids, s.pids())
		}
	})
}

// Its spawn was on record and never carried out: it is no step forward any more.
func TestAReloadIsNotBegunAfterTheDeath(t *testing.T) {
	scene(t, func(s *site) {
		s.start(web(2))
		s.slow(second)
		s.ask(release(web(2)))
		s.dieBefore(1) // after the record of Prepared
		s.sleep(2 * second)
		s.revive()
		s.slow(0)
		s.good(Await{Name: "web"}, Settled)
		if r := s.saw().kept[0]; r.Result != state.Interrupted || s.spawns() != 2 {
			t.Errorf("%+v, %d spawns", r, s.spawns())
		}
	})
}

func TestANewerReloadDoesNotJoinAnInterruptedOne(t *testing.T) {
	scene(t, func(s *site) {
		s.start(web(1))
		s.run(program{boot: 5 * second}, program{})
		s.ask(release(web(1)))
		s.sleep(second)
		s.die()
		s.revive()
		s.good(release(web(1)), Reloaded)
		kept := s.saw().kept
		if len(kept) != 2 || kept[0].Result != state.Superseded || kept[1].Result != state.Complete {
			t.Errorf("%+v", kept)
		}
	})
}

func TestAStartFromNothingIsBegunAgain(t *testing.T) {
	scene(t, func(s *site) {
		s.slow(5 * second)
		s.ask(Put{Spec: web(2)})
		s.sleep(second)
		s.die()
		s.revive()
		s.good(Await{Name: "web"}, Settled)
		s.status(state.AppOnline, "0/1 online", "1/1 online")
	})
}

// The receipt is kept once, whenever the supervisor dies around it.
func TestEveryReloadLeavesOneReceipt(t *testing.T) {
	for n := range 8 {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			scene(t, func(s *site) {
				s.run(program{drain: second})
				s.start(web(1))
				s.ask(release(web(1)))
				s.sleep(second + 100*ms) // all but the last of the old, and the drops
				s.dieBefore(n)
				s.sleep(5 * second)
				if !s.ended() {
					s.die()
				}
				s.revive()
				s.good(Await{Name: "web"}, Settled)
				s.sleep(second)
				kept := s.saw().kept
				if len(kept) != 1 || kept[0].Result != state.Complete {
					t.Errorf("%+v", kept)
				}
				s.inside(func() {
					if len(s.loop.unkept) > 0 {
						t.Errorf("not known to be kept: %+v", s.loop.unkept)
					}
				})
			})
		})
	}
}
