package supervisor

import (
	"testing"

	"supervisor/supervisor/state"
)

// probed is an app whose readiness a probe decides, alone or with a message.
func probed(instances int, waitReady bool) state.Spec {
	spec := web(instances)
	spec.WaitReady = waitReady
	spec.Ready = &state.Probe{Kind: state.ProbeHTTP, Target: "http://127.0.0.1:$PORT/health"}
	return spec
}

func TestWithAProbeListeningAndMessagesDecideNothing(t *testing.T) {
	scene(t, func(s *site) {
		s.run(program{listens: []string{"tcp://127.0.0.1:3000"}, proven: 3 * second})
		answer := s.ask(Put{Spec: probed(1, false)})
		s.sleep(2 * second)
		s.loop.Tell(BecameReady{ID: 101, Via: "READY_FD"})
		s.status(state.AppLaunching, "0/1 launching")
		s.sleep(2 * second)
		s.done(<-answer, Started)
		out := s.good(release(probed(1, false)), Reloaded)
		w := out.Receipt.Workers[0]
		if w.ReadyBy != "probe" || *w.ReadyMS != 3001 {
			t.Errorf("%+v", w)
		}
		if out.Receipt.DurationMS > 3500 {
			t.Errorf("a probe needs no soak, the reload took %d ms", out.Receipt.DurationMS)
		}
	})
}

func TestBothTheMessageAndTheProbeAreNeeded(t *testing.T) {
	for _, p := range []program{{boot: 2 * second, proven: 4 * second}, {boot: 4 * second, proven: second}} {
		scene(t, func(s *site) {
			s.run(p)
			answer := s.ask(Put{Spec: probed(1, true)})
			s.sleep(3 * second)
			s.status(state.AppLaunching, "0/1 launching")
			s.sleep(2 * second)
			s.done(<-answer, Started)
			if by := s.good(release(probed(1, true)), Reloaded).Receipt.Workers[0].ReadyBy; by != "READY_FD and probe" {
				t.Errorf("ready by %q", by)
			}
		})
	}
}

func TestWhatAProbeWasWaitedForInVainIsSaid(t *testing.T) {
	const said = "http://127.0.0.1:3000/health said 503"
	for _, c := range []struct {
		wait bool
		does program
		says string
	}{
		{false, program{proven: -1, answer: said}, "not ready: the probe " + said + " within 10s (listen_timeout)"},
		{false, program{proven: -1}, "the probe http://127.0.0.1:$PORT/health gave no answer within 10s"},
		{true, program{proven: -1, answer: said}, "not ready: the probe " + said + " within 10s"},
		{true, program{proven: -1, answer: said, mute: true}, "it has not said ready, and the probe " + said + " within 10s"},
		{true, program{mute: true}, "not ready: it has not said ready within 10s"},
	} {
		scene(t, func(s *site) {
			s.start(probed(2, c.wait))
			old := s.pids()
			s.run(c.does)
			out := s.do(release(probed(2, c.wait)))
			s.bad(out, c.says)
			if out.Receipt.Result != state.RolledBack || s.pids()[0] != old[0] || s.pids()[1] != old[1] {
				t.Errorf("%s: %v became %v", out.Receipt.Result, old, s.pids())
			}
		})
	}
}

func TestTheAnswerOfAnEarlierProcessOpensNothing(t *testing.T) {
	scene(t, func(s *site) {
		s.run(program{proven: -1, lives: second}, program{proven: -1})
		s.bad(s.do(Put{Spec: probed(1, false)}), "before it was ready")
		s.sleep(second)
		s.loop.Tell(Probed{ID: 101})
		s.status(state.AppLaunching, "0/1 launching")
		s.loop.Tell(Probed{ID: 102})
		s.status(state.AppOnline, "0/1 online")
	})
}

func TestAProbedWorkerIsNotTakenForReadyBecauseItLives(t *testing.T) {
	scene(t, func(s *site) {
		s.run(program{proven: -1})
		spec := probed(1, false)
		spec.Mode = state.Fork
		answer := s.ask(Put{Spec: spec})
		s.loop.Tell(Unseen{App: "web", Note: "no filter here"})
		s.sleep(9 * second)
		s.status(state.AppLaunching, "0/1 launching")
		s.sleep(2 * second)
		s.bad(<-answer, "not ready: the probe")
	})
}

func TestForceTakesAWorkerWhoseProbeFails(t *testing.T) {
	scene(t, func(s *site) {
		spec := probed(1, false)
		spec.Reload.Force = true
		s.run(program{proven: 20 * second})
		if out := s.good(Put{Spec: spec}, Started); out.Err != nil {
			t.Fatal(out.Err)
		}
		s.sleep(15 * second)
		s.status(state.AppOnline, "0/1 online")
	})
}

func TestAWrapperIsSuspectedWhenItsWorkerSaysNothing(t *testing.T) {
	scene(t, func(s *site) {
		s.prepares(func(PrepareOrder) Prepared {
			return Prepared{Launch: state.Launch{Path: "/usr/bin/npm", Wrapper: "npm start"}}
		})
		s.run(program{mute: true})
		s.bad(s.do(Put{Spec: web(1)}), "it has not said ready within 10s", "it runs through npm start, which may have taken its ready channel")
	})
}
