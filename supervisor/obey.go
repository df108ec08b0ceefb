package supervisor

import (
	"fmt"
	"slices"

	"supervisor/supervisor/state"
	"supervisor/supervisor/worker"
)

// obey begins one command; the reply comes when it is over. It returns the app.
func (l *Loop) obey(cmd Command, reply waiter) *app {
	if l.closing && starts(cmd) {
		reply.tell(Outcome{Err: ErrEnded})
		return nil
	}
	a := l.find(cmd.app())
	if put, ok := cmd.(Put); ok {
		return l.put(a, put, reply)
	}
	if a == nil {
		reply.tell(Outcome{Err: fmt.Errorf("cannot find %q: %w", cmd.app(), errUnknown)})
		return nil
	}
	switch cmd := cmd.(type) {
	case StartApp:
		l.startApp(a, reply)
	case ReloadApp:
		to := a.aim()
		if cmd.Env != nil {
			to.env = cmd.Env
		}
		l.reload(a, to.spec, to.env, reply)
	case RestartApp:
		l.restart(a, reply)
	case StopApp:
		l.stop(a, WasStopped)
		a.wait(opStop, WasStopped, reply)
	case DeleteApp:
		l.stop(a, Deleted)
		a.deleting = true
		a.wait(opStop, Deleted, reply)
	case ScaleApp:
		l.scale(a, cmd.To, reply)
	case SignalApp:
		l.key() // it changes nothing, and is not to be sent twice: that it was begun is on record before
		for _, w := range a.members {
			if w.pid > 0 && w.m.State.Alive() && !w.remains {
				l.world.Signal(w.id, cmd.Signal)
			}
		}
		reply.tell(Outcome{Action: Signalled})
	case Await:
		o := a.wait(opAwait, Settled, reply)
		o.since, o.from = a.scaledSince(), cmd.From
	case ResetApp:
		a.restarts = 0
		for _, w := range a.members {
			w.m.Restarts, w.m.Unstable = 0, 0
		}
		reply.tell(Outcome{Action: WasReset})
	}
	return a
}

// starts reports whether a command may start a process.
func starts(cmd Command) bool {
	switch cmd.(type) {
	case Put, StartApp, ReloadApp, RestartApp, ScaleApp:
		return true
	}
	return false
}

// put makes an app what its spec says.
func (l *Loop) put(a *app, p Put, reply waiter) *app {
	if a == nil {
		return l.register(p, reply)
	}
	to := a.aim()
	if p.Env == nil {
		p.Env = to.env
	}
	a.envName = p.EnvName
	if a.deleting { // a new app by an old name, as soon as that is gone
		a.deleting, a.tried, a.spec, a.count = false, p.Spec.AutoStart, p.Spec, p.Spec.Instances
		p.Replace = false
		a.supersede("put again", opStop)
	}
	if a.want == state.Down {
		if p.Replace || !p.Spec.AutoStart {
			a.take(p.Spec, p.Env)
			reply.tell(Outcome{Action: WasStopped})
			return a
		}
		l.begin(a, p.Spec, p.Env, reply)
		return a
	}
	if !p.Replace && !a.busy() && !a.alive() {
		l.begin(a, p.Spec, p.Env, reply)
		return a
	}
	changed := slices.DeleteFunc(state.Diff(to.spec, p.Spec), func(key string) bool { return key == "depends_on" })
	if !p.Replace && len(changed) == 0 { // the order of apps is no worker's business
		a.dependsOn(p.Spec.DependsOn)
	}
	switch {
	case p.Replace || !slices.Equal(to.env, p.Env):
		l.reload(a, p.Spec, p.Env, reply)
	case len(changed) == 0 && a.forward():
		a.wait(opRoll, Reloaded, reply)
	case len(changed) == 0 && a.starting != nil:
		a.wait(opStart, Started, reply)
	case len(changed) == 0:
		a.spec.File, a.spec.Place = p.Spec.File, p.Spec.Place
		l.startApp(a, reply)
	case len(changed) == 1 && changed[0] == "instances" && !a.busy():
		a.spec.Instances = p.Spec.Instances
		a.current().spec.Instances = p.Spec.Instances
		l.scale(a, p.Spec.Instances, reply)
	default:
		l.reload(a, p.Spec, p.Env, reply)
	}
	return a
}

// dependsOn changes what an app depends on, in all that it is on its way to.
func (a *app) dependsOn(apps []string) {
	a.spec.DependsOn = apps
	for _, g := range a.gens {
		g.spec.DependsOn = apps
	}
	if a.roll != nil {
		a.roll.spec.DependsOn = apps
	}
	if a.starting != nil {
		a.starting.spec.DependsOn = apps
	}
}

// busy reports whether a start or a rollout is under way.
func (a *app) busy() bool { return a.starting != nil || a.roll != nil }

// aim is what an app is on its way to: by a start or a reload that isn't done yet,
// unless that has failed already.
type aim struct {
	spec  state.Spec
	env   []string
	count int
}

func (a *app) aim() aim {
	switch {
	case a.forward():
		return aim{a.roll.spec, a.roll.env, a.roll.wanted}
	case a.starting != nil:
		return aim{a.starting.spec, a.starting.env, a.starting.count}
	}
	return aim{a.spec, a.env, a.count}
}

// take makes a spec the app's own, without running it.
func (a *app) take(spec state.Spec, env []string) {
	a.count = recount(a.spec, a.count, spec)
	a.spec, a.env = spec, env
}

func (l *Loop) register(p Put, reply waiter) *app {
	a := &app{name: p.Spec.Name, spec: p.Spec, env: p.Env, envName: p.EnvName,
		count: p.Spec.Instances, gens: map[int]*generation{}, tried: p.Spec.AutoStart}
	l.apps = append(l.apps, a)
	l.publish(state.Event{Kind: state.EventApp, App: a.name, Text: "added"})
	if !p.Spec.AutoStart {
		reply.tell(Outcome{Action: Registered})
		return a
	}
	l.begin(a, p.Spec, p.Env, reply)
	return a
}

// begin starts an app from nothing, once whatever is left of it is gone.
func (l *Loop) begin(a *app, spec state.Spec, env []string, reply waiter) {
	a.supersede("started again", opStop)
	a.want, a.deleting = state.Up, false
	a.starting = &starting{spec: spec, env: env, count: recount(a.spec, a.count, spec)}
	a.wait(opStart, Started, reply)
}

// recount is the number of workers after a change of spec: a scaled one stays until
// the file's instances change.
func recount(was state.Spec, count int, spec state.Spec) int {
	if spec.Instances != was.Instances {
		return spec.Instances
	}
	return count
}

// prepareStart begins with no socket of what ran before, or of a start that this
// one took the place of.
func (l *Loop) prepareStart(a *app) {
	if a.holding {
		l.world.Release(a.name)
	}
	a.starting.token = l.key()
	a.holding, a.untidy = true, false
	l.world.Prepare(PrepareOrder{App: a.name, Gen: a.last + 1, Token: a.starting.token,
		Spec: a.starting.spec, Env: a.starting.env})
}

func (l *Loop) startPrepared(a *app, f Prepared) {
	s := a.starting
	a.starting = nil
	if f.Err != nil {
		a.answer(func(o *op) bool { return o.kind != opRoll && o.kind != opStop }, func(*op) Outcome {
			return Outcome{Err: fmt.Errorf("cannot start %s: %w", a.name, unprepared(f)), Details: f.Lines}
		})
		a.want, a.deleting = state.Down, a.tried // as if a new app had not been asked for
		return
	}
	a.take(s.spec, s.env)
	a.count, a.tried = s.count, false
	for _, w := range slices.Clone(a.members) {
		a.remove(w)
	}
	a.restarts = 0
	g := a.adopt(s.spec, f)
	a.cur = g.n
	a.prune()
	for slot := range a.count {
		l.step(l.add(a, g, slot), worker.Event{Kind: worker.Start})
	}
}

// startApp starts what is down; what runs is left alone.
func (l *Loop) startApp(a *app, reply waiter) {
	switch {
	case a.starting != nil:
		a.wait(opStart, Started, reply)
		return
	case a.want == state.Down || !a.busy() && !a.alive():
		l.begin(a, a.spec, a.env, reply)
		return
	}
	action := Unchanged
	for _, w := range a.members {
		if w.retiring == "" && !w.remains && !w.m.Trial && (w.m.State == state.Exited || w.m.State == state.Errored) {
			w.settled, w.failure, action = false, nil, Started
			w.m.Restarts = 0
			l.step(w, worker.Event{Kind: worker.Start})
		}
	}
	a.wait(opStart, action, reply)
}

// stop takes an app down; whatever else was asked of it is void.
func (l *Loop) stop(a *app, by string) {
	a.want, a.starting, a.tried = state.Down, nil, false
	a.supersede(by, opStart, opScale)
	if a.roll != nil {
		l.abandon(a, by)
	}
	for _, w := range slices.Clone(a.members) {
		l.step(w, worker.Event{Kind: worker.Stop})
	}
	if by == WasStopped {
		l.publish(state.Event{Kind: state.EventApp, App: a.name, Text: by})
	}
}

// scale sets the number of workers; a rollout under way goes on with it.
func (l *Loop) scale(a *app, to int, reply waiter) {
	action := Scaled
	if a.aim().count == to {
		action = Unchanged
	} else {
		a.supersede("scaled again", opScale)
		l.publish(state.Event{Kind: state.EventApp, App: a.name, Text: Scaled})
	}
	a.count = to
	since := l.key()
	switch {
	case a.roll != nil && !a.roll.over:
		a.roll.scaled(to)
	case a.starting != nil:
		a.starting.count = to
	case a.want == state.Down:
		reply.tell(Outcome{Action: action})
		return
	default:
		l.fill(a)
	}
	a.wait(opScale, action, reply).since = since
}

// scaledSince is since when workers have come by a scale whose end is outstanding, 0
// where none is.
func (a *app) scaledSince() uint64 {
	for _, o := range a.ops {
		if o.kind == opScale {
			return o.since
		}
	}
	return 0
}

// fill makes the slots of an app match its count outside a rollout.
func (l *Loop) fill(a *app) {
	for _, w := range slices.Clone(a.members) {
		if w.slot >= a.count && w.retiring == "" {
			l.retire(w, "scale")
		}
	}
	for slot := range a.count {
		if !slices.ContainsFunc(a.in(slot), func(w *member) bool { return w.retiring == "" }) {
			l.step(l.add(a, a.current(), slot), worker.Event{Kind: worker.Start})
		}
	}
}

// retire tells one worker to leave and to be forgotten when it is gone.
func (l *Loop) retire(w *member, why string) {
	w.retiring, w.by = why, w.app.roll
	l.step(w, worker.Event{Kind: worker.Stop})
}
