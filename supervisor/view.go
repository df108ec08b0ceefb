package supervisor

import (
	"slices"

	"supervisor/supervisor/rollout"
	"supervisor/supervisor/state"
)

// view is what the planner sees of an app.
func (a *app) view() rollout.View {
	r, spec := a.roll, a.roll.target.spec
	v := rollout.View{Record: r.rec, Instances: r.instances, CanRollback: a.canRollback()}
	if r.rec.Phase == rollout.RollingBack {
		v.Instances = a.count
	}
	v.MaxSurge, v.MaxUnavailable = spec.Reload.MaxSurge.Of(v.Instances), spec.Reload.MaxUnavailable.Of(v.Instances)
	v.BlueGreen = spec.Reload.BlueGreen
	switch {
	case r.rec.Kind == rollout.Restart || spec.Mode == state.Fork || a.runsFork():
		v.MaxSurge, v.MaxUnavailable, v.BlueGreen = 0, 1, false
	case v.BlueGreen:
		v.MaxSurge = v.Instances
	}
	v.MaxUnavailable += a.forsaken(v)
	for _, w := range a.members {
		if !w.remains {
			v.Workers = append(v.Workers, w.seen())
		}
	}
	return v
}

// forsaken counts the slots that are down and that nobody will fill: they are to be
// scaled down with the rollout, and must not use up what may be unavailable.
func (a *app) forsaken(v rollout.View) int {
	n := 0
	for slot := range v.Instances {
		covered := v.Record.Slots == nil || slices.Contains(v.Record.Slots, slot)
		if !covered && !slices.ContainsFunc(a.in(slot), (*member).up) {
			n++
		}
	}
	return n
}

// runsFork: what runs holds its sockets itself, so no successor starts beside it.
func (a *app) runsFork() bool {
	return slices.ContainsFunc(a.members, func(w *member) bool {
		return w.gen.spec.Mode == state.Fork && w.m.State.Alive()
	})
}

func (w *member) seen() rollout.Worker {
	s := w.m.State
	going := w.retiring != "" || s.Going() && w.m.Want == state.Down
	v := rollout.Worker{
		Key: w.key, Slot: w.slot, Gen: w.gen.n, New: w.fresh,
		Online: s == state.Online && !going,
		Soaked: s == state.Online && w.m.Soaked,
		Proven: w.fresh && !w.m.Trial,
		Going:  going,
		Seat:   w.up(),
		Failed: w.m.Failed || s == state.Errored,
	}
	if w.fresh {
		v.Failed = v.Failed || s == state.Exited
	} else if w.back {
		v.Failed = v.Failed || w.settled && s != state.Online
	}
	if w.failure != nil {
		v.Reason = w.failure.Reason
	}
	return v
}

// canRollback: spawning the generation in force again brings back what ran, where it
// has real paths of its own or another spec than the new one.
func (a *app) canRollback() bool {
	g := a.gens[a.roll.rec.From]
	if g == nil {
		return false
	}
	t := a.roll.target
	return len(state.Diff(g.spec, t.spec)) > 0 || g.launch.Path != t.launch.Path ||
		g.launch.Script != t.launch.Script || g.launch.Dir != t.launch.Dir || g.launch.Built != t.launch.Built ||
		!slices.Equal(g.launch.Argv, t.launch.Argv) // of another package.json
}
