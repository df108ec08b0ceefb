package supervisor

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"supervisor/supervisor/state"
)

func TestAnUpgradeInTheMiddleOfAReloadLetsItGoOn(t *testing.T) {
	for _, after := range []time.Duration{0, 50 * ms, 102 * ms, second, 2500 * ms, 4 * second, 5 * second, 8 * second} {
		t.Run(after.String(), func(t *testing.T) {
			scene(t, func(s *site) {
				s.script(func(o SpawnOrder) program { return program{drain: 2 * second, boot: second} })
				s.start(web(2))
				s.slow(20 * ms)
				s.ask(release(web(2)))
				s.sleep(after)
				s.upgrade()
				out := s.good(Await{Name: "web"}, Settled)
				if out.Receipt == nil || out.Receipt.Result != state.Complete || s.spawns() > 5 {
					t.Errorf("%+v, %d spawns", out.Receipt, s.spawns())
				}
				if kept := s.saw().kept; len(kept) != 1 {
					t.Errorf("%+v", kept)
				}
				s.status(state.AppOnline, "0/2 online", "1/2 online")
			})
		})
	}
}

func TestCalmWaitsForTheSlotInHandAndBeginsNoOther(t *testing.T) {
	scene(t, func(s *site) {
		s.start(web(3))
		s.run(program{boot: 3 * second})
		reload := s.ask(release(web(3)))
		s.sleep(second)
		began := time.Now()
		if err := s.loop.Calm(context.Background()); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took < second || took > 3*second {
			t.Errorf("calm after %s", took)
		}
		s.sleep(10 * second)
		if s.spawns() != 4 {
			t.Errorf("%d spawns", s.spawns())
		}
		s.pending(reload)
		s.loop.Uncalm()
		s.done(<-reload, Reloaded)
	})
}

func TestCalmEndsWithWhoeverAskedForIt(t *testing.T) {
	scene(t, func(s *site) {
		s.start(web(1))
		s.run(program{boot: 5 * second})
		reload := s.ask(release(web(1)))
		ctx, cancel := context.WithTimeout(context.Background(), second)
		defer cancel()
		if err := s.loop.Calm(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		s.done(<-reload, Reloaded)
	})
}

func TestACrashedWorkerComesBackWhileItIsCalm(t *testing.T) {
	scene(t, func(s *site) {
		s.start(web(1))
		s.sleep(2 * second)
		if err := s.loop.Calm(context.Background()); err != nil {
			t.Fatal(err)
		}
		s.crash(0, 1, 0)
		s.sleep(second)
		s.status(state.AppOnline, "0/1 online")
		s.loop.Uncalm()
	})
}

func TestAFrozenLoopTakesNothingAndThawsAsItWas(t *testing.T) {
	scene(t, func(s *site) {
		s.run(program{}, program{deaf: true}, program{})
		s.start(web(2))
		s.ask(ScaleApp{"web", 1})
		s.sleep(second)
		events, cancel := s.loop.Events()
		defer cancel()
		data, err := s.loop.Freeze(context.Background())
		if err != nil || !bytes.Equal(data, s.world.record) {
			t.Fatalf("%v\n%s\n%s", err, data, s.world.record)
		}
		if _, err := s.loop.Freeze(context.Background()); err == nil {
			t.Error("frozen twice")
		}
		s.crash(0, 1, 0) // is told, and waits
		stop := s.ask(StopApp{"web"})
		s.sleep(3 * second)
		s.pending(stop)
		s.status(state.AppOnline, "0/1 online", "1/1 stopping")
		if len(events) > 0 {
			t.Errorf("%d events", len(events))
		}
		s.loop.Thaw()
		s.done(<-stop, WasStopped)
	})
}

func TestDeadlinesAreWhatTheyWereAfterAThaw(t *testing.T) {
	for _, frozen := range []time.Duration{second, 20 * second} {
		scene(t, func(s *site) {
			s.run(program{deaf: true})
			s.start(web(1))
			stop := s.ask(StopApp{"web"})
			s.sleep(3 * second)
			if _, err := s.loop.Freeze(context.Background()); err != nil {
				t.Fatal(err)
			}
			s.sleep(frozen)
			if s.saw().procs[101].killed {
				t.Error("a timer of a frozen loop fired")
			}
			s.loop.Thaw()
			<-stop
			p := s.saw().procs[101]
			if took := p.killedAt.Sub(p.toldAt); took != max(8*second, 3*second+frozen) {
				t.Errorf("SIGKILL after %s", took)
			}
		})
	}
}

// No process is on its way to its first instruction when the loop is frozen.
func TestAFreezeWaitsForTheSpawnsInHandAndOrdersNoOther(t *testing.T) {
	scene(t, func(s *site) {
		s.start(web(1))
		s.sleep(2 * second)
		spawned := s.spawns()
		s.crash(0, 1, 0) // its successor is ordered, and needs 1 ms
		if s.spawns() != spawned+1 {
			t.Fatalf("%d spawns", s.spawns())
		}
		data, err := s.loop.Freeze(context.Background())
		if err != nil || !bytes.Contains(data, []byte(`"pid":1102`)) {
			t.Fatalf("%v, %s", err, data)
		}
		s.loop.Thaw()
		s.sleep(second)
		s.status(state.AppOnline, "0/1 online")
	})
}

func TestASpawnThatComesUpDuringAFreezeIsOrderedByWhoeverGoesOn(t *testing.T) {
	for _, thaw := range []bool{true, false} {
		scene(t, func(s *site) {
			s.start(web(2))
			s.sleep(2 * second)
			s.crash(1, 1, 0) // the one that the freeze has to wait for
			frozen := make(chan []byte)
			go func() { // ends with the freeze
				data, err := s.loop.Freeze(context.Background())
				if err != nil {
					t.Error(err)
				}
				frozen <- data
			}()
			s.sleep(0)
			s.crash(0, 1, 0)
			data := <-frozen
			if s.spawns() != 3 {
				t.Errorf("%d spawns", s.spawns())
			}
			if thaw {
				s.loop.Thaw()
			} else {
				s.die()
				s.world.record = data
				s.live(false, s.clock, func() bool { return true })
			}
			s.sleep(second)
			s.status(state.AppOnline, "0/1 online", "1/1 online")
			if a := s.app("web"); a.Restarts != 2 || s.spawns() != 4 {
				t.Errorf("%d restarts, %d spawns", a.Restarts, s.spawns())
			}
		})
	}
}

func TestAFreezeThatIsGivenUpIsNone(t *testing.T) {
	scene(t, func(s *site) {
		s.start(web(1))
		slowly := make(chan struct{})
		set(s, &s.world.slowly, slowly)
		s.loop.Tell(Said{ID: 101, Text: "x"})
		ctx, cancel := context.WithTimeout(context.Background(), second)
		defer cancel()
		if _, err := s.loop.Freeze(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		set(s, &s.world.slowly, nil)
		s.good(ResetApp{"web"}, WasReset)
		close(slowly)
	})
}

func TestWhatIsToldToBeKeptIsOnRecordThen(t *testing.T) {
	scene(t, func(s *site) {
		s.start(web(1))
		slowly := make(chan struct{})
		set(s, &s.world.slowly, slowly)
		kept := make(chan bool, 2)
		tell := func(f Fact) { kept <- s.loop.TellKept(f) }
		go tell(Said{ID: 101, Text: "once"}) // ends when it is kept
		synctest.Wait()
		go tell(Said{ID: 101, Text: "once"}) // changes nothing, and isn't kept before
		synctest.Wait()
		if len(kept) > 0 || !bytes.Contains(s.world.record, []byte("once")) {
			t.Error("it is not written yet")
		}
		stop := s.ask(StopApp{"web"})
		s.sleep(second)
		s.pending(stop) // answered when it is on record
		close(slowly)
		if !<-kept || !<-kept {
			t.Error("it is not kept")
		}
		s.done(<-stop, WasStopped)
		set(s, &s.world.slowly, nil)
	})
}

func TestWhatIsToldToAFrozenLoopIsNotKeptByIt(t *testing.T) {
	scene(t, func(s *site) {
		s.start(web(1))
		if _, err := s.loop.Freeze(context.Background()); err != nil {
			t.Fatal(err)
		}
		kept := make(chan bool, 1)
		go func() { kept <- s.loop.TellKept(Said{ID: 101, Text: "x"}) }() // ends with the loop
		synctest.Wait()
		if len(kept) > 0 {
			t.Error("it is frozen")
		}
		s.die()
		if <-kept {
			t.Error("nobody took it")
		}
		s.live(false, s.clock, func() bool { return true })
	})
}

func TestAwait(t *testing.T) {
	scene(t, func(s *site) {
		s.bad(s.do(Await{Name: "web"}), `cannot find "web"`)
		s.run(program{}, program{lives: 50 * ms, boot: second, code: 3, lines: []string{"boom"}})
		s.ask(Put{Spec: web(2)})
		out := s.do(Await{Name: "web"})
		s.bad(out, "slot 1", "exit code 3")
		if out.Receipt != nil || !slices.Equal(out.Details, []string{"boom"}) {
			t.Errorf("%+v", out)
		}
		s.run(program{drain: second})
		s.sleep(600 * second)
		reload := s.ask(release(web(2)))
		out = s.good(Await{Name: "web"}, Settled)
		if r := (<-reload).Receipt; out.Receipt == nil || !out.Receipt.StartedAt.Equal(r.StartedAt) {
			t.Errorf("%+v", out)
		}
		if again := s.good(Await{Name: "web"}, Settled); again.Receipt == nil {
			t.Error("the last receipt is forgotten")
		}
		s.ask(StopApp{"web"})
		began := time.Now()
		s.good(Await{Name: "web"}, Settled)
		if time.Since(began) < second {
			t.Error("it has not stopped yet")
		}
		s.prepares(func(PrepareOrder) Prepared { return Prepared{Stage: "build", Err: errors.New("syntax error")} })
		s.slow(second)
		s.ask(StartApp{"web"})
		s.bad(s.do(Await{Name: "web"}), "syntax error")
	})
}
