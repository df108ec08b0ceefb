package supervisor

import "supervisor/supervisor/state"

// Recorded is a spawn that the record of a restored loop knows of.
type Recorded struct {
	Order  SpawnOrder
	PID    int  // 0: that its program runs was not heard yet
	Ready  bool // its ready message has been heard, or nobody waits for it
	Proven bool // so has the good answer to its probe
}

// Recorded returns the spawns that a restored loop has on record, for whoever goes on
// with them. It is called before Run.
func (l *Loop) Recorded() []Recorded {
	var all []Recorded
	for _, a := range l.apps {
		for _, w := range a.members {
			if w.id == 0 {
				continue
			}
			over := w.m.State != state.Starting
			all = append(all, Recorded{
				Order: w.order(), PID: w.pid,
				Ready: over || w.gates.Said != "", Proven: over || w.gates.Probed,
			})
		}
	}
	return all
}

// SpecOf returns what a restored loop has on record of a generation of an app, or of the
// app as it is now where that is forgotten; false where there is no such app. It is called
// before Run.
func (l *Loop) SpecOf(app string, gen int) (state.Spec, bool) {
	a := l.find(app)
	switch {
	case a == nil:
		return state.Spec{}, false
	case a.gens[gen] != nil:
		return a.gens[gen].spec, true
	}
	return a.spec, true
}
