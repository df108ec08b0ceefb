package supervisor

import (
	"slices"
	"testing"

	"supervisor/supervisor/state"
)

func TestASecondReloadJoinsWhileNothingIsSpawned(t *testing.T) {
	scene(t, func(s *site) {
		s.start(web(2))
		s.slow(second)
		first, other := s.ask(release(web(2))), s.ask(release(web(2)))
		a, b := <-first, <-other
		s.done(a, Reloaded)
		s.done(b, Reloaded)
		if a.Earlier != nil || b.Earlier != nil || s.spawns() != 4 || len(s.saw().kept) != 1 {
			t.Errorf("%d spawns, kept %+v", s.spawns(), s.saw().kept)
		}
	})
}

func TestAReloadWithAnotherSpecDoesNotJoin(t *testing.T) {
	scene(t, func(s *site) {
		s.start(web(1))
		s.slow(second)
		changed := web(1)
		changed.Args = []string{"-x"}
		first, other := s.ask(release(web(1))), s.ask(release(changed))
		a, b := <-first, <-other
		s.done(a, Reloaded)
		s.done(b, Reloaded)
		if a.Earlier == nil || a.Earlier.Result != state.Superseded || b.Earlier != nil || s.spawns() != 2 {
			t.Errorf("%+v, %d spawns", a.Earlier, s.spawns())
		}
	})
}

func TestASecondReloadSupersedesOnceSomethingIsSpawned(t *testing.T) {
	scene(t, func(s *site) {
		s.start(web(2))
		s.run(program{drain: second, boot: second})
		first := s.ask(release(web(2)))
		s.sleep(1500 * ms) // slot 0 is replaced
		other := s.ask(release(web(2)))
		a, b := <-first, <-other
		s.done(a, Reloaded)
		s.done(b, Reloaded)
		if a.Earlier == nil || a.Earlier.Result != state.Superseded || a.Earlier.ToGeneration != 2 || a.Receipt.ToGeneration != 3 {
			t.Errorf("earlier %+v, receipt %+v", a.Earlier, a.Receipt)
		}
		s.status(state.AppOnline, "0/3 online", "1/3 online")
		// The newer one replaced what the first had brought to slot 0.
		first0 := a.Earlier.Workers[0]
		if old := b.Receipt.Workers[0].OldPID; old == 0 || old != first0.NewPID || old == first0.OldPID {
			t.Errorf("slot 0: %+v, then %+v", first0, b.Receipt.Workers[0])
		}
		if kept := s.saw().kept; len(kept) != 2 || kept[0].Result != state.Superseded || kept[1].Result != state.Complete {
			t.Errorf("kept %+v", kept)
		}
	})
}

func TestDropsAreCountedForTheReloadThatAsked(t *testing.T) {
	scene(t, func(s *site) {
		s.start(web(1))
		s.drops(7)
		s.slow(second)
		first := s.ask(release(web(1)))
		changed := web(1)
		changed.Args = []string{"-x"}
		s.slow(0)
		other := s.ask(release(changed)) // its question is still in the lane
		s.drops(9)
		a := <-first
		s.done(a, Reloaded)
		s.done(<-other, Reloaded)
		if *a.Receipt.QueueDrops != 0 {
			t.Errorf("%d drops", *a.Receipt.QueueDrops)
		}
	})
}

func TestAReloadWhileTheLastOldOneDrainsReplacesTheNewOneToo(t *testing.T) {
	scene(t, func(s *site) {
		s.run(program{drain: 5 * second})
		s.start(web(1))
		s.run(program{})
		first := s.ask(release(web(1)))
		s.sleep(second) // the new one serves, the old one drains
		other := s.ask(release(web(1)))
		a, b := <-first, <-other
		s.done(a, Reloaded)
		s.done(b, Reloaded)
		if a.Earlier == nil || a.Earlier.ToGeneration != 2 || b.Receipt.ToGeneration != 3 {
			t.Fatalf("%+v\n%+v", a.Earlier, b.Receipt)
		}
		if old, brought := b.Receipt.Workers[0].OldPID, a.Earlier.Workers[0].NewPID; old != brought {
			t.Errorf("the second one's old pid is %d, the first brought %d", old, brought)
		}
	})
}

func TestAStopDuringAReloadEndsIt(t *testing.T) {
	for _, c := range []struct {
		cmd    Command
		action string
	}{{StopApp{"web"}, WasStopped}, {DeleteApp{"web"}, Deleted}} {
		scene(t, func(s *site) {
			s.start(web(2))
			s.run(program{boot: second})
			reload := s.ask(release(web(2)))
			s.sleep(500 * ms)
			s.status(state.AppReloading, "0/1 online", "0/2 launching", "1/1 online")
			s.good(c.cmd, c.action)
			out := <-reload
			s.bad(out, "superseded: the app was "+c.action)
			if out.Receipt == nil || out.Receipt.Result != state.Superseded || out.Receipt.Reason != c.action {
				t.Errorf("%+v", out.Receipt)
			}
			if c.action == WasStopped {
				s.status(state.AppStopped, "0/1 stopped", "1/1 stopped")
				s.good(StartApp{"web"}, Started)
				s.status(state.AppOnline, "0/3 online", "1/3 online")
			} else if s.knows("web") {
				t.Error("it is still known")
			}
		})
	}
}

func TestAScaleUpDuringAReloadMovesItsTarget(t *testing.T) {
	scene(t, func(s *site) {
		s.start(web(2))
		s.run(program{boot: second})
		reload := s.ask(release(web(2)))
		s.sleep(500 * ms)
		scale := s.ask(ScaleApp{"web", 4})
		s.done(<-reload, Reloaded)
		s.done(<-scale, Scaled)
		s.status(state.AppOnline, "0/2 online", "1/2 online", "2/2 online", "3/2 online")
		s.good(release(web(2)), Reloaded) // a scaled count stays
		s.status(state.AppOnline, "0/3 online", "1/3 online", "2/3 online", "3/3 online")
	})
}

func TestAScaleDownDuringAReloadGivesUpTheHighestSlots(t *testing.T) {
	scene(t, func(s *site) {
		s.start(web(3))
		s.run(program{boot: second})
		reload := s.ask(release(web(3)))
		s.sleep(1500 * ms)
		scale := s.ask(ScaleApp{"web", 1})
		s.done(<-reload, Reloaded)
		s.done(<-scale, Scaled)
		s.status(state.AppOnline, "0/2 online")
	})
}

func TestAScaleWhileTheLastOldOneDrains(t *testing.T) {
	scene(t, func(s *site) {
		s.run(program{drain: 5 * second})
		s.start(web(1))
		s.run(program{})
		reload := s.ask(release(web(1)))
		s.sleep(second)
		scale := s.ask(ScaleApp{"web", 3})
		s.done(<-reload, Reloaded)
		s.done(<-scale, Scaled)
		s.status(state.AppOnline, "0/2 online", "1/2 online", "2/2 online")
	})
}

func TestAScaleDuringAReloadThatFailsHolds(t *testing.T) {
	scene(t, func(s *site) {
		s.start(web(1))
		s.run(program{lives: second, boot: 20 * second, code: 1}, program{})
		changed := web(1)
		changed.Args = []string{"-bad"}
		reload := s.ask(release(changed))
		s.sleep(500 * ms)
		scale := s.ask(ScaleApp{"web", 3})
		s.bad(<-reload, "rolled back")
		s.done(<-scale, Scaled)
		s.status(state.AppOnline, "0/1 online", "1/1 online", "2/1 online")
	})
}

func TestARestartReplacesSlotBySlotInTheSameGeneration(t *testing.T) {
	scene(t, func(s *site) {
		s.start(web(2))
		old := s.pids()
		s.onStop(func(int) {
			if n := s.world.serving("web"); n < 1 {
				t.Error("nobody serves")
			}
		})
		out := s.good(RestartApp{"web"}, Restarted)
		s.onStop(nil)
		s.status(state.AppOnline, "0/1 online", "1/1 online")
		if pids := s.pids(); slices.Contains(pids, old[0]) || slices.Contains(pids, old[1]) || s.saw().atOnce != 2 || out.Receipt.Result != state.Complete {
			t.Errorf("%v, then %v, %d at once, %+v", old, pids, s.saw().atOnce, out.Receipt)
		}
	})
}

func TestTheFirstFailureEndsARestart(t *testing.T) {
	scene(t, func(s *site) {
		s.start(web(2))
		old := s.pids()
		s.run(program{lives: 10 * ms, code: 1})
		out := s.do(RestartApp{"web"})
		if out.Slot != nil {
			t.Errorf("slot %d has failed", *out.Slot)
		}
		s.bad(out, "cannot restart web: slot 0", "exit code 1", state.Failed)
		if a := s.app("web"); a.Workers[1].PID != old[1] {
			t.Errorf("slot 1 was touched: %+v", a.Workers[1])
		}
		s.run(program{})
		s.sleep(20 * second)
		s.status(state.AppOnline, "0/1 online", "1/1 online")
	})
}

func TestARestartSupersedesAReload(t *testing.T) {
	scene(t, func(s *site) {
		s.start(web(2))
		s.run(program{boot: second})
		reload := s.ask(release(web(2)))
		s.sleep(1500 * ms)
		restart := s.ask(RestartApp{"web"})
		a, b := <-reload, <-restart
		s.done(a, Reloaded)
		s.done(b, Restarted)
		if a.Earlier == nil || a.Earlier.Result != state.Superseded {
			t.Errorf("%+v", a.Earlier)
		}
		s.status(state.AppOnline, "0/1 online", "1/1 online")
	})
}

func TestADeletedAppThatIsPutAgainBeforeItIsGoneIsStarted(t *testing.T) {
	scene(t, func(s *site) {
		s.run(program{drain: 3 * second})
		s.start(web(1))
		gone := s.ask(DeleteApp{"web"})
		again := s.ask(release(web(1)))
		s.bad(<-gone, "superseded: the app was put again")
		s.done(<-again, Started)
		s.status(state.AppOnline, "0/2 online")
	})
}
