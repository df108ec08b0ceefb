package supervisor

import (
	"slices"
	"strings"
	"testing"
	"time"

	"supervisor/supervisor/state"
)

func TestACrashedWorkerIsReplacedAtOnce(t *testing.T) {
	scene(t, func(s *site) {
		s.start(web(2))
		s.sleep(7 * 24 * time.Hour)
		s.crash(1, 1, 0)
		s.status(state.AppDegraded, "0/1 online", "1/1 launching")
		s.sleep(second)
		s.status(state.AppOnline, "0/1 online", "1/1 online")
		a := s.app("web")
		if a.Restarts != 1 || a.Workers[1].Restarts != 1 || a.Workers[1].LastExit != "exit code 1" {
			t.Errorf("%+v", a)
		}
		s.good(ResetApp{"web"}, WasReset)
		if s.app("web").Restarts != 0 {
			t.Error("reset resets nothing")
		}
	})
}

func TestACrashLoopThatBeginsAfterAStableWeekEndsAsErrored(t *testing.T) {
	scene(t, func(s *site) {
		s.start(web(1))
		s.sleep(7 * 24 * time.Hour)
		s.run(program{lives: 300 * ms, code: 1}) // ready, and dead within min_uptime
		s.crash(0, 1, 0)
		began := time.Now()
		for s.app("web").Status != state.AppErrored {
			if s.sleep(second); time.Since(began) > time.Hour {
				s.t.Fatal("it goes on for ever")
			}
		}
		if s.spawns() != 1+16 || !slices.Equal(s.saw().released, []string{"web"}) {
			t.Errorf("%d spawns, released %q", s.spawns(), s.saw().released)
		}
		if took := time.Since(began); took < 60*second {
			t.Errorf("16 starts in %s: it was hot", took)
		}
	})
}

func TestWhatACrashLeftIsEndedBesideTheSuccessor(t *testing.T) {
	scene(t, func(s *site) {
		s.run(program{leftFor: 3 * second, open: 5}, program{})
		s.start(web(1))
		s.sleep(5 * second)
		s.crash(0, 1, 2)
		s.status(state.AppLaunching, "0/1 launching", "0/1 stopping")
		s.sleep(second)
		s.status(state.AppOnline, "0/1 online", "0/1 stopping")
		reload := s.ask(release(web(1))) // it doesn't wait for what is left, nor count it
		s.sleep(second)
		out := <-reload
		s.done(out, Reloaded)
		if w := out.Receipt.Workers[0]; w.OldPID != 1102 || out.Receipt.ConnectionsCut != 0 {
			t.Errorf("%+v", out.Receipt)
		}
		s.sleep(2 * second)
		s.status(state.AppOnline, "0/2 online")
	})
}

func TestWhatACrashLeftIsKilledAtKillTimeoutAndAStopWaitsForIt(t *testing.T) {
	scene(t, func(s *site) {
		s.run(program{leftFor: -1}, program{})
		s.start(web(1))
		s.sleep(5 * second)
		s.crash(0, 1, 2)
		s.sleep(second)
		asked := time.Now()
		s.good(StopApp{"web"}, WasStopped)
		if took := time.Since(asked); took < 7*second {
			t.Errorf("stopped after %s, with something left", took)
		}
		p := s.saw().procs[101]
		if took := p.killedAt.Sub(p.toldAt); took != 8*second {
			t.Errorf("SIGKILL after %s", took)
		}
	})
}

// A thousand workers that crash with twenty lines each would be megabytes, written again
// and again: what is told is forgotten.
func TestLastWordsAreOnRecordUntilTheyAreTold(t *testing.T) {
	scene(t, func(s *site) {
		words := "a long story"
		s.run(program{lives: 50 * ms, code: 1, boot: second, lines: []string{words}})
		s.ask(Put{Spec: web(1)})
		s.sleep(3 * second)
		s.status(state.AppLaunching, "0/1 waiting restart")
		if n := strings.Count(string(s.world.record), words); n != 1 { // why its first start failed
			t.Errorf("they are on record %d times", n)
		}
		s.run(program{lines: []string{words}, left: 1, leftFor: 5 * second})
		s.sleep(10 * second)
		s.crash(0, 1, 0)
		s.sleep(0)
		if n := strings.Count(string(s.world.record), words); n != 0 {
			t.Errorf("of one that had come up they are on record %d times", n)
		}
	})
}

func TestAForkWaitsForWhatItsCrashLeft(t *testing.T) {
	scene(t, func(s *site) {
		spec := web(1)
		spec.Mode = state.Fork
		s.run(program{leftFor: 3 * second}, program{})
		s.start(spec)
		s.sleep(5 * second)
		s.crash(0, 1, 2)
		s.status(state.AppLaunching, "0/1 stopping")
		s.sleep(5 * second)
		s.status(state.AppOnline, "0/1 online")
		if s.saw().atOnce != 1 {
			t.Errorf("%d at once", s.saw().atOnce)
		}
	})
}

func TestAStaleKillTimerNeverHitsTheNextProcess(t *testing.T) {
	scene(t, func(s *site) {
		s.run(program{drain: 7900 * ms}) // gone just before its SIGKILL
		s.start(web(1))
		s.good(RestartApp{"web"}, Restarted)
		s.good(StopApp{"web"}, WasStopped)
		s.good(StartApp{"web"}, Started)
		stop := s.ask(StopApp{"web"})
		s.done(<-stop, WasStopped)
		for id, p := range s.saw().procs {
			if p.killed {
				t.Errorf("%d was killed", id)
			}
		}
	})
}

func TestAWorkerThatIgnoresTheSignalIsKilledAtKillTimeoutNotEarlier(t *testing.T) {
	scene(t, func(s *site) {
		s.run(program{deaf: true})
		s.start(web(2))
		asked := time.Now()
		s.good(StopApp{"web"}, WasStopped)
		if took := time.Since(asked); took != 8*second+ms {
			t.Errorf("it took %s", took)
		}
	})
}

func TestAutorestartFalseAndStopExitCodesLeaveAWorkerDown(t *testing.T) {
	scene(t, func(s *site) {
		spec := web(2)
		spec.StopExitCodes = []int{0}
		s.start(spec)
		s.crash(1, 0, 0)
		s.sleep(60 * second)
		s.status(state.AppDegraded, "0/1 online", "1/1 stopped")
		s.crash(0, 0, 0)
		s.status(state.AppStopped, "0/1 stopped", "1/1 stopped")
		if !slices.Equal(s.saw().released, []string{"web"}) {
			t.Errorf("released %q", s.saw().released)
		}
		s.good(StartApp{"web"}, Started)
		s.status(state.AppOnline, "0/2 online", "1/2 online")
	})
}

func TestACrashDuringAReloadIsRestartedInItsOwnGeneration(t *testing.T) {
	scene(t, func(s *site) {
		s.start(web(2))
		s.sleep(60 * second)
		s.script(func(o SpawnOrder) program {
			if o.Gen == 2 && o.Slot == 0 {
				return program{boot: 20 * second, lives: 5 * second, code: 1}
			}
			return program{}
		})
		reload := s.ask(release(web(2)))
		s.sleep(second)
		s.crash(1, 9, 0)
		s.sleep(second)
		s.status(state.AppReloading, "0/1 online", "0/2 launching", "1/1 online")
		s.bad(<-reload, "rolled back")
		s.status(state.AppOnline, "0/1 online", "1/1 online")
	})
}

func TestANewWorkerThatCrashesOnceAfterItsSoakLeavesNoStageInTheReceipt(t *testing.T) {
	scene(t, func(s *site) {
		s.run(program{drain: 5 * second})
		s.start(web(1))
		s.run(program{lives: 3 * second, code: 1}, program{})
		out := s.good(release(web(1)), Reloaded)
		w := out.Receipt.Workers[0]
		if w.Stage != "" || w.NewExitCode != nil || w.NewPID != s.pids()[0] || len(out.Details) > 0 {
			t.Errorf("%+v", w)
		}
	})
}

func TestASpawnThatWasStoppedBeforeItFailed(t *testing.T) {
	scene(t, func(s *site) {
		s.run(program{err: errNoExec})
		s.ask(Put{Spec: web(1)})
		s.good(StopApp{"web"}, WasStopped)
		s.status(state.AppStopped, "0/1 stopped")
	})
}

func TestFactsAboutForgottenSpawnsAreDropped(t *testing.T) {
	scene(t, func(s *site) {
		s.start(web(1))
		s.good(RestartApp{"web"}, Restarted)
		before := s.app("web").Workers[0]
		for _, id := range []uint64{101, 999} {
			for _, f := range []Fact{Spawned{ID: id, PID: 1}, SpawnFailed{ID: id, Err: errNoExec}, BecameReady{ID: id},
				Listening{ID: id, Addr: front}, Said{ID: id, Text: "x"}, Extended{ID: id, By: second}, Ended{ID: id},
				Gone{ID: id}, Cut{ID: id}, Messaged{ID: id}, Noted{ID: id, Text: "x"}} {
				s.loop.Tell(f)
			}
		}
		s.loop.Tell(Dropped{App: "nobody"})
		s.loop.Tell(Dropped{App: "web"})
		s.loop.Tell(Unseen{App: "nobody"})
		s.loop.Tell(Prepared{App: "web", Token: 12345})
		s.loop.Tell(Prepared{App: "nobody"})
		after := s.app("web").Workers[0]
		if after.PID != before.PID || after.Inc != before.Inc || after.State != before.State || s.spawns() != 2 {
			t.Errorf("%+v, then %+v", before, after)
		}
	})
}
