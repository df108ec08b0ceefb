package rollout

import "slices"

// returns reports whether a failure goes back to From. If not, successors are
// kept while they are healthy, and started again where they aren't.
func (p *planner) returns() bool {
	return p.view.CanRollback && p.rec.Kind != Restart
}

// rollBack brings each covered slot back to what ran, and ends the rollout when
// none has anything left to wait for. It removes before it spawns: the caller may
// lower Instances to what they were as soon as it sees the phase.
func (p *planner) rollBack() {
	settled := len(p.beyond) == 0
	for _, s := range p.covered() {
		settled = p.restore(s) && s.going == 0 && settled
	}
	if len(p.orders) > 0 {
		return
	}
	p.refill((*slot).empty) // these first: who has nothing needs a seat most
	p.refill(p.wantsBack)
	if settled && len(p.orders) == 0 {
		p.rec.Phase, p.rec.Result = Idle, p.outcome()
	}
}

// refill spawns what ran before in the chosen slots, ascending.
func (p *planner) refill(chosen func(*slot) bool) {
	for _, s := range p.covered() {
		if chosen(s) && p.room(s) {
			p.spawnBack(s)
		}
	}
}

// wantsBack reports whether the previous generation is to start beside the
// successor that replaced it.
func (p *planner) wantsBack(s *slot) bool {
	return s.old == nil && s.new != nil && p.returns() &&
		p.view.MaxSurge > 0 && !slices.Contains(p.rec.Kept, s.n)
}

// restore orders what is to leave one slot and reports whether it is as it shall
// stay.
func (p *planner) restore(s *slot) bool {
	switch {
	case s.empty():
		return false
	case s.new == nil:
		return !p.isBack(s) || p.tried(s.old)
	case s.new.Failed:
		p.retireNew(s)
		return false
	case s.old == nil:
		return p.restoreReplaced(s)
	case p.isBack(s):
		return p.restoreBeside(s)
	default:
		return p.restoreUntouched(s)
	}
}

// restoreUntouched removes the successor of an incumbent that was never told to
// leave. Where only the successor serves, the slot isn't emptied (I1): an incumbent
// on its way is waited for, one that gave up makes way.
func (p *planner) restoreUntouched(s *slot) bool {
	switch {
	case s.old.Online || !s.new.Online:
		p.retireNew(s)
	case !s.old.Seat && s.new.Soaked:
		p.keepNew(s, whyReplaced)
	}
	return false
}

// restoreReplaced is a slot whose incumbent is gone or going. With surge, what ran
// starts beside the successor; without, the successor leaves first, or stays if the
// other slots don't allow that. One that stays and crashes is the policy's: nobody
// waits for the end of its crash loop.
func (p *planner) restoreReplaced(s *slot) bool {
	switch {
	case p.wantsBack(s):
		return false
	case !p.returns() || slices.Contains(p.rec.Kept, s.n):
		return s.succeeded() || s.new.Proven
	case !s.new.Online || p.mayEmpty():
		p.retireNew(s)
		return false
	default:
		return s.succeeded()
	}
}

// restoreBeside is a slot where the previous generation starts beside the
// successor: whichever serves stays, the previous one if both do.
func (p *planner) restoreBeside(s *slot) bool {
	switch {
	case s.old.Online:
		p.retireNew(s)
	case !p.tried(s.old):
	case s.new.Online:
		p.keepNew(s, whyRollback)
	default:
		p.retireNew(s)
	}
	return false
}

// keepNew leaves s to its successor, since what ran before doesn't run.
func (p *planner) keepNew(s *slot, why string) {
	p.retireOld(s, why)
	p.rec.Kept = with(p.rec.Kept, s.n)
}

// isBack reports whether the incumbent of s was spawned by this rollback.
func (p *planner) isBack(s *slot) bool { return slices.Contains(p.rec.Back, s.n) }

// tried reports whether a worker spawned to roll back is online or has failed its
// first start. A failed restart doesn't wait for it: it has failed already.
func (p *planner) tried(w *Worker) bool {
	return w.Online || w.Failed || !w.Seat || p.rec.Kind == Restart
}

// outcome is the result of a rollback that has settled.
func (p *planner) outcome() Result {
	if p.rec.Kind == Restart {
		return Failed
	}
	for _, s := range p.covered() {
		if s.new != nil || s.old.Gen == p.rec.To || p.isBack(s) && !s.old.Online {
			return Failed
		}
	}
	return RolledBack
}
