package supervisor

import (
	"context"
	"time"
)

// deaths does something while the supervisor dies again and again, if it is to.
func (s *storm) deaths(during func()) {
	if !s.deadly {
		during()
		return
	}
	stop, over := make(chan struct{}), make(chan struct{})
	go s.fate(stop, over) // ends with stop
	during()
	close(stop)
	<-over
}

// fate lets the supervisor die again and again until stop is closed: before one of its
// next acts, or at an instant, or by an upgrade.
func (s *storm) fate(stop <-chan struct{}, over chan<- struct{}) {
	defer close(over)
	for {
		select {
		case <-stop:
			return
		case <-time.After(time.Duration(s.pick(8000)) * ms):
		}
		<-s.here
		crash, lucky := true, s.pick(3) > 0
		switch s.pick(4) {
		case 0:
			s.die()
		case 1:
			if crash = !s.handOver(); crash {
				s.die()
			}
		default:
			s.dieBefore(s.pick(12))
			select {
			case <-s.over:
			case <-time.After(time.Duration(s.pick(5000)) * ms):
				s.world.mu.Lock()
				s.world.doom = nil
				s.world.mu.Unlock()
				s.die()
			}
		}
		s.gap()
		s.live(crash, s.clock, func() bool { return lucky || !crash })
		s.lives++
		s.here <- s.loop
		s.check()
	}
}

// gap is the time without a supervisor.
func (s *storm) gap() {
	if s.pick(2) == 0 {
		time.Sleep(time.Duration(s.pick(3000)) * ms)
	}
}

// handOver freezes the loop for its successor, if it can be; it may be thawed instead.
func (s *storm) handOver() bool {
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(1+s.pick(5))*second)
	defer cancel()
	if s.pick(2) == 0 && s.loop.Calm(ctx) != nil {
		return false
	}
	data, err := s.loop.Freeze(ctx)
	if err != nil {
		return false
	}
	s.gap()
	if s.pick(2) == 0 {
		s.loop.Thaw()
		return false
	}
	s.world.mu.Lock()
	if differ(data, s.world.record) != "" && s.world.record != nil {
		s.t.Errorf("the final state is not on record: %s", differ(data, s.world.record))
	}
	s.world.record = data
	s.world.mu.Unlock()
	s.die()
	return true
}

// check holds the world against what the loop knows of it, some time after it began.
func (s *storm) check() {
	time.Sleep(20 * ms)
	var known, alive map[uint64]bool
	done := make(chan struct{})
	loop := s.current()
	if !loop.send(askMsg{func() {
		s.world.mu.Lock()
		defer s.world.mu.Unlock()
		defer close(done)
		known, alive = map[uint64]bool{}, map[uint64]bool{}
		for id := range loop.spawns {
			known[id] = true
		}
		for id, p := range s.world.procs {
			if !p.gone && !s.world.dead {
				alive[id] = true
			}
		}
	}}) {
		return
	}
	select {
	case <-done:
	case <-loop.ended:
		return
	}
	for id := range alive {
		if !known[id] {
			s.t.Errorf("%d is alive, and nobody knows it", id)
		}
	}
}
