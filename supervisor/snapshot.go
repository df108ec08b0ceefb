package supervisor

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"supervisor/supervisor/state"
)

// snapshot copies what the loop knows.
func (l *Loop) snapshot() state.Snapshot {
	s := state.Snapshot{Daemon: l.info, Apps: []state.App{}}
	s.Daemon.UptimeMS = (l.now() - l.born).Milliseconds()
	for _, a := range l.apps {
		s.Apps = append(s.Apps, a.snapshot(l.now()))
	}
	return s
}

func (a *app) snapshot(now time.Duration) state.App {
	s := state.App{
		Name: a.name, Status: a.status(), Generation: a.cur, Instances: a.count, Restarts: a.restarts,
		Workers: []state.Worker{}, Spec: a.spec, EnvName: a.envName, BaseEnv: a.env, Want: a.want,
		Notes: slices.Clone(a.notes),
	}
	if a.starting != nil {
		s.Spec, s.Instances = a.starting.spec, a.starting.count
	}
	if g := a.current(); g != nil {
		s.Launch = g.launch
	}
	held := map[string]bool{}
	for _, w := range a.members {
		if w.remains && !w.m.State.Alive() {
			continue
		}
		s.Workers = append(s.Workers, w.snapshot(now))
		s.Restarts += w.m.Restarts
		for _, addr := range w.listens() {
			held[addr] = held[addr] || w.m.State.Alive()
		}
	}
	s.Listeners = slices.Sorted(maps.Keys(held))
	slices.SortStableFunc(s.Workers, func(x, y state.Worker) int {
		return cmp.Or(cmp.Compare(x.Slot, y.Slot), cmp.Compare(x.Generation, y.Generation))
	})
	return s
}

func (w *member) snapshot(now time.Duration) state.Worker {
	s := state.Worker{
		Slot: w.slot, Generation: w.gen.n, State: w.m.State.Shown(), Ready: w.m.State == state.Online,
		Restarts: w.m.Restarts, Listeners: []string{}, ID: w.id, Inc: w.m.Inc, Exact: w.m.State,
		Said: w.said,
	}
	if w.m.State == state.Exited {
		s.ExitCode = w.exitCode()
	}
	if w.m.State.Alive() {
		s.PID = w.pid
		up := now - w.spawnedAt
		s.UptimeMS, s.StartedAt = new(up.Milliseconds()), time.Now().Add(-up)
		s.Listeners = append(s.Listeners, w.listens()...)
	}
	for _, e := range []*end{w.end, w.before} {
		if e != nil && s.LastExit == "" {
			s.LastExit = e.How
		}
	}
	return s
}

// exitCode is what a shell would make of a worker's end. A start that failed is a failure
// however the process then ended, and so is an end that nobody saw.
func (w *member) exitCode() int {
	switch e := w.end; {
	case e == nil || e.Code == UnknownCode:
		return state.ExitFailed
	case e.Signal != 0:
		return 128 + e.Signal
	case e.Code == 0 && (w.notReady || w.unborn != nil):
		return state.ExitFailed
	default:
		return e.Code
	}
}
