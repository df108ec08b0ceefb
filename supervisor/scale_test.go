package supervisor

import (
	"slices"
	"testing"

	"supervisor/supervisor/state"
)

func TestScaleUpAndDown(t *testing.T) {
	scene(t, func(s *site) {
		s.start(web(2))
		old := s.pids()
		s.good(ScaleApp{"web", 4}, Scaled)
		s.status(state.AppOnline, "0/1 online", "1/1 online", "2/1 online", "3/1 online")
		s.good(ScaleApp{"web", 4}, Unchanged)
		s.good(ScaleApp{"web", 2}, Scaled) // the highest go
		s.status(state.AppOnline, "0/1 online", "1/1 online")
		if !slices.Equal(old, s.pids()) {
			t.Errorf("%v, then %v", old, s.pids())
		}
	})
}

func TestAScaleUpTellsWhoDidNotComeUp(t *testing.T) {
	scene(t, func(s *site) {
		s.start(web(1))
		s.run(program{lives: 10 * ms, code: 4})
		out := s.do(ScaleApp{"web", 2})
		s.bad(out, "slot 1", "exit code 4")
		s.good(ScaleApp{"web", 1}, Scaled) // while it is in its backoff
		s.status(state.AppOnline, "0/1 online")
	})
}

func TestAScaleIsNotBlamedForWhatWasDownBefore(t *testing.T) {
	scene(t, func(s *site) {
		s.script(func(o SpawnOrder) program {
			if o.Slot == 0 {
				return program{lives: 10 * ms, code: 1}
			}
			return program{}
		})
		s.bad(s.do(Put{Spec: web(2)}), "slot 0")
		s.good(ScaleApp{"web", 3}, Scaled)
		s.good(ScaleApp{"web", 2}, Scaled)
	})
}

func TestANewerScaleWins(t *testing.T) {
	scene(t, func(s *site) {
		s.start(web(1))
		s.run(program{boot: 5 * second})
		up := s.ask(ScaleApp{"web", 5})
		s.sleep(second)
		down := s.ask(ScaleApp{"web", 2})
		s.bad(<-up, "scaled again")
		s.done(<-down, Scaled)
		s.status(state.AppOnline, "0/1 online", "1/1 online")
	})
}

func TestAScaleIsEndedByAStop(t *testing.T) {
	scene(t, func(s *site) {
		s.start(web(1))
		s.run(program{boot: 5 * second})
		up := s.ask(ScaleApp{"web", 2})
		s.good(StopApp{"web"}, WasStopped)
		s.bad(<-up, "superseded: the app was stopped")
	})
}

func TestAScaleOfAStoppedAppIsForItsNextStart(t *testing.T) {
	scene(t, func(s *site) {
		s.start(web(1))
		s.good(StopApp{"web"}, WasStopped)
		s.good(ScaleApp{"web", 3}, Scaled)
		s.status(state.AppStopped, "0/1 stopped")
		s.good(StartApp{"web"}, Started)
		s.status(state.AppOnline, "0/2 online", "1/2 online", "2/2 online")
	})
}

func TestChangedInstancesAloneScaleWithoutAReplacement(t *testing.T) {
	scene(t, func(s *site) {
		s.start(web(2))
		old := s.pids()
		s.good(Put{Spec: web(3)}, Scaled)
		s.status(state.AppOnline, "0/1 online", "1/1 online", "2/1 online")
		s.good(Put{Spec: web(3)}, Unchanged)
		s.good(Put{Spec: web(2)}, Scaled)
		if !slices.Equal(old, s.pids()) {
			t.Errorf("%v, then %v", old, s.pids())
		}
	})
}

func TestAReloadWithFewerInstancesScalesDownWhenItIsComplete(t *testing.T) {
	scene(t, func(s *site) {
		s.start(web(3))
		s.onStop(func(int) {
			if s.world.count(func(p *process) bool { return p.order.Gen == 2 && p.ready }) == 0 {
				t.Error("somebody is told to leave before anything new serves")
			}
		})
		out := s.good(release(web(1)), Reloaded)
		s.onStop(nil)
		s.status(state.AppOnline, "0/2 online")
		if len(out.Receipt.Workers) != 1 {
			t.Errorf("%+v", out.Receipt.Workers)
		}
	})
}

func TestABadReleaseWithFewerInstancesScalesNothingDown(t *testing.T) {
	scene(t, func(s *site) {
		s.start(web(3))
		old := s.pids()
		s.run(program{lives: 10 * ms, code: 1})
		s.bad(s.do(release(web(1))), "rolled back")
		if !slices.Equal(old, s.pids()) {
			t.Errorf("%v, then %v", old, s.pids())
		}
		s.status(state.AppOnline, "0/1 online", "1/1 online", "2/1 online")
	})
}

func TestABadReleaseWithMoreInstancesLeavesTheirNumber(t *testing.T) {
	scene(t, func(s *site) {
		s.start(web(1))
		old := s.pids()
		s.script(func(o SpawnOrder) program {
			if o.Slot == 0 {
				return program{lives: 3 * second, boot: 9 * second, code: 1}
			}
			return program{}
		})
		s.bad(s.do(release(web(3))), "rolled back")
		s.status(state.AppOnline, "0/1 online")
		if !slices.Equal(old, s.pids()) {
			t.Errorf("%v, then %v", old, s.pids())
		}
	})
}

func TestASlotThatIsDownAndToBeScaledDownBlocksNoReload(t *testing.T) {
	scene(t, func(s *site) {
		spec := web(4)
		spec.Reload = state.Reload{MaxUnavailable: state.Amount{N: 1}}
		spec.AutoRestart = false
		s.start(spec)
		s.crash(2, 0, 0)
		s.status(state.AppDegraded, "0/1 online", "1/1 online", "2/1 stopped", "3/1 online")
		spec.Instances = 2
		s.good(release(spec), Reloaded)
		s.status(state.AppOnline, "0/2 online", "1/2 online")
	})
}

func TestASignalGoesToEveryWorker(t *testing.T) {
	scene(t, func(s *site) {
		s.start(web(3))
		s.good(SignalApp{"web", 10}, Signalled)
		if !slices.Equal(s.saw().signals, []int{10, 10, 10}) {
			t.Errorf("%v", s.saw().signals)
		}
		s.good(StopApp{"web"}, WasStopped)
		s.good(SignalApp{"web", 10}, Signalled)
		if len(s.saw().signals) != 3 {
			t.Error("a stopped worker was signalled")
		}
	})
}
