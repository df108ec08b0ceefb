package supervisor

import (
	"testing"

	"supervisor/supervisor/state"
)

func TestASteeredWorkerIsWithdrawnBeforeItsSignalAndAfterItsSuccessorIsAdmitted(t *testing.T) {
	even := web(2)
	even.Balance, even.PreDrain = state.Even, 100*ms
	scene(t, func(s *site) {
		s.run(program{drain: second})
		s.start(even)
		if n := s.world.admitted("web"); n != 2 {
			t.Errorf("%d workers are admitted after the start", n)
		}
		signals := 0
		s.onStop(func(int) { // the fake sees that the worker itself was withdrawn
			signals++
			if n := s.world.admitted("web"); n < 2 {
				t.Errorf("%d workers are admitted at a stop signal", n)
			}
		})
		out := s.good(release(even), Reloaded)
		s.onStop(nil)
		if n := s.world.admitted("web"); n != 2 || signals != 2 {
			t.Errorf("%d workers are admitted after the reload, %d were stopped", n, signals)
		}
		for _, w := range out.Receipt.Workers {
			if *w.DrainMS != 1001 { // pre_drain is none of the drain
				t.Errorf("slot %d drained for %d ms", w.Slot, *w.DrainMS)
			}
		}
	})
}

func TestASteeredWorkerThatNeverGetsReadyIsNeverAdmitted(t *testing.T) {
	even := web(1)
	even.Balance = state.Even
	scene(t, func(s *site) {
		s.start(even)
		s.run(program{mute: true})
		out := s.do(release(even))
		if out.Err == nil || s.world.admitted("web") != 1 {
			t.Errorf("%+v, %d admitted", out, s.world.admitted("web"))
		}
	})
}
