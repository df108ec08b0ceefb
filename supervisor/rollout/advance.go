package rollout

import "fmt"

// advance is a rollout that goes forward: successors are spawned where there is
// room, and incumbents leave as theirs have proved themselves.
func (p *planner) advance() {
	p.replace()
	// Slots that run nothing come first: they give capacity and take none.
	p.fill((*slot).needsSeat)
	p.fill(func(s *slot) bool { return !s.needsSeat() })
	switch {
	case len(p.orders) > 0:
		p.rec.Phase = Progressing
	case p.complete():
		p.rec.Phase, p.rec.Result = Idle, Complete
	case !p.pending():
		p.abort(p.blocked())
	case p.soaking():
		p.rec.Phase = Soaking
	default:
		p.rec.Phase = Progressing
	}
}

// replace tells the incumbents of proven successors to leave; blue-green: all of
// them at once, when all successors are.
func (p *planner) replace() {
	if p.view.BlueGreen {
		for _, s := range p.covered() {
			if !s.succeeded() {
				return
			}
		}
	}
	for _, s := range p.covered() {
		if s.old != nil && s.succeeded() {
			p.retireOld(s, whyReplaced)
		}
	}
}

// fill gives the chosen slots their successors, ascending, or makes room.
func (p *planner) fill(chosen func(*slot) bool) {
	for _, s := range p.covered() {
		switch {
		case s.new != nil || !chosen(s):
		case p.room(s):
			p.spawnNew(s)
		case p.mayLeaveFirst(s):
			p.retireOld(s, whyReplaced)
		}
	}
}

// complete reports whether every covered slot runs its successor and nothing else.
func (p *planner) complete() bool {
	for _, s := range p.covered() {
		if !s.succeeded() || s.old != nil || s.going > 0 {
			return false
		}
	}
	return len(p.beyond) == 0
}

// pending reports whether any worker is on its way to another state by itself, so
// that there is a fact to wait for.
func (p *planner) pending() bool {
	if len(p.beyond) > 0 {
		return true
	}
	return p.count(func(s *slot) bool {
		return s.going > 0 || coming(s.old) || coming(s.new) || trial(s)
	}) > 0
}

// coming reports whether w is starting, or waits for its restart.
func coming(w *Worker) bool { return w != nil && w.Seat && !w.Online && !w.Going }

// trial reports whether the successor of s is online and not soaked.
func trial(s *slot) bool { return s.new != nil && s.new.Online && !s.new.Soaked }

// soaking reports whether there is nothing to wait for but trials.
func (p *planner) soaking() bool {
	busy := p.count(func(s *slot) bool { return s.going > 0 || coming(s.new) })
	return len(p.beyond) == 0 && busy == 0 && p.count(trial) > 0
}

// blocked says why nothing can move and nothing will: slots that the rollout
// doesn't cover are down, so that none of its own may be emptied.
func (p *planner) blocked() string {
	for _, s := range p.covered() {
		if s.new == nil {
			return fmt.Sprintf("slot %d: cannot stop its worker: %d of %d slots are online, and no more than %d may be unavailable",
				s.n, p.count((*slot).served), p.view.Instances, p.view.MaxUnavailable)
		}
	}
	return "cannot replace anything"
}
