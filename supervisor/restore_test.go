package supervisor

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"supervisor/supervisor/state"
)

func TestAfterACrashEveryWorkerIsTheOneItWas(t *testing.T) {
	scene(t, func(s *site) {
		s.start(web(3))
		pids := s.pids()
		s.die()
		s.sleep(5 * second)
		s.revive()
		s.sleep(second)
		s.status(state.AppOnline, "0/1 online", "1/1 online", "2/1 online")
		if !slices.Equal(pids, s.pids()) || s.spawns() != 3 {
			t.Errorf("pids %v, then %v, %d spawns", pids, s.pids(), s.spawns())
		}
		if up := *s.app("web").Workers[0].UptimeMS; up < 6000 {
			t.Errorf("up for %d ms", up)
		}
		s.good(Put{Spec: web(3), Env: []string{"A=1"}}, Unchanged)
		s.good(StopApp{"web"}, WasStopped)
	})
}

func TestKillTimeoutEndsWhenItWouldHave(t *testing.T) {
	for _, c := range []struct {
		story string
		away  time.Duration
		after time.Duration // from the stop signal to SIGKILL
	}{
		{"it comes to its end after the restart", 2 * second, 8 * second},
		{"it has passed meanwhile", 20 * second, 23 * second},
	} {
		t.Run(c.story, func(t *testing.T) {
			scene(t, func(s *site) {
				s.run(program{deaf: true})
				s.start(web(1))
				s.ask(StopApp{"web"})
				s.sleep(3 * second)
				s.die()
				s.sleep(c.away)
				s.revive()
				s.sleep(10 * second)
				p := s.saw().procs[101]
				if took := p.killedAt.Sub(p.toldAt); !p.killed || took != c.after {
					t.Errorf("SIGKILL %v, %s after the stop signal", p.killed, took)
				}
				s.status(state.AppStopped, "0/1 stopped")
			})
		})
	}
}

func TestAWorkerIsWaitedForUntilItsListenTimeoutAsBefore(t *testing.T) {
	scene(t, func(s *site) {
		s.run(program{mute: true}, program{})
		s.ask(Put{Spec: web(1)})
		s.sleep(4 * second)
		s.die()
		s.sleep(2 * second)
		s.revive()
		s.sleep(3 * second)
		if s.saw().procs[101].told {
			t.Error("it was stopped before its time")
		}
		s.sleep(2 * second)
		if !s.saw().procs[101].told {
			t.Error("it got another ten seconds")
		}
		s.sleep(5 * second)
		s.status(state.AppOnline, "0/1 online")
	})
}

// What a worker said while nobody listened counts before a timeout that passed.
func TestAWorkerThatBecameReadyMeanwhileIsReady(t *testing.T) {
	scene(t, func(s *site) {
		s.run(program{boot: 9 * second})
		s.ask(Put{Spec: web(1)})
		s.sleep(8 * second)
		s.die()
		s.sleep(10 * second)
		s.revive()
		s.sleep(5 * second)
		s.status(state.AppOnline, "0/1 online")
		if s.spawns() != 1 {
			t.Errorf("%d spawns", s.spawns())
		}
	})
}

func TestARestartDelayGoesOn(t *testing.T) {
	scene(t, func(s *site) {
		spec := web(1)
		spec.RestartDelay = 60 * second
		s.start(spec)
		s.sleep(2 * second)
		s.crash(0, 3, 0)
		s.sleep(10 * second)
		s.die()
		s.sleep(20 * second)
		s.revive()
		s.sleep(29 * second)
		s.status(state.AppLaunching, "0/1 waiting restart")
		s.sleep(2 * second)
		s.status(state.AppOnline, "0/1 online")
		if a := s.app("web"); a.Restarts != 1 || a.Workers[0].LastExit != "exit code 3" {
			t.Errorf("%d restarts, %q", a.Restarts, a.Workers[0].LastExit)
		}
	})
}

// The orders of a start one by one: Prepare, and a Spawn for each worker.
func TestAStartGoesOnWhereverItWasInterrupted(t *testing.T) {
	for n := range 12 {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			scene(t, func(s *site) {
				s.dieBefore(n)
				s.ask(Put{Spec: web(3)})
				s.sleep(second)
				if !s.ended() {
					s.die()
				}
				if n == 0 { // nothing is on record
					s.world.record = []byte(`{"schema":1,"last_id":100,"last_key":0,"unkept":[],"apps":[]}`)
				}
				s.revive()
				s.sleep(5 * second)
				if n == 0 {
					return
				}
				s.status(state.AppOnline, "0/1 online", "1/1 online", "2/1 online")
				if a := s.app("web"); a.Restarts != 0 {
					t.Errorf("%d restarts", a.Restarts)
				}
				if s.saw().atOnce > 3 {
					t.Errorf("%d at once", s.saw().atOnce)
				}
			})
		})
	}
}

// The fake world complains of a stop signal to a worker that is in accept.
func TestSteeringIsOrderedAgain(t *testing.T) {
	scene(t, func(s *site) {
		spec := web(1)
		spec.Balance, spec.PreDrain = state.Even, 3*second
		s.ask(Put{Spec: spec})
		s.sleep(50 * ms)
		s.dieBefore(1) // it is online on record, and not admitted
		s.sleep(second)
		s.revive()
		s.sleep(second)
		if !s.saw().procs[101].admitted {
			t.Error("it gets no connections")
		}
		s.dieBefore(1)
		s.ask(StopApp{"web"})
		s.revive()
		s.sleep(second)
		if p := s.saw().procs[101]; p.admitted || p.told {
			t.Errorf("in accept: %v, told: %v", p.admitted, p.told)
		}
		s.good(Await{Name: "web"}, Settled)
	})
}

func TestWhatWasToBeToldOrLetGoIsSoAfterACrash(t *testing.T) {
	scene(t, func(s *site) {
		s.slow(second)
		s.run(program{drain: second})
		s.ask(Put{Spec: flip(1)})
		s.dieBefore(2) // after the record of Prepared and the spawn
		s.sleep(2 * second)
		s.areAlone()
		s.revive()
		s.sleep(second)
		s.areAlone(s.app("web").Workers[0].ID)
		s.ask(StopApp{"web"})
		s.dieBefore(3) // after the records of Ended and Gone, and Forget
		s.sleep(10 * second)
		if released := s.saw().released; len(released) > 0 {
			t.Fatalf("released: %q", released)
		}
		s.revive()
		s.sleep(second)
		if released := s.saw().released; len(released) != 1 {
			t.Errorf("released: %q", released)
		}
	})
}

// A client that asks a successor again is told that its request was begun: the daemon
// notes that with the record, of which there has to be one.
func TestASignalIsOnRecordBeforeItIsSent(t *testing.T) {
	scene(t, func(s *site) {
		s.start(web(1))
		s.dieBefore(1) // the record is the first act
		s.ask(SignalApp{"web", 10})
		if signals := s.saw().signals; !s.ended() || len(signals) > 0 {
			t.Fatalf("it is sent and not on record: %v", signals)
		}
		s.revive()
		s.sleep(second)
	})
}

func TestAnEndThatNobodySawIsAFailure(t *testing.T) {
	scene(t, func(s *site) {
		s.start(web(1))
		s.sleep(2 * second)
		s.die()
		s.crash(0, 0, 0)
		s.revive()
		s.sleep(second)
		s.status(state.AppOnline, "0/1 online")
		w := s.app("web").Workers[0]
		if w.LastExit != "unknown exit status" || w.Restarts != 1 || w.PID != 1102 {
			t.Errorf("%+v", w)
		}
	})
}

func TestAnEndThatIsFoundIsToldAsItWas(t *testing.T) {
	scene(t, func(s *site) {
		spec := web(1)
		spec.StopExitCodes = []int{0}
		s.start(spec)
		s.sleep(2 * second)
		s.die()
		s.crash(0, 0, 0)
		s.live(true, s.clock, func() bool { return true })
		s.sleep(second)
		s.status(state.AppStopped, "0/1 stopped")
		if w := s.app("web").Workers[0]; w.LastExit != "exit code 0" {
			t.Errorf("%+v", w)
		}
	})
}

func TestWhatTheRecordDoesNotKnowIsEnded(t *testing.T) {
	scene(t, func(s *site) {
		s.start(web(1))
		old := slices.Clone(s.world.record)
		s.good(ScaleApp{"web", 2}, Scaled)
		s.die()
		s.world.record = old // as with a full disk
		s.revive()
		s.sleep(second)
		s.status(state.AppOnline, "0/1 online")
		if p := s.saw().procs[102]; !p.told || !p.gone {
			t.Errorf("%+v", p)
		}
	})
}

func TestWhatIsLeftOfWhatTheRecordDoesNotKnowIsEnded(t *testing.T) {
	scene(t, func(s *site) {
		s.run(program{leftFor: 3 * second})
		s.start(web(1))
		old := slices.Clone(s.world.record)
		s.good(ScaleApp{"web", 2}, Scaled)
		s.die()
		s.crash(1, 1, 2)
		s.world.record = old
		s.revive()
		s.sleep(5 * second)
		if p := s.saw().procs[102]; !p.told || !p.gone {
			t.Errorf("%+v", p)
		}
		s.status(state.AppOnline, "0/1 online")
	})
}

func TestAProcessOfAnUnknownAppIsKilled(t *testing.T) {
	scene(t, func(s *site) {
		old := []byte(`{"schema":1,"last_id":100,"last_key":0,"unkept":[],"apps":[]}`)
		s.start(web(1))
		s.world.mu.Lock()
		s.world.procs[101].told = true // the fake world wants a signal first
		s.world.mu.Unlock()
		s.die()
		s.world.record = old
		s.revive()
		s.sleep(second)
		if p := s.saw().procs[101]; !p.killed || !p.gone {
			t.Errorf("%+v", p)
		}
	})
}

func TestWhatIsUnderWayGoesOnAfterACrash(t *testing.T) {
	scene(t, func(s *site) {
		s.run(program{drain: 3 * second})
		s.start(web(3))
		s.ask(ScaleApp{"web", 1})
		s.die()
		s.sleep(second)
		s.revive()
		s.good(Await{Name: "web"}, Settled)
		s.status(state.AppOnline, "0/1 online")
		s.ask(StopApp{"web"})
		s.die()
		s.revive()
		s.good(Await{Name: "web"}, Settled)
		s.status(state.AppStopped, "0/1 stopped")
		s.ask(StartApp{"web"})
		s.ask(DeleteApp{"web"})
		s.die()
		s.revive()
		s.sleep(10 * second)
		if s.knows("web") {
			t.Error("it was deleted")
		}
	})
}

func TestTheStateOfANewerSupervisorIsRefused(t *testing.T) {
	for text, says := range map[string]string{
		`{"schema":9,"apps":"in another form"}`: "cannot read the state of a newer supervisor (schema 9; this one reads 1)",
		`{"schema":0}`:                          "too old (schema 0; this one reads 1)",
		`{}`:                                    "no schema",
		``:                                      "cannot read the state",
		`{"schema":1,"ap`:                       "cannot read the state",
		`{"schema":1,"unkept":[null]}`:          "receipt is missing",
		`{"schema":1,"apps":[{}]}`:              "no name",
		`{"schema":1,"apps":[{"head":{"name":"x","cur":3}}]}`:                          `app "x": its generation 3`,
		`{"schema":1,"apps":[{"head":{"name":"x","count":1},"roll":{}}]}`:              `app "x": its generation 0`,
		`{"schema":1,"apps":[{"head":{"name":"x"}},{"head":{"name":"x"}}]}`:            "twice",
		`{"schema":1,"apps":[{"head":{"name":"x"},"members":[{"gen":1}]}]}`:            "worker of slot 0",
		`{"schema":1,"apps":[{"head":{"name":"x"},"members":[{"timers":{"tea":1}}]}]}`: "tea",
	} {
		_, err := Restore(state.DaemonInfo{}, []byte(text), nil, RestoreOptions{})
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// An interrupted reload with all that a record can have.
func eventful(t testing.TB) []byte {
	var text []byte
	scene(t.(*testing.T), func(s *site) {
		s.run(program{listens: []string{front, other}, leftFor: 5 * second, left: 1}, program{}, program{boot: 5 * second}, program{lives: second, code: 1})
		s.start(web(2))
		s.ask(release(web(2)))
		s.sleep(100 * ms)
		s.crash(0, 4, 1)
		s.ask(ScaleApp{"web", 3})
		s.sleep(50 * ms)
		text = slices.Clone(s.world.record)
	})
	return text
}

func TestARecordIsReadAsItWasWritten(t *testing.T) {
	text := eventful(t)
	l, err := Restore(state.DaemonInfo{}, text, nil, RestoreOptions{})
	if err != nil {
		t.Fatal(err)
	}
	l.world.world = idle{}
	l.commit(l.apps...)
	if again := slices.Concat(l.document()...); !bytes.Equal(again, text) {
		t.Error(differ(again, text))
	}
	if !json.Valid(text) {
		t.Error("it is no JSON")
	}
}
