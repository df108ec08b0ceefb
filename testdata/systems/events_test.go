package systems

import (
	"context"
	"sync"
	"time"

	"supervisor/supervisor/state"
)

// life is when a process was spawned and when it was gone, as the supervisor says.
type life struct{ spawned, gone time.Time }

// lives collects the lives of all workers from now on; the returned function ends that
// and gives them by pid. The daemon has to run.
func (s *system) lives() func() map[int]life {
	s.t.Helper()
	ctx, cancel := context.WithCancel(s.t.Context())
	s.t.Cleanup(cancel)
	events := s.Events(ctx)
	all := make(map[int]life)
	var done sync.WaitGroup
	done.Go(func() { // ended by cancel
		for {
			e, ok := events.Next()
			if !ok {
				return
			}
			if e.Lost > 0 {
				s.t.Errorf("%d events lost", e.Lost)
			}
			if e.Kind != state.EventWorker {
				continue
			}
			l := all[e.PID]
			switch e.What {
			case state.WhatSpawned:
				l.spawned = e.Time
			case state.WhatGone, state.WhatExited, state.WhatFailed:
				l.gone = e.Time
			}
			all[e.PID] = l
		}
	})
	return func() map[int]life {
		cancel()
		done.Wait()
		return all
	}
}
