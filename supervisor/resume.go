package supervisor

import (
	"errors"
	"maps"
	"slices"
	"time"

	"supervisor/supervisor/rollout"
	"supervisor/supervisor/state"
	"supervisor/supervisor/worker"
)

// hearing is how long a timer that trusts a process (it has soaked, it is not ready)
// waits at least after a restart: what happened while nobody listened is told first, which
// takes two seconds for one whose channels others hold open.
const hearing = 3 * time.Second

// resume is the first that a restored loop does: what the record says is compared with
// what was found, and what may not have been done before is ordered again.
func (l *Loop) resume(r restored) {
	for _, u := range l.unkept {
		l.world.Keep(*u.receipt)
	}
	l.claim(r)
	l.hearFirst()
	l.rearm()
	for _, a := range slices.Clone(l.apps) {
		for range len(a.asked) {
			l.world.Drops(a.name)
		}
		if a.roll != nil && r.Crash {
			a.roll.rec = a.roll.rec.Interrupt()
		}
		for _, w := range slices.Clone(a.members) {
			l.reconcile(w, r)
		}
		if a.roll != nil && !a.roll.over && a.roll.rec.Result != rollout.Running {
			l.rollOver(a) // it had no target yet
		}
		l.orderAgain(a)
	}
	l.settleAll()
}

// hearFirst puts the timers off that are to wait for what is told first.
func (l *Loop) hearFirst() {
	soonest := l.now() + hearing
	for _, a := range l.apps {
		for _, w := range a.members {
			for _, k := range []worker.Kind{worker.ReadyTimer, worker.InferTimer, worker.SoakTimer, worker.UptimeTimer} {
				if due := &w.timers[k].due; *due != 0 {
					*due = max(*due, soonest)
				}
			}
		}
	}
}

// claim gives each spawn that was found to its member. One that no member has is what
// is left of one that is forgotten, or a worker whose record was lost: it is ended.
func (l *Loop) claim(r restored) {
	for _, a := range l.apps {
		for _, w := range a.members {
			if _, found := r.found[w.id]; found || w.m.State.Alive() && (w.pid != 0 || r.Begun[w.id]) {
				l.spawns[w.id] = spawn{w, w.m.Inc}
			}
		}
	}
	for _, id := range slices.Sorted(maps.Keys(r.found)) {
		if _, ok := l.spawns[id]; !ok {
			l.orphan(id, r.found[id])
		}
	}
}

// orphan takes a spawn that the record doesn't know.
func (l *Loop) orphan(id uint64, f Found) {
	a := l.find(f.App)
	if a == nil || a.current() == nil {
		nobody := &member{app: &app{name: f.App, deleted: true}, slot: f.Slot, gen: &generation{}, pid: f.PID}
		l.spawns[id] = spawn{w: nobody}
		l.world.Kill(id)
		return
	}
	l.end(&member{app: a, slot: f.Slot, gen: a.current(), id: id, pid: f.PID, spawnedAt: l.now()}, 0)
}

// reconcile tells a member what has become of its process.
func (l *Loop) reconcile(w *member, r restored) {
	if !w.m.State.Alive() {
		return
	}
	f, found := r.found[w.id]
	switch {
	case found && w.pid == 0 && f.PID != 0:
		l.learn(Spawned{ID: w.id, PID: f.PID})
	case found:
	case w.pid == 0 && !r.Begun[w.id]:
		l.unspawned(w)
	default: // it has ended and nobody knows how
		id := w.id
		if w.end == nil {
			l.learn(Ended{ID: id, Code: UnknownCode, How: "unknown exit status"})
		}
		l.learn(Gone{ID: id})
	}
}

var errUnspawned = errors.New("it was to be stopped before it was started")

// unspawned is for a process that was ordered and never began. It is ordered again,
// which is no crash, unless it is to go, or was a step forward of a rollout that is
// interrupted.
func (l *Loop) unspawned(w *member) {
	a := w.app
	delete(l.spawns, w.id)
	switch {
	case w.m.State != state.Starting:
		w.unborn = &failure{Stage: "spawn", Reason: errUnspawned.Error()}
		l.step(w, worker.Event{Kind: worker.SpawnFailed, Inc: w.m.Inc})
	case w.fresh && a.roll != nil && a.roll.rec.Interrupted && !a.roll.over && a.roll.rec.Phase != rollout.RollingBack:
		a.remove(w)
	default:
		w.end = w.before // spawn makes it that again
		if a.roll != nil && w.gen.spec.Mode == state.Fork {
			l.retain(a)
		}
		l.spawn(w)
		l.arm(w, worker.ReadyTimer, worker.SpawnTimeout+w.m.Policy.ListenTimeout)
	}
}

// orderAgain asks for all that may have been asked for without being done.
func (l *Loop) orderAgain(a *app) {
	if a.roll != nil && a.roll.target == nil && !a.roll.over {
		l.prepareRoll(a)
	}
	if !a.holding {
		l.world.Release(a.name)
	}
	a.untidy = a.untidy || a.holding
	for _, w := range a.members {
		if !w.m.State.Alive() || w.pid == 0 {
			continue
		}
		if w.m.Policy.Steered && w.m.State == state.Online {
			l.world.Admit(w.id)
		} else if w.m.Policy.Steered && w.m.State.Going() {
			l.world.Withdraw(w.id)
		}
		switch w.m.State {
		case state.Stopping:
			l.signal(w)
		case state.Killing:
			l.world.Kill(w.id)
		}
		if w.alone {
			l.world.Alone(w.id)
		}
	}
}
