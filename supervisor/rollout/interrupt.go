package rollout

// Died is the reason of a rollout that was interrupted and did not come to its end.
const Died = "the supervisor died during it"

// Interrupt returns what a rollout is after its caller died: one that went forward
// settles from then on. It spawns nothing new; what is starting or soaking is waited
// for; then it completes if every covered slot has a successor that is online and
// soaked, and goes back as after a failure if not. One without a target ends at once,
// having changed nothing. One that rolls back already goes on with that, for the reason
// that it has: no death of the caller's made it fail.
func (r Record) Interrupt() Record {
	switch {
	case r.Result != Running || r.Phase == RollingBack:
		return r
	case r.To == 0:
		r.To, r.Phase, r.Result, r.Reason = r.From, Idle, RolledBack, Died
	}
	r.Interrupted = true
	return r
}

// settle is advance for a rollout that was interrupted.
func (p *planner) settle() {
	moving := p.count(func(s *slot) bool { return s.covered && (coming(s.new) || trial(s)) })
	lacking := p.count(func(s *slot) bool { return s.covered && !s.succeeded() })
	switch {
	case moving == 0 && lacking > 0:
		p.abort(Died)
		return
	case lacking == 0:
		p.replace()
	}
	switch {
	case len(p.orders) > 0:
		p.rec.Phase = Progressing
	case p.complete():
		p.rec.Phase, p.rec.Result = Idle, Complete
	case p.soaking():
		p.rec.Phase = Soaking
	default:
		p.rec.Phase = Progressing
	}
}
