package supervisor

import (
	"fmt"

	"supervisor/supervisor/state"
	"supervisor/supervisor/worker"
)

// step feeds one event to a worker's machine, carries out what it orders, and
// tells the readers what changed.
func (l *Loop) step(w *member, e worker.Event) {
	e.Jitter = jitter()
	before := w.m
	next, acts := before.Step(e)
	w.m = next
	if before.State.Alive() && (next.Inc != before.Inc || !next.State.Alive()) {
		l.isOver(w) // before a successor takes the place
		w.end = w.end.told()
	}
	for _, act := range acts {
		l.act(w, act)
	}
	l.moved(w, before.State, e)
	if w.retiring != "" && !w.up() {
		w.app.remove(w)
	}
}

func (l *Loop) act(w *member, act worker.Action) {
	if l.pause.holds(w.id) && act.Do != worker.DoArm && act.Do != worker.DoDisarm {
		return // there is no process yet that it could be done to
	}
	switch act.Do {
	case worker.DoSpawn:
		l.spawn(w)
	case worker.DoAdmit:
		l.world.Admit(w.id)
	case worker.DoWithdraw:
		l.world.Withdraw(w.id)
	case worker.DoSignal:
		l.signal(w)
	case worker.DoKill:
		w.killed = true
		l.world.Kill(w.id)
	case worker.DoArm:
		l.arm(w, act.Timer, act.After)
	case worker.DoDisarm:
		w.disarm(act.Timer)
	case worker.DoShed:
		l.shed(w)
	}
}

// spawn starts a new process of the worker under a number of its own.
func (l *Loop) spawn(w *member) {
	l.lastID++
	w.id, w.pid = l.lastID, 0
	w.spawnedAt, w.onlineAt, w.stopAt = l.now(), 0, 0
	w.via, w.heard, w.said = "", nil, ""
	w.gates = gates{}
	w.killed, w.cut, w.notReady, w.unborn, w.alone = false, nil, false, nil, false
	w.before, w.end = w.end, nil
	w.m.Policy.InferAfter = w.infersAfter()
	l.spawns[w.id] = spawn{w, w.m.Inc}
	l.noteSpawn(w)
	w.app.holding = true
	order := w.order()
	if l.pause.freezing != nil {
		l.pause.spawns = append(l.pause.spawns, order)
		return
	}
	l.world.Spawn(order)
}

func (l *Loop) signal(w *member) {
	if w.stopAt == 0 {
		w.stopAt = l.now()
	}
	s := w.gen.spec
	l.world.Stop(StopOrder{
		ID: w.id, Signal: s.KillSignal, Tree: s.TreeKill, Pids: w.listeners(),
		Message: s.ShutdownWithMessage,
	})
}

// shed makes what is left of a crashed worker's group a member of its own, which
// is ended beside the successor and counts for nothing.
func (l *Loop) shed(w *member) {
	l.end(&member{app: w.app, slot: w.slot, gen: w.gen, id: w.id, pid: w.pid, heard: w.heard, spawnedAt: w.spawnedAt}, w.m.Inc)
}

// end takes what is no part of the cluster any more to its end.
func (l *Loop) end(rest *member, inc int) {
	rest.key, rest.remains, rest.retiring, rest.settled = l.key(), true, "crashed", true
	rest.m = worker.Machine{Policy: policy(rest.gen.spec), State: state.Online, Want: state.Up, Inc: inc}
	rest.m.Policy.PreDrain = 0 // it accepts nothing any more
	rest.app.members = append(rest.app.members, rest)
	l.spawns[rest.id] = spawn{rest, inc}
	l.step(rest, worker.Event{Kind: worker.Stop})
}

// moved tells what a step came to, but for ends (isOver).
func (l *Loop) moved(w *member, before state.State, e worker.Event) {
	after := w.m.State
	switch {
	case e.Kind == worker.Spawned && (after == state.Starting || after == state.Online):
		l.tellWorker(w, state.WhatSpawned, "")
	case e.Kind == worker.SoakTimer && after == state.Online:
		l.tellWorker(w, state.WhatSoaked, "")
	case before == after:
	case after == state.Online:
		w.onlineAt, w.settled, w.failure = l.now(), true, nil
		switch e.Kind {
		case worker.ReadyTimer:
			w.via = "timeout"
		case worker.InferTimer:
			w.app.silent = true
		}
		l.noteReady(w)
		l.tellWorker(w, state.WhatReady, w.via)
	case after == state.Stopping && w.m.Cause == worker.NotReady:
		w.notReady = true
		l.tellWorker(w, state.WhatFailed, w.lateness())
	case after == state.Stopping && !w.remains:
		l.tellWorker(w, state.WhatDraining, w.retiring)
	case after == state.Killing:
		l.tellWorker(w, state.WhatKilled, fmt.Sprintf("still alive %s after the stop signal", w.gen.spec.KillTimeout))
	}
}

// isOver is for a process that is no more, whatever the policy makes of it.
func (l *Loop) isOver(w *member) {
	if w.remains { // it was listed, and is no more
		l.tellWorker(w, state.WhatGone, "")
		return
	}
	if w.m.State == state.Stopped {
		l.noteGone(w)
		l.tellWorker(w, state.WhatGone, w.howEnded())
		return
	}
	f := w.explain(l.now())
	if !w.settled || w.m.State == state.Errored || w.m.Failed {
		w.failure = f
	}
	w.settled = true
	l.noteFailed(w, f)
	switch w.m.State {
	case state.Backoff:
		l.tellWorker(w, state.WhatBackoff, f.Reason)
	case state.Errored:
		l.tellWorker(w, state.WhatErrored, fmt.Sprintf("%s; gave up after %d unstable starts", f.Reason, w.m.Unstable))
	default:
		l.tellWorker(w, state.WhatExited, f.Reason)
	}
}
