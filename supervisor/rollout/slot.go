package rollout

// slot is what runs in one slot below Instances. It has at most one worker that
// stays of each sort: the incumbent and its successor.
type slot struct {
	n       int
	covered bool
	old     *Worker   // the incumbent: of From, or spawned to roll back; nil: gone or leaving
	extra   []*Worker // further old ones, left by a superseded rollout
	new     *Worker   // the successor
	going   int       // told to leave, not gone yet
	held    int       // seats, also of those who leave
}

func (s *slot) add(w *Worker) {
	if w.Seat {
		s.held++
	}
	switch {
	case w.Going:
		s.going++
	case w.New && s.new == nil:
		s.new = w
	case !w.New && s.old == nil:
		s.old = w
	case !w.New && better(w, s.old):
		s.extra = append(s.extra, s.old)
		s.old = w
	default: // also a second successor, which no order of ours makes
		s.extra = append(s.extra, w)
	}
}

// better reports whether a, rather than b, is the old worker to be kept: what
// serves, else what may come back, else the older generation.
func better(a, b *Worker) bool {
	if a.Online != b.Online {
		return a.Online
	}
	if a.Seat != b.Seat {
		return a.Seat
	}
	return a.Gen < b.Gen
}

// served reports whether the slot has an online worker that isn't told to leave.
func (s *slot) served() bool {
	return s.old != nil && s.old.Online || s.new != nil && s.new.Online
}

// proven reports whether the slot is served by a worker that is no trial.
func (s *slot) proven() bool {
	return s.old != nil && s.old.Online || s.succeeded()
}

// succeeded reports whether the successor is online and soaked (I3).
func (s *slot) succeeded() bool {
	return s.new != nil && s.new.Online && s.new.Soaked
}

// empty reports whether nobody is in the slot, leavers aside.
func (s *slot) empty() bool { return s.old == nil && s.new == nil }

// needsSeat reports whether the slot has nobody who runs, or will run again.
func (s *slot) needsSeat() bool {
	return s.new == nil && (s.old == nil || !s.old.Seat)
}

// onTrial reports whether the slot depends on a successor that isn't proven yet.
func (s *slot) onTrial() bool { return s.old == nil && !s.succeeded() }
