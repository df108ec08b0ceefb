package supervisor

import (
	"fmt"
	"slices"
	"testing"

	"supervisor/supervisor/state"
)

const (
	front = "tcp://127.0.0.1:3000"
	other = "tcp://127.0.0.1:9000"
)

// silent is an app that says nothing: it is ready when it listens.
func silent(instances int) state.Spec {
	spec := web(instances)
	spec.WaitReady = false
	return spec
}

func on(addrs ...string) program { return program{listens: addrs} }

// readyBy is the sign that slot 0's new worker was ready by.
func readyBy(out Outcome) string { return out.Receipt.Workers[0].ReadyBy }

func TestASilentWorkerIsReadyWhenItListensWhereItsPredecessorDid(t *testing.T) {
	scene(t, func(s *site) {
		s.run(on(front))
		s.start(silent(2))
		s.status(state.AppOnline, "0/1 online", "1/1 online")
		out := s.good(release(silent(2)), Reloaded)
		if readyBy(out) != "listening" || *out.Receipt.Workers[0].ReadyMS != 101 {
			t.Errorf("%+v", out.Receipt.Workers[0])
		}
	})
}

func TestListeningOnAnotherAddressIsNotReadiness(t *testing.T) {
	scene(t, func(s *site) {
		s.run(on(front))
		s.start(silent(1))
		s.run(on(other))
		s.bad(s.do(release(silent(1))), "not ready: it has not listened within 10s", "rolled back")
		s.status(state.AppOnline, "0/1 online")
	})
}

func TestANewAddressBesideTheOldOneDoesNotHideIt(t *testing.T) {
	scene(t, func(s *site) {
		s.run(on(front))
		s.start(silent(2))
		s.run(on(other, front)) // the new code has a port for its metrics, and opens it first
		s.good(release(silent(2)), Reloaded)
		s.status(state.AppOnline, "0/2 online", "1/2 online")
	})
}

func TestAWorkerMayListenBeforeItsSpawnIsTold(t *testing.T) {
	scene(t, func(s *site) {
		s.run(on(front))
		s.start(silent(1))
		events, cancel := s.loop.Events()
		defer cancel()
		reload := s.ask(release(silent(1)))
		s.loop.Tell(Listening{ID: 102, PID: 1102, Addr: front})
		out := <-reload
		s.done(out, Reloaded)
		if w := out.Receipt.Workers[0]; w.NewPID != 1102 || w.ReadyMS == nil || w.ReadyBy != "listening" {
			t.Errorf("%+v", w)
		}
		if got := lines(drain(events)); !slices.Contains(got, "worker spawned 0/2 1102") {
			t.Errorf("%q", got)
		}
	})
}

func TestAWorkerThatListensEverywhereIsNotRemembered(t *testing.T) {
	scene(t, func(s *site) {
		s.run(on(front))
		s.start(silent(1))
		for i := range 3 * maxListens {
			s.loop.Tell(Listening{ID: 101, PID: 2000 + i, Addr: fmt.Sprint("tcp://127.0.0.1:", 4000+i)})
		}
		if n := len(s.app("web").Workers[0].Listeners); n != maxListens {
			t.Errorf("%d addresses", n)
		}
		s.good(release(silent(1)), Reloaded)
	})
}

func TestEverySlotMayHaveAPortOfItsOwn(t *testing.T) {
	scene(t, func(s *site) {
		s.script(func(o SpawnOrder) program { return on([]string{front, other}[o.Slot]) })
		s.start(silent(2))
		s.good(release(silent(2)), Reloaded)
		s.good(RestartApp{"web"}, Restarted)
	})
}

func TestWithAnotherEnvironmentAnyAddressIsReadinessAndThenItSoaks(t *testing.T) {
	scene(t, func(s *site) {
		s.run(on(front))
		s.start(silent(1))
		s.run(on(other))
		changed := silent(1)
		changed.Env = map[string]string{"PORT": "9000"}
		out := s.good(Put{Spec: changed}, Reloaded)
		if readyBy(out) != "listening" || out.Receipt.DurationMS < 1000 {
			t.Errorf("%+v", out.Receipt)
		}
		last := s.saw().retained
		if n := len(last); n != 1 || len(last[0].ids) != 1 {
			t.Errorf("retained %+v", last)
		}
	})
}

func TestAnAppThatNeverListenedIsReadyWhenItHasLivedForMinUptime(t *testing.T) {
	scene(t, func(s *site) {
		spec := silent(1)
		spec.MinUptime = 3 * second
		s.run(program{})
		answer := s.ask(Put{Spec: spec})
		s.sleep(2 * second)
		s.pending(answer)
		s.done(<-answer, Started)
		out := s.good(release(spec), Reloaded)
		if readyBy(out) != "inferred" || *out.Receipt.Workers[0].ReadyMS != 3001 || out.Receipt.DurationMS < 6000 {
			t.Errorf("ready by %q, %+v", readyBy(out), out.Receipt)
		}
	})
}

func TestWhereListeningCantBeSeenReadinessIsInferred(t *testing.T) {
	scene(t, func(s *site) {
		s.run(on(front))
		s.start(silent(1))
		s.run(program{})
		reload := s.ask(release(silent(1)))
		s.sleep(500 * ms)
		s.loop.Tell(Unseen{App: "web", Note: "seccomp is missing"}) // known by the first spawn that tries
		out := <-reload
		s.done(out, Reloaded)
		if readyBy(out) != "inferred" {
			t.Errorf("ready by %q", readyBy(out))
		}
		if notes := s.app("web").Notes; len(notes) != 1 || notes[0] != "seccomp is missing" {
			t.Errorf("notes %q", notes)
		}
	})
}

func TestAForkAndAnAppThatIsNotInterceptedAreInferred(t *testing.T) {
	scene(t, func(s *site) {
		s.run(program{})
		for i, change := range []func(*state.Spec){
			func(spec *state.Spec) { spec.Mode = state.Fork },
			func(spec *state.Spec) { spec.Intercept = false },
		} {
			spec := silent(1)
			change(&spec)
			out := s.do(release(spec))
			if i == 0 {
				s.done(out, Started)
				out = s.good(release(spec), Reloaded)
			}
			s.done(out, Reloaded)
			if readyBy(out) != "inferred" {
				t.Errorf("ready by %q", readyBy(out))
			}
		}
	})
}

func TestAReadyMessageCountsAlsoWhereNobodyWaitsForIt(t *testing.T) {
	scene(t, func(s *site) {
		s.run(program{})
		s.ask(Put{Spec: silent(1)})
		s.sleep(200 * ms)
		s.loop.Tell(BecameReady{ID: 101, Via: "node ipc"})
		s.status(state.AppOnline, "0/1 online")
	})
}

func TestExtendTimeoutGivesAStartingWorkerMoreTimeAndNeverLess(t *testing.T) {
	scene(t, func(s *site) {
		s.run(program{boot: 25 * second})
		start := s.ask(Put{Spec: web(1)})
		s.sleep(8 * second)
		s.loop.Tell(Extended{ID: 101, By: 10 * second})
		s.sleep(8 * second)
		s.loop.Tell(Extended{ID: 101, By: 15 * second})
		s.loop.Tell(Extended{ID: 101, By: ms})
		s.loop.Tell(Said{ID: 101, Text: "loading"})
		s.sleep(ms)
		if said := s.app("web").Workers[0].Said; said != "loading" {
			t.Errorf("said %q", said)
		}
		s.done(<-start, Started)
		s.loop.Tell(Extended{ID: 101, By: second})
		if s.sleep(20 * second); s.spawns() != 1 {
			t.Error("an online worker's extension restarted it")
		}
	})
}

func TestANotReadyWorkersLastStatusIsQuoted(t *testing.T) {
	scene(t, func(s *site) {
		s.run(program{mute: true}, program{})
		start := s.ask(Put{Spec: web(1)})
		s.sleep(second)
		s.loop.Tell(Said{ID: 101, Text: "waiting for the database"})
		s.bad(<-start, `its last status was "waiting for the database"`)
	})
}

func TestASlowServerThatWasGivenAPortIsNotOnlineBeforeItListens(t *testing.T) {
	scene(t, func(s *site) {
		s.run(program{boot: 3 * second, listens: []string{front}})
		spec := silent(1)
		spec.Env = map[string]string{"PORT": "3000"}
		events, cancel := s.loop.Events()
		defer cancel()
		s.start(spec)
		for _, e := range drain(events) {
			if e.What == state.WhatReady && e.Text != "listening" {
				t.Errorf("%+v", e)
			}
		}
	})
}

func TestAPortIsNoProofOfAServer(t *testing.T) {
	scene(t, func(s *site) {
		spec := silent(1)
		spec.Env = map[string]string{"PORT": "3000"}
		s.run(program{mute: true})
		s.start(spec) // half its listen_timeout, once
		s.status(state.AppOnline, "0/1 online")
		if out := s.good(release(spec), Reloaded); readyBy(out) != "inferred" || *out.Receipt.Workers[0].ReadyMS > 2000 {
			t.Errorf("%+v", out.Receipt.Workers[0])
		}
	})
}
