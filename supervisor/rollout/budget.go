package rollout

// count returns how many slots below Instances answer yes.
func (p *planner) count(is func(*slot) bool) int {
	n := 0
	for _, s := range p.slots {
		if is(s) {
			n++
		}
	}
	return n
}

// room reports whether one more worker may be spawned in s (I2). Without surge
// the slot's last worker must be gone: it may hold the slot's port.
func (p *planner) room(s *slot) bool {
	if p.seats >= p.view.Instances+p.view.MaxSurge {
		return false
	}
	return p.view.MaxSurge > 0 || s.held == 0
}

// mayEmpty reports whether the one online worker of a slot may be told to leave
// with no successor (I1).
func (p *planner) mayEmpty() bool {
	return p.count((*slot).served)-1 >= p.view.Instances-p.view.MaxUnavailable
}

// mayLeaveFirst reports whether the incumbent of s may leave before it has a
// successor, to make room for it (I3). Trials don't count as available here: a
// release that fails in its soak must not have taken the next slot with it.
func (p *planner) mayLeaveFirst(s *slot) bool {
	if s.old == nil || !s.old.Seat || p.view.BlueGreen {
		return false
	}
	// Its seat must come back to it, not to others who wait for one already.
	free := p.view.Instances + p.view.MaxSurge - p.staying
	if free < p.count(func(o *slot) bool { return o.covered && o.needsSeat() }) {
		return false
	}
	if s.old.Online {
		return p.count((*slot).proven)-1 >= p.view.Instances-p.view.MaxUnavailable
	}
	// It serves nobody, so nothing is taken; still not all of them at once.
	return p.count((*slot).onTrial)+1 <= p.view.MaxUnavailable
}
