package supervisor

import (
	"context"
	"errors"
	"slices"
	"testing"

	"supervisor/supervisor/state"
)

func TestAReloadReplacesEveryWorkerAndItsReceiptSaysHow(t *testing.T) {
	scene(t, func(s *site) {
		s.run(program{drain: 2 * second, open: 3})
		s.start(web(2))
		old := s.pids()
		s.run(program{boot: 250 * ms})
		s.onStop(func(int) {
			if n := s.world.serving("web"); n < 2 {
				t.Errorf("%d slots are served when an old one is told to leave", n)
			}
		})
		out := s.good(release(web(2)), Reloaded)
		s.status(state.AppOnline, "0/2 online", "1/2 online")
		r := out.Receipt
		if r.Result != state.Complete || r.FromGeneration != 1 || r.ToGeneration != 2 || r.Reason != "" ||
			r.ConnectionsCut != 0 || r.QueueDrops == nil || *r.QueueDrops != 0 || r.DurationMS < 2000 || len(r.Workers) != 2 {
			t.Errorf("%+v", r)
		}
		for slot, w := range r.Workers {
			if w.Slot != slot || w.OldPID != old[slot] || w.NewPID != s.pids()[slot] || w.SlotRuns != 2 || w.Killed || w.Stage != "" ||
				w.ReadyBy != "READY_FD" || *w.ReadyMS != 251 || *w.DrainMS != 2001 || *w.ExitCode != 0 || w.Signal != "" || w.NewExitCode != nil {
				t.Errorf("slot %d: %+v", slot, w)
			}
		}
		if s.saw().atOnce != 3 {
			t.Errorf("%d processes at once, instances + max_surge is 3", s.saw().atOnce)
		}
		if kept := s.saw().kept; len(kept) != 1 || kept[0].ToGeneration != 2 {
			t.Errorf("kept: %+v", kept)
		}
		if len(s.saw().retained) != 1 || len(s.saw().retained[0].ids) != 2 {
			t.Errorf("retained: %+v", s.saw().retained)
		}
		s.onStop(nil)
	})
}

func TestAReceiptCountsWhatWasCutKilledAndDropped(t *testing.T) {
	scene(t, func(s *site) {
		s.run(program{deaf: true, open: 4}, program{signal: 15, open: 2}, program{})
		s.start(web(2))
		s.drops(10)
		reload := s.ask(release(web(2)))
		s.sleep(second)
		s.drops(15)
		out := <-reload
		s.done(out, Reloaded)
		r := out.Receipt
		if r.ConnectionsCut != 6 || *r.QueueDrops != 5 {
			t.Errorf("cut %d, drops %d", r.ConnectionsCut, *r.QueueDrops)
		}
		killed, died := r.Workers[0], r.Workers[1]
		if !killed.Killed || *killed.OpenAtKill != 4 || killed.Signal != "SIG9" || killed.ExitCode != nil || *killed.DrainMS < 8000 {
			t.Errorf("%+v", killed)
		}
		if died.Killed || died.OpenAtKill != nil || died.Signal != "SIG15" {
			t.Errorf("%+v", died)
		}
		p := s.saw().procs[101]
		if took := p.killedAt.Sub(p.toldAt); took != 8*second {
			t.Errorf("SIGKILL %s after the stop signal", took)
		}
	})
}

// A bad release, in each way that one can be bad.
func TestABadReleaseTakesNobodyDown(t *testing.T) {
	soak := 2 * second
	for _, c := range []struct {
		story   string
		release program
		soak    bool
		stage   string
		reason  string
	}{
		{"it crashes at boot", program{lives: 50 * ms, code: 7, lines: []string{"boom"}}, false, "ready", "exit code 7"},
		{"it is killed at boot", program{lives: 50 * ms, signal: 11, lines: []string{"boom"}}, false, "ready", "signal 11"},
		{"it never says ready", program{mute: true, code: 7, lines: []string{"boom"}}, false, "ready", "not said ready within 10s"},
		{"it never says ready and ignores the signal", program{mute: true, deaf: true, lines: []string{"boom"}}, false, "ready", "listen_timeout"},
		{"it ends within its soak", program{lives: 600 * ms, code: 7, lines: []string{"boom"}}, true, "soak", "within its soak"},
		{"it can't be executed", program{err: errNoExec}, false, "exec", errNoExec.Error()},
	} {
		t.Run(c.story, func(t *testing.T) {
			scene(t, func(s *site) {
				s.start(web(2))
				old := s.pids()
				s.run(c.release)
				spec := web(2)
				if c.soak {
					spec.Soak = &soak
				}
				s.onStop(func(int) {
					if n := s.world.serving("web"); n < 2 {
						t.Errorf("only %d serve", n)
					}
				})
				out := s.do(release(spec))
				s.bad(out, "cannot reload web: slot 0: ", c.reason, "(rolled back)")
				s.status(state.AppOnline, "0/1 online", "1/1 online")
				if !slices.Equal(old, s.pids()) {
					t.Errorf("pids %v, then %v", old, s.pids())
				}
				w := out.Receipt.Workers[0]
				if out.Receipt.Result != state.RolledBack || w.Stage != c.stage || w.SlotRuns != 1 || w.OldPID != old[0] || out.Receipt.Workers[1].SlotRuns != 1 {
					t.Errorf("%+v", out.Receipt)
				}
				if lines := c.release.lines; !slices.Equal(w.LastLines, append([]string{}, lines...)) || !slices.Equal(out.Details, lines) {
					t.Errorf("last lines %q, details %q", w.LastLines, out.Details)
				}
				if c.release.code != 0 && (w.NewExitCode == nil || *w.NewExitCode != c.release.code) {
					t.Errorf("new exit code %v", w.NewExitCode)
				}
				if c.release.signal != 0 && (w.NewExitCode != nil || w.NewSignal != "SIG11") {
					t.Errorf("new signal %q", w.NewSignal)
				}
				s.onStop(nil)
				s.run(program{})
				s.crash(0, 1, 0) // what comes back after that is the old release
				s.sleep(second)
				s.status(state.AppOnline, "0/1 online", "1/1 online")
			})
		})
	}
}

func TestAGenerationThatCantBeHadReplacesNobody(t *testing.T) {
	scene(t, func(s *site) {
		s.start(web(2))
		old := s.pids()
		s.prepares(func(PrepareOrder) Prepared {
			return Prepared{Stage: "build main.go", Err: errors.New("exit status 1"), Lines: []string{"syntax error"}}
		})
		spec := web(2)
		spec.Args = []string{"-new"}
		out := s.do(release(spec))
		s.bad(out, "cannot build main.go: exit status 1", "rolled back")
		if !slices.Equal(out.Details, []string{"syntax error"}) || !slices.Equal(old, s.pids()) {
			t.Errorf("%+v", out)
		}
		s.good(StartApp{"web"}, Unchanged)
		if s.spawns() != 2 {
			t.Error("spawned")
		}
	})
}

func TestBlueGreenTellsNobodyToLeaveBeforeAllTheNewAreSoaked(t *testing.T) {
	soak := 3 * second
	spec := web(3)
	spec.Reload.BlueGreen, spec.Soak = true, &soak
	scene(t, func(s *site) {
		s.start(spec)
		old := s.pids()
		s.run(program{}, program{}, program{lives: 2 * second, code: 1})
		out := s.do(release(spec))
		s.bad(out, "slot 2", "soak")
		if !slices.Equal(old, s.pids()) || out.Receipt.Result != state.RolledBack || s.saw().atOnce != 6 {
			t.Errorf("%v then %v, %s, %d at once", old, s.pids(), out.Receipt.Result, s.saw().atOnce)
		}
		s.run(program{})
		s.onStop(func(int) {
			fresh := s.world.count(func(p *process) bool { return p.ready && p.order.Gen == 3 })
			if fresh != 3 {
				t.Errorf("%d new workers serve", fresh)
			}
		})
		s.good(release(spec), Reloaded)
		s.onStop(nil)
	})
}

func TestMaxSurgeAndMaxUnavailable(t *testing.T) {
	for _, c := range []struct {
		story              string
		surge, unavailable state.Amount
		most, least        int
	}{
		{"one more at a time", state.Amount{N: 1}, state.Amount{}, 5, 4},
		{"two more at a time", state.Amount{N: 2}, state.Amount{}, 6, 4},
		{"half more", state.Amount{N: 50, Percent: true}, state.Amount{}, 6, 4},
		{"a whole new generation", state.Amount{N: 100, Percent: true}, state.Amount{}, 8, 4},
		{"none more, one less", state.Amount{}, state.Amount{N: 1}, 4, 3},
	} {
		t.Run(c.story, func(t *testing.T) {
			scene(t, func(s *site) {
				spec := web(4)
				spec.Reload.MaxSurge, spec.Reload.MaxUnavailable = c.surge, c.unavailable
				s.start(spec)
				least := 4
				s.onStop(func(int) { least = min(least, s.world.serving("web")) })
				s.good(release(spec), Reloaded)
				if s.saw().atOnce != c.most || least < c.least {
					t.Errorf("%d at once, %d serve at least", s.saw().atOnce, least)
				}
				s.onStop(nil)
			})
		})
	}
}

func TestAForkStopsFirst(t *testing.T) {
	spec := web(1)
	spec.Mode = state.Fork
	scene(t, func(s *site) {
		s.start(spec)
		s.good(release(spec), Reloaded)
		if s.saw().atOnce != 1 {
			t.Errorf("%d at once", s.saw().atOnce)
		}
		changed := spec
		changed.Args = []string{"-bad"}
		s.run(program{lives: 10 * ms, code: 1}, program{})
		out := s.do(release(changed))
		s.bad(out, "slot 0", "(rolled back)")
		s.status(state.AppOnline, "0/2 online")
		if s.saw().atOnce != 1 {
			t.Errorf("%d at once", s.saw().atOnce)
		}
	})
}

func TestAForkThatBecomesAClusterStopsFirstToo(t *testing.T) {
	scene(t, func(s *site) {
		spec := web(1)
		spec.Mode = state.Fork
		s.start(spec)
		s.good(Put{Spec: web(1)}, Reloaded)
		if s.saw().atOnce != 1 {
			t.Errorf("%d at once: the old one holds its port itself", s.saw().atOnce)
		}
		s.good(release(web(1)), Reloaded)
		if s.saw().atOnce != 2 {
			t.Errorf("%d at once: it is a cluster now", s.saw().atOnce)
		}
	})
}

func TestAClusterThatBecomesAForkHasItsSocketsClosedFirst(t *testing.T) {
	scene(t, func(s *site) {
		s.run(on(front))
		s.start(silent(1))
		s.run(program{})
		fork := silent(1)
		fork.Mode = state.Fork
		s.good(Put{Spec: fork}, Reloaded)
		if first := s.saw().retained[0]; first.spawned != 1 || len(first.ids) != 0 {
			t.Errorf("%+v", first)
		}
		// And back: the fork comes again when the cluster fails.
		s.run(program{listens: []string{front}, lives: second, code: 1}, program{})
		soaks := 5 * second
		cluster := silent(1)
		cluster.Soak = &soaks
		s.bad(s.do(Put{Spec: cluster}), "rolled back")
		if r := s.saw().retained; r[len(r)-2].spawned != 3 || len(r[len(r)-2].ids) != 0 {
			t.Errorf("%+v", r)
		}
		if s.saw().atOnce != 1 {
			t.Errorf("%d at once", s.saw().atOnce)
		}
	})
}

func TestForceTakesATimeoutForReady(t *testing.T) {
	scene(t, func(s *site) {
		spec := web(1)
		spec.Reload.Force = true
		s.start(spec)
		s.run(program{mute: true})
		out := s.good(release(spec), Reloaded)
		if by := out.Receipt.Workers[0].ReadyBy; by != "timeout" {
			t.Errorf("ready by %q", by)
		}
		s.crash(0, 1, 0)
		if last := s.app("web").Workers[0].LastExit; last != "exit code 1" {
			t.Errorf("last exit %q", last)
		}
		s.inside(func() {
			if f := s.loop.apps[0].members[0].explain(s.loop.now()); f.Stage == "ready" && s.loop.apps[0].members[0].notReady {
				t.Errorf("a crash is told as a timeout: %+v", f)
			}
		})
	})
}

func TestAReloadOfAStoppedAppTakesTheSpecAndStartsNothing(t *testing.T) {
	scene(t, func(s *site) {
		s.start(web(1))
		s.good(StopApp{"web"}, WasStopped)
		s.good(release(web(3)), WasStopped)
		s.status(state.AppStopped, "0/1 stopped")
		s.good(StartApp{"web"}, Started)
		s.status(state.AppOnline, "0/2 online", "1/2 online", "2/2 online")
	})
}

func TestAReloadOfAnErroredAppStartsItWithTheNewSpec(t *testing.T) {
	scene(t, func(s *site) {
		s.run(program{lives: 10 * ms, code: 1})
		s.do(Put{Spec: web(2)})
		s.sleep(600 * second)
		s.status(state.AppErrored, "0/1 errored", "1/1 errored")
		s.run(program{})
		s.good(release(web(2)), Reloaded)
		s.status(state.AppOnline, "0/2 online", "1/2 online")
	})
}

func TestAReloadWhileAWorkerIsInItsBackoffReplacesIt(t *testing.T) {
	scene(t, func(s *site) {
		bad := true
		s.script(func(o SpawnOrder) program {
			if bad && o.Slot == 0 {
				return program{lives: 10 * ms, code: 1}
			}
			return program{}
		})
		s.do(Put{Spec: web(2)})
		s.sleep(20 * second)
		set(s, &bad, false)
		s.good(release(web(2)), Reloaded)
		s.status(state.AppOnline, "0/2 online", "1/2 online")
	})
}

func TestSocketsAreKeptForAWorkerThatIsInItsBackoffAfterAFailedReload(t *testing.T) {
	scene(t, func(s *site) {
		spec := web(1)
		spec.RestartDelay = 60 * second
		s.start(spec)
		s.crash(0, 1, 0)
		s.run(program{lives: 10 * ms, code: 1})
		s.bad(s.do(release(spec)), "rolled back")
		if len(s.saw().retained) > 0 {
			s.t.Fatal("sockets closed that its restart will want")
		}
		s.run(program{})
		s.sleep(100 * second)
		s.status(state.AppOnline, "0/1 online")
		if len(s.saw().retained) != 1 || len(s.saw().retained[0].ids) != 1 {
			t.Errorf("retained: %+v", s.saw().retained)
		}
	})
}

func TestAnInterruptedLoopAnswersWhoeverWaits(t *testing.T) {
	scene(t, func(s *site) {
		s.start(web(1))
		s.run(program{mute: true})
		reload := s.ask(release(web(1)))
		s.end()
		if out := <-reload; !errors.Is(out.Err, ErrEnded) {
			t.Errorf("%v", out.Err)
		}
		<-s.over
		if _, err := s.loop.Snapshot(context.Background()); !errors.Is(err, ErrEnded) {
			t.Errorf("%v", err)
		}
		if _, err := s.loop.Do(context.Background(), StopApp{"web"}); !errors.Is(err, ErrEnded) {
			t.Errorf("%v", err)
		}
		events, cancel := s.loop.Events()
		if _, more := <-events; more {
			t.Error("an event of an ended loop")
		}
		cancel()
	})
}
