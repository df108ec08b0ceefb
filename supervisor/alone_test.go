package supervisor

import (
	"fmt"
	"slices"
	"testing"

	"supervisor/supervisor/state"
)

// flip is an app whose workers want to know when their predecessor is gone.
func flip(instances int) state.Spec {
	spec := web(instances)
	spec.Protocol = state.ProtocolTableflip
	return spec
}

// alone lists the spawns that were told that they are alone; the fake world checks
// that they are.
func (s *site) alone() (ids []uint64) {
	for id, p := range s.saw().procs {
		if p.alone > 0 {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

func (s *site) areAlone(want ...uint64) {
	s.t.Helper()
	if got := s.alone(); fmt.Sprint(got) != fmt.Sprint(want) {
		s.t.Errorf("told that they are alone: %d, want %d", got, want)
	}
}

func TestAFirstWorkerIsAloneAtOnce(t *testing.T) {
	scene(t, func(s *site) {
		s.run(program{boot: second})
		start := s.ask(Put{Spec: flip(2)})
		s.sleep(10 * ms)
		s.areAlone(101, 102)
		s.done(<-start, Started)
	})
}

func TestASuccessorIsAloneWhenItsPredecessorIsGone(t *testing.T) {
	scene(t, func(s *site) {
		s.run(program{drain: 5 * second}, program{})
		s.start(flip(1))
		reload := s.ask(release(flip(1)))
		s.sleep(4 * second)
		s.status(state.AppReloading, "0/1 stopping", "0/2 online")
		s.areAlone(101)
		s.sleep(2 * second)
		s.areAlone(101, 102)
		s.done(<-reload, Reloaded)
	})
}

func TestWhatACrashedWorkerLeftIsAPredecessorToo(t *testing.T) {
	scene(t, func(s *site) {
		s.run(program{leftFor: 3 * second}, program{})
		s.start(flip(1))
		s.sleep(2 * second)
		s.crash(0, 1, 2)
		s.sleep(second)
		s.status(state.AppOnline, "0/1 online", "0/1 stopping")
		s.areAlone(101)
		s.sleep(3 * second)
		s.areAlone(101, 102)
	})
}

func TestTheOldWorkerIsNotToldAgainAfterAFailedReload(t *testing.T) {
	scene(t, func(s *site) {
		s.run(program{}, program{lives: 50 * ms, boot: second, code: 1})
		s.start(flip(1))
		s.bad(s.do(release(flip(1))), "rolled back")
		s.areAlone(101)
		s.run(program{})
		s.good(RestartApp{"web"}, Restarted)
		if got := s.alone(); len(got) != 2 {
			t.Errorf("told: %d", got)
		}
	})
}

func TestOtherProtocolsDoNotAskForIt(t *testing.T) {
	scene(t, func(s *site) {
		s.start(web(2))
		s.areAlone()
	})
}
