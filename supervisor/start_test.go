package supervisor

import (
	"errors"
	"slices"
	"testing"

	"supervisor/supervisor/state"
)

func TestTwoWorkersStartAndAreReady(t *testing.T) {
	scene(t, func(s *site) {
		answer := s.ask(Put{Spec: web(2)})
		s.status(state.AppLaunching, "0/1 launching", "1/1 launching")
		s.done(<-answer, Started)
		s.status(state.AppOnline, "0/1 online", "1/1 online")
		s.good(StopApp{"web"}, WasStopped)
		s.status(state.AppStopped, "0/1 stopped", "1/1 stopped")
		s.good(StartApp{"web"}, Started)
		s.status(state.AppOnline, "0/2 online", "1/2 online")
	})
}

func TestAStartTellsWhichWorkerCrashedAtBootAndGoesOnTrying(t *testing.T) {
	scene(t, func(s *site) {
		s.script(func(o SpawnOrder) program {
			if o.Slot == 1 {
				return program{lives: 30 * ms, code: 3, lines: []string{"boom"}}
			}
			return program{}
		})
		out := s.do(Put{Spec: web(2)})
		s.bad(out, "cannot start web: slot 1", "exit code 3", "before it was ready", "it is tried again")
		if out.Slot == nil || *out.Slot != 1 || !slices.Equal(out.Details, []string{"boom"}) {
			t.Errorf("slot %v, %q", out.Slot, out.Details)
		}
		s.status(state.AppDegraded, "0/1 online", "1/1 waiting restart")
		s.sleep(600 * second)
		s.status(state.AppDegraded, "0/1 online", "1/1 errored")
		if n := s.spawns(); n != 1+16 {
			t.Errorf("%d spawns", n)
		}
		if len(s.saw().released) > 0 {
			t.Error("the sockets of an app that serves were released")
		}
	})
}

func TestSixteenUnstableStartsAreEnoughAndTheSocketsAreReleased(t *testing.T) {
	scene(t, func(s *site) {
		s.run(program{lives: 10 * ms, code: 1})
		s.bad(s.do(Put{Spec: web(1)}), "slot 0")
		s.status(state.AppLaunching, "0/1 waiting restart")
		s.sleep(600 * second)
		s.status(state.AppErrored, "0/1 errored")
		if s.spawns() != 16 || !slices.Equal(s.saw().released, []string{"web"}) {
			t.Errorf("%d spawns, released %q", s.spawns(), s.saw().released)
		}
		s.run(program{})
		s.good(StartApp{"web"}, Started)
		if a := s.app("web"); a.Restarts != 0 {
			t.Errorf("start resets the counters, they say %d", a.Restarts)
		}
	})
}

func TestAStartWaitsForEveryFirstSettle(t *testing.T) {
	scene(t, func(s *site) {
		s.run(program{}, program{boot: 5 * second})
		answer := s.ask(Put{Spec: web(2)})
		s.sleep(4 * second)
		s.pending(answer)
		s.status(state.AppDegraded, "0/1 online", "1/1 launching")
		s.sleep(2 * second)
		s.done(<-answer, Started)
	})
}

func TestAStartThatIsNeverReady(t *testing.T) {
	scene(t, func(s *site) {
		s.run(program{mute: true, deaf: true}, program{})
		out := s.do(Put{Spec: web(1)})
		s.bad(out, "not ready", "has not said ready within 10s")
		p := s.saw().procs[101]
		if took := p.killedAt.Sub(p.toldAt); took != 8*second {
			t.Errorf("SIGKILL after %s", took)
		}
		s.sleep(second)
		s.status(state.AppOnline, "0/1 online")
	})
}

func TestAProgramThatCantBeExecuted(t *testing.T) {
	scene(t, func(s *site) {
		s.run(program{err: errNoExec})
		s.bad(s.do(Put{Spec: web(1)}), "slot 0", errNoExec.Error())
	})
}

func TestANewAppWhoseGenerationCantBeHadIsForgotten(t *testing.T) {
	scene(t, func(s *site) {
		s.prepares(func(PrepareOrder) Prepared {
			return Prepared{Stage: "listen for web", Err: errors.New("address in use"), Lines: []string{"why"}}
		})
		out := s.do(Put{Spec: web(1)})
		s.bad(out, "cannot start web: cannot listen for web: address in use")
		if !slices.Equal(out.Details, []string{"why"}) || s.knows("web") {
			t.Errorf("details %q, known %v", out.Details, s.knows("web"))
		}
		if s.spawns() != 0 || !slices.Equal(s.saw().released, []string{"web"}) {
			t.Errorf("%d spawns, released %q", s.spawns(), s.saw().released)
		}
	})
}

func TestAKnownAppWhoseGenerationCantBeHadStaysKnown(t *testing.T) {
	scene(t, func(s *site) {
		s.start(web(1))
		s.good(StopApp{"web"}, WasStopped)
		s.prepares(func(PrepareOrder) Prepared { return Prepared{Stage: "build", Err: errors.New("syntax error")} })
		s.bad(s.do(StartApp{"web"}), "syntax error")
		s.status(state.AppStopped, "0/1 stopped")
	})
}

func TestAnAppThatIsRegisteredWithoutAStartSurvivesABadFirstOne(t *testing.T) {
	scene(t, func(s *site) {
		spec := web(1)
		spec.AutoStart = false
		s.good(Put{Spec: spec}, Registered)
		s.status(state.AppStopped)
		s.prepares(func(PrepareOrder) Prepared { return Prepared{Stage: "build", Err: errors.New("syntax error")} })
		s.bad(s.do(StartApp{"web"}), "syntax error")
		s.status(state.AppStopped)
	})
}

func TestStartOfARunningAppLeavesItAlone(t *testing.T) {
	scene(t, func(s *site) {
		s.start(web(2))
		pids := s.pids()
		s.good(StartApp{"web"}, Unchanged)
		s.good(Put{Spec: web(2)}, Unchanged)
		if !slices.Equal(pids, s.pids()) {
			t.Error("it was replaced")
		}
	})
}

func TestStartOfAPartlyErroredAppStartsWhatIsDown(t *testing.T) {
	scene(t, func(s *site) {
		bad := true
		s.script(func(o SpawnOrder) program {
			if o.Slot == 0 && bad {
				return program{lives: 10 * ms, code: 1}
			}
			return program{}
		})
		s.do(Put{Spec: web(2)})
		s.sleep(600 * second)
		s.status(state.AppDegraded, "0/1 errored", "1/1 online")
		s.bad(s.do(StartApp{"web"}), "slot 0")
		s.sleep(600 * second)
		set(s, &bad, false)
		s.good(StartApp{"web"}, Started)
		s.status(state.AppOnline, "0/1 online", "1/1 online")
		if a := s.app("web"); a.Restarts != 0 {
			t.Errorf("%d restarts", a.Restarts)
		}
	})
}

func TestAChangedSpecIsReloadedByAStart(t *testing.T) {
	scene(t, func(s *site) {
		s.start(web(1))
		changed := web(1)
		changed.Args = []string{"--new"}
		out := s.good(Put{Spec: changed}, Reloaded)
		if out.Receipt == nil || out.Receipt.Result != state.Complete {
			t.Errorf("%+v", out.Receipt)
		}
		s.status(state.AppOnline, "0/2 online")
	})
}

func TestAStopOvertakesAStart(t *testing.T) {
	scene(t, func(s *site) {
		s.run(program{boot: 5 * second})
		start := s.ask(Put{Spec: web(1)})
		s.sleep(second)
		stop := s.ask(StopApp{"web"})
		s.bad(<-start, "superseded: the app was stopped")
		s.done(<-stop, WasStopped)
		s.status(state.AppStopped, "0/1 stopped")
	})
}

func TestAStartWhileItStopsWaitsForItsEnd(t *testing.T) {
	scene(t, func(s *site) {
		s.run(program{drain: 3 * second})
		s.start(web(1))
		stop := s.ask(StopApp{"web"})
		s.status(state.AppStopping, "0/1 stopping")
		start := s.ask(StartApp{"web"})
		s.bad(<-stop, "superseded: the app was started again")
		s.pending(start)
		s.done(<-start, Started)
		if s.saw().atOnce != 1 {
			t.Error("two at once")
		}
		if !slices.Equal(s.saw().released, []string{"web"}) {
			t.Errorf("the stop was asked for: its sockets are released in between, %q", s.saw().released)
		}
	})
}

func TestANewerStartTakesThePlaceOfOneThatIsStillBeingPrepared(t *testing.T) {
	scene(t, func(s *site) {
		s.slow(second)
		first := s.ask(Put{Spec: web(1)})
		changed := web(3)
		changed.Args = []string{"--new"}
		second := s.ask(Put{Spec: changed})
		s.done(<-first, Started)
		s.done(<-second, Started)
		s.status(state.AppOnline, "0/1 online", "1/1 online", "2/1 online")
		if len(s.saw().prepared) != 2 {
			t.Errorf("%d prepared", len(s.saw().prepared))
		}
	})
}

func TestAScaleWhileAStartIsPreparedCounts(t *testing.T) {
	scene(t, func(s *site) {
		s.start(web(2))
		s.good(StopApp{"web"}, WasStopped)
		s.slow(second)
		start := s.ask(Put{Spec: web(4)})
		scale := s.ask(ScaleApp{"web", 1})
		s.done(<-start, Started)
		s.done(<-scale, Scaled)
		s.status(state.AppOnline, "0/2 online")
	})
}

func TestAScaleOfAStartThatFailsFailsWithIt(t *testing.T) {
	scene(t, func(s *site) {
		s.slow(second)
		s.prepares(func(PrepareOrder) Prepared { return Prepared{Stage: "build", Err: errors.New("syntax error")} })
		start, scale := s.ask(Put{Spec: web(4)}), s.ask(ScaleApp{"web", 1})
		s.bad(<-start, "syntax error")
		s.bad(<-scale, "syntax error")
	})
}

func TestAClosedLoopStartsNothingMore(t *testing.T) {
	scene(t, func(s *site) {
		s.start(web(1))
		s.loop.Close()
		for _, cmd := range []Command{Put{Spec: web(2)}, StartApp{"web"}, ReloadApp{Name: "web"}, RestartApp{"web"}, ScaleApp{"web", 2}} {
			if out := s.do(cmd); !errors.Is(out.Err, ErrEnded) {
				t.Errorf("%T: %v", cmd, out.Err)
			}
		}
		s.good(StopApp{"web"}, WasStopped)
	})
}

func TestAnUnknownAppIsAnError(t *testing.T) {
	scene(t, func(s *site) {
		for _, cmd := range []Command{StartApp{"x"}, StopApp{"x"}, ReloadApp{Name: "x"}, ScaleApp{"x", 1}, ResetApp{"x"}} {
			s.bad(s.do(cmd), `cannot find "x"`)
		}
	})
}
