package supervisor

import (
	"fmt"
	"slices"
	"time"

	"supervisor/supervisor/state"
	"supervisor/supervisor/worker"
)

// learn takes one fact and returns the app it was about, nil when it is about
// nothing that is still known.
func (l *Loop) learn(f Fact) *app {
	switch f := f.(type) {
	case Prepared:
		return l.prepared(f)
	case Dropped:
		return l.dropped(f)
	case Kept:
		l.learnKept(f)
	case Unseen:
		return l.learnUnseen(f)
	case Noted:
		return l.learnNote(f)
	case Spawned:
		return l.process(f.ID, func(w *member, inc int) {
			w.pid = f.PID
			l.noteSpawned(w)
			l.step(w, worker.Event{Kind: worker.Spawned, Inc: inc})
		})
	case SpawnFailed:
		return l.learnUnborn(f)
	case BecameReady:
		return l.process(f.ID, func(w *member, inc int) { l.learnReady(w, inc, f) })
	case Probed:
		return l.process(f.ID, func(w *member, inc int) { l.learnProbed(w, inc, f) })
	case Listening:
		return l.process(f.ID, func(w *member, inc int) { l.learnListening(w, inc, f) })
	case Said:
		return l.process(f.ID, func(w *member, _ int) { w.said = f.Text })
	case Extended:
		return l.process(f.ID, func(w *member, _ int) { l.extend(w, f.By) })
	case Messaged:
		l.process(f.ID, func(w *member, _ int) {
			ev := workerEvent(w)
			ev.Kind, ev.Data = state.EventMessage, f.Data
			l.publish(ev)
		})
		return nil // there may be thousands in a second, and none of them changes the app
	case Ended:
		return l.process(f.ID, func(w *member, inc int) {
			w.end = &end{f.Code, f.Signal, f.SignalName, f.How, f.LastLines}
			l.step(w, worker.Event{Kind: worker.Ended, Inc: inc, Code: f.Code, Signal: f.Signal, Left: f.Left})
		})
	case Cut:
		return l.process(f.ID, func(w *member, _ int) { w.cut = &f.Open })
	case Gone:
		a := l.process(f.ID, func(w *member, inc int) { l.step(w, worker.Event{Kind: worker.Gone, Inc: inc}) })
		l.forget(f.ID)
		return a
	}
	return nil
}

// process runs do for the member whose spawn it is; nothing, when the member has
// another process by now: the machine drops facts of another incarnation, and so
// must whatever the loop notes beside it.
func (l *Loop) process(id uint64, do func(w *member, inc int)) *app {
	s, ok := l.spawns[id]
	if !ok {
		return nil
	}
	if s.w.id == id {
		do(s.w, s.inc)
	}
	return s.w.app
}

func (l *Loop) forget(id uint64) {
	if _, ok := l.spawns[id]; ok {
		delete(l.spawns, id)
		l.world.Forget(id)
	}
}

// tellAlone tells the workers of which nobody else of the slot lives, not even what a
// crashed one left.
func (l *Loop) tellAlone(a *app) {
	for _, w := range a.members {
		if w.gen.spec.Protocol != state.ProtocolTableflip || w.alone || w.remains || !w.m.State.Alive() {
			continue
		}
		w.alone = !slices.ContainsFunc(a.members, func(x *member) bool {
			return x != w && x.slot == w.slot && x.m.State.Alive()
		})
		if w.alone {
			l.world.Alone(w.id)
		}
	}
}

// ready opens the gate of a worker that waits for it.
func (l *Loop) ready(w *member, inc int, via string, inferred bool) {
	if w.m.State == state.Starting {
		w.via = via
	}
	l.step(w, worker.Event{Kind: worker.Ready, Inc: inc, Inferred: inferred})
}

func (l *Loop) learnListening(w *member, inc int, f Listening) {
	w.hear(f.PID, f.Addr)
	serves := w.serves(f.Addr) // before the address counts as served by its own generation
	w.gen.serve(w.slot, f.Addr)
	if !w.gen.spec.WaitReady && w.gen.spec.Ready == nil && serves {
		l.ready(w, inc, "listening", true)
	}
}

func (l *Loop) learnUnborn(f SpawnFailed) *app {
	a := l.process(f.ID, func(w *member, inc int) {
		w.unborn = &failure{Stage: f.Stage, Reason: f.Err.Error()}
		l.step(w, worker.Event{Kind: worker.SpawnFailed, Inc: inc})
	})
	l.forget(f.ID)
	return a
}

// learnUnseen: from now on living for min_uptime stands for readiness, also for the
// workers that are being waited for.
func (l *Loop) learnUnseen(f Unseen) *app {
	a := l.find(f.App)
	if a == nil {
		return nil
	}
	a.unseen = true
	a.note(f.Note)
	for _, w := range a.members {
		if w.m.State == state.Starting && w.infersAfter() > 0 {
			l.arm(w, worker.InferTimer, w.infersAfter())
		}
	}
	l.publish(state.Event{Kind: state.EventNote, App: a.name, Text: f.Note})
	return a
}

func (l *Loop) learnNote(f Noted) *app {
	if s, ok := l.spawns[f.ID]; ok {
		ev := workerEvent(s.w)
		ev.Kind, ev.Text = state.EventNote, f.Text
		l.publish(ev)
		s.w.app.note(f.Text)
		return s.w.app
	}
	l.publish(state.Event{Kind: state.EventNote, App: f.App, Text: f.Text})
	if a := l.find(f.App); a != nil {
		a.note(f.Text)
		return a
	}
	return nil
}

// maxNotes bounds what describe shows of an app's notes.
const maxNotes = 20

func (a *app) note(text string) {
	for _, n := range a.notes {
		if n == text {
			return
		}
	}
	if len(a.notes) == maxNotes {
		a.notes = a.notes[1:]
	}
	a.notes = append(a.notes, text)
}

// extend gives a starting worker at least by more, as EXTEND_TIMEOUT_USEC= asks.
func (l *Loop) extend(w *member, by time.Duration) {
	t := w.timers[worker.ReadyTimer]
	if w.m.State == state.Starting && t.due != 0 && l.now()+by > t.due {
		l.arm(w, worker.ReadyTimer, by)
	}
}

// prepared goes to whoever asked for the generation; nobody does when it was
// superseded meanwhile.
func (l *Loop) prepared(f Prepared) *app {
	a := l.find(f.App)
	if a == nil {
		return nil
	}
	switch {
	case a.starting != nil && a.starting.token == f.Token:
		l.startPrepared(a, f)
	case a.roll != nil && a.roll.token == f.Token:
		l.rollPrepared(a, f)
	}
	return a
}

// adopt gives a prepared generation its number.
func (a *app) adopt(spec state.Spec, f Prepared) *generation {
	a.last++
	g := &generation{n: a.last, spec: spec, launch: f.Launch, served: map[int]map[string]bool{}}
	a.gens[g.n] = g
	return g
}

// unprepared is a generation that can't be had, as an error.
func unprepared(f Prepared) error { return fmt.Errorf("cannot %s: %w", f.Stage, f.Err) }
