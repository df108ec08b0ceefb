package supervisor

import (
	"context"
	"errors"
	"slices"

	"supervisor/supervisor/state"
	"supervisor/supervisor/worker"
)

// pause is how far the loop is held for a handover.
type pause struct {
	calm     bool            // rollouts give no orders
	calming  []chan struct{} // closed when nothing of a rollout is in hand
	freezing chan frozen     // gets the record when the loop is frozen; nil: nobody asked
	frozen   bool
	later    []any        // messages that wait for Thaw
	spawns   []SpawnOrder // orders that wait for Thaw
}

// frozen is the state of a loop that is frozen, which is on record when kept is closed.
type frozen struct {
	data []byte
	kept <-chan struct{}
	err  error
}

// passes reports whether a message is taken now. A loop that is about to freeze takes
// facts alone, to learn how its last spawns went; a frozen one takes none.
func (p *pause) passes(msg any) bool {
	switch msg.(type) {
	case Fact, keptMsg:
		return !p.frozen
	case doMsg, timerMsg:
		return p.freezing == nil
	}
	return true
}

// Calm holds the rollouts and returns when none has a worker in hand: none that is
// being spawned, nor one of theirs that isn't ready yet or has failed. It lasts until
// Uncalm, or the Thaw after Freeze; facts and the restart policy go on. When ctx ends
// first the rollouts go on, and its error is returned.
func (l *Loop) Calm(ctx context.Context) error {
	calm := make(chan struct{})
	l.send(askMsg{func() { l.pause.calm, l.pause.calming = true, append(l.pause.calming, calm) }})
	select {
	case <-calm:
		return nil
	case <-ctx.Done():
		l.Uncalm()
		return ctx.Err()
	case <-l.ended:
		return ErrEnded
	}
}

// Uncalm lets the rollouts go on.
func (l *Loop) Uncalm() { l.send(askMsg{l.uncalm}) }

func (l *Loop) uncalm() {
	if l.pause.freezing != nil {
		return // until Thaw
	}
	l.pause.calm, l.pause.calming = false, nil
	l.settleAll()
}

// Freeze stops the loop between two messages and returns its state, which is on record
// then: no process is between its spawn and its first instruction, no timer runs, and
// no act follows. From then on it takes no fact and no command until Thaw: those wait,
// as their senders may. Snapshot and Events are answered. After an error it isn't
// frozen.
func (l *Loop) Freeze(ctx context.Context) ([]byte, error) {
	reply := make(chan frozen, 1)
	l.send(askMsg{func() {
		if l.pause.freezing != nil {
			reply <- frozen{err: errFrozen}
			return
		}
		l.pause.calm, l.pause.freezing = true, reply
	}})
	select {
	case f := <-reply:
		if f.err != nil {
			return nil, f.err
		}
		if err := l.await(ctx, f.kept); err != nil {
			l.send(askMsg{func() { l.thaw(reply) }})
			return nil, err
		}
		return f.data, nil
	case <-ctx.Done():
		l.send(askMsg{func() { l.thaw(reply) }})
		return nil, ctx.Err()
	case <-l.ended:
		return nil, ErrEnded
	}
}

var errFrozen = errors.New("cannot freeze the supervisor: it is frozen already")

// holds reports whether a spawn has not been ordered yet.
func (p *pause) holds(id uint64) bool {
	return slices.ContainsFunc(p.spawns, func(o SpawnOrder) bool { return o.ID == id })
}

// Thaw lets a frozen loop go on as before: what waited is handled in its order, and
// deadlines are what they were; those that passed meanwhile are due now.
func (l *Loop) Thaw() { l.send(askMsg{func() { l.thaw(l.pause.freezing) }}) }

// thaw ends the freeze that was asked for with this channel.
func (l *Loop) thaw(asked chan frozen) {
	held := l.pause
	if asked == nil || held.freezing != asked {
		return
	}
	l.pause = pause{}
	if held.frozen {
		l.rearm()
	}
	for _, order := range held.spawns {
		if w := l.spawns[order.ID].w; w.m.State == state.Starting {
			l.world.Spawn(order)
		} else {
			l.unspawned(w)
		}
	}
	l.settleAll()
	for _, msg := range held.later {
		l.handle(msg)
	}
}

// checkPause answers who waits for the loop to be calm or frozen, once it is.
func (l *Loop) checkPause() {
	p := &l.pause
	if len(p.calming) > 0 && !l.inHand() {
		for _, calm := range p.calming {
			close(calm)
		}
		p.calming = nil
	}
	if p.freezing != nil && !p.frozen && !l.spawning() {
		p.frozen = true
		for _, a := range l.apps {
			for _, w := range a.members {
				w.halt()
			}
		}
		p.freezing <- frozen{data: slices.Concat(l.document()...), kept: l.book.kept}
	}
}

// spawning reports whether a process is on its way to its first instruction.
func (l *Loop) spawning() bool {
	return slices.ContainsFunc(l.apps, func(a *app) bool {
		return slices.ContainsFunc(a.members, func(w *member) bool {
			return w.m.State.Alive() && w.pid == 0 && !l.pause.holds(w.id)
		})
	})
}

// inHand reports whether a spawn is under way, or a worker of a rollout on its way.
func (l *Loop) inHand() bool {
	return l.spawning() || slices.ContainsFunc(l.apps, func(a *app) bool {
		return a.roll != nil && slices.ContainsFunc(a.members, func(w *member) bool {
			return (w.fresh || w.back) && w.m.State == state.Starting
		})
	})
}

// halt stops the timers of a member, which stay due.
func (w *member) halt() {
	for k := range w.timers {
		if t := w.timers[k].timer; t != nil {
			t.Stop()
		}
	}
}

// rearm starts every timer that is due, after a halt or in another life.
func (l *Loop) rearm() {
	for _, a := range l.apps {
		for _, w := range a.members {
			for _, k := range worker.Kinds {
				if due := w.timers[k].due; due != 0 {
					l.armAt(w, k, due)
				}
			}
		}
	}
}

// settleAll brings every app forward.
func (l *Loop) settleAll() {
	apps := slices.Clone(l.apps)
	for _, a := range apps {
		l.settle(a)
	}
	l.commit(apps...)
}
