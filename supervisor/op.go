package supervisor

import (
	"errors"
	"fmt"
	"slices"

	"supervisor/supervisor/state"
)

// opKind says what an operation waits for.
type opKind uint8

const (
	opStart opKind = iota // each worker has been online, or has failed its first start
	opRoll                // the rollout is over
	opStop                // every group is gone
	opScale               // the new are settled, the superfluous gone
	opAwait               // nothing of all that is under way
	opKinds
)

// op is one command whose answer is outstanding.
type op struct {
	kind    opKind
	action  string
	earlier *state.Receipt // of the rollout it began with, if that was superseded
	since   uint64         // only members with a later key are its own,
	from    int            // of the slots from this one on
	reply   waiter
}

func (a *app) wait(kind opKind, action string, reply waiter) *op {
	o := &op{kind: kind, action: action, reply: reply}
	a.ops = append(a.ops, o)
	return o
}

// answer ends the operations that match with one outcome each.
func (a *app) answer(match func(*op) bool, outcome func(*op) Outcome) {
	a.ops = slices.DeleteFunc(a.ops, func(o *op) bool {
		if !match(o) {
			return false
		}
		out := outcome(o)
		out.Action, out.Earlier = o.action, o.earlier
		if o.kind == opAwait {
			out.Receipt = a.lastReceipt
		}
		o.reply.tell(out)
		return true
	})
}

// errSuperseded is the end of an operation that a later command made void.
type errSuperseded struct{ by string }

func (e errSuperseded) Error() string { return "superseded: the app was " + e.by }

// supersede ends the operations of these kinds: the last accepted command wins.
func (a *app) supersede(by string, kinds ...opKind) {
	a.answer(func(o *op) bool { return slices.Contains(kinds, o.kind) },
		func(*op) Outcome { return Outcome{Err: errSuperseded{by}} })
}

// settle brings an app forward after anything happened to it: the rollout's next
// orders, a start that waited, sockets nobody needs, operations that are over.
func (l *Loop) settle(a *app) {
	if a == nil || a.deleted {
		return
	}
	if a.roll != nil && !l.pause.calm {
		l.advance(a)
	}
	if a.starting != nil && a.starting.token == 0 && !a.alive() {
		l.prepareStart(a)
	}
	if a.holding && a.roll == nil && a.starting == nil && !a.alive() {
		a.holding, a.untidy = false, false
		l.world.Release(a.name)
	}
	if a.untidy && a.roll == nil && a.starting == nil && a.steady() {
		a.untidy = false
		l.retain(a)
	}
	l.tellAlone(a)
	l.checkOps(a)
	if a.deleting && !a.alive() {
		a.deleted = true
		l.apps = slices.DeleteFunc(l.apps, func(x *app) bool { return x == a })
		l.publish(state.Event{Kind: state.EventApp, App: a.name, Text: Deleted})
		a.answer(func(*op) bool { return true }, func(*op) Outcome { return Outcome{} })
	}
}

func (l *Loop) checkOps(a *app) {
	if !a.alive() && !a.deleting {
		a.answer(func(o *op) bool { return o.kind == opStop }, func(*op) Outcome { return Outcome{} })
	}
	if a.starting != nil || a.roll != nil {
		return
	}
	settled, surplus := true, false
	for _, w := range a.members {
		settled = settled && (w.settled || w.retiring != "")
		surplus = surplus || w.retiring != "" && !w.remains
	}
	rest := settled && !surplus
	if a.want == state.Down {
		rest = !a.alive()
	}
	a.answer(func(o *op) bool {
		return o.kind == opStart && settled || o.kind == opScale && settled && !surplus || o.kind == opAwait && rest
	}, func(o *op) Outcome { return a.firstFailure(o) })
}

// firstFailure is the outcome of a start, or of a scale for the workers that it
// brought: the lowest slot that did not come up.
func (a *app) firstFailure(o *op) Outcome {
	var worst *member
	for _, w := range a.members {
		if w.failure != nil && w.retiring == "" && w.key > o.since && w.slot >= o.from && (worst == nil || w.slot < worst.slot) {
			worst = w
		}
	}
	if worst == nil {
		return Outcome{}
	}
	f := worst.failure
	next := "it is tried again"
	switch worst.m.State {
	case state.Errored:
		next = "gave up"
	case state.Exited:
		next = "autorestart leaves it"
	}
	return Outcome{
		Err:     fmt.Errorf("cannot start %s: slot %d: %s (%s)", a.name, worst.slot, f.Reason, next),
		Slot:    new(worst.slot),
		Details: f.Lines,
	}
}

var errUnknown = errors.New("no such app")
