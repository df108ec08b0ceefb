package rollout

import (
	"fmt"
	"slices"
)

// body is a worker of the fake world, with what the planner isn't told.
type body struct {
	Worker
	back   bool // spawned to roll back
	soaked bool // has soaked once: the policy restarts it from then on
}

func (b *body) String() string { return fmt.Sprintf("%d/%d", b.Slot, b.Gen) }

// world plays the loop and the kernel: it applies orders at once and changes
// workers when it is told to. Every order is checked against the invariants.
type world struct {
	view      View // without Workers
	bodies    []*body
	lastKey   uint64
	untouched map[uint64]bool // old workers that an abort found running
	trace     func(format string, args ...any)
}

func (w *world) logf(format string, args ...any) {
	if w.trace != nil {
		w.trace(format, args...)
	}
}

func (w *world) add(worker Worker) *body {
	w.lastKey++
	worker.Key = w.lastKey
	b := &body{Worker: worker}
	w.bodies = append(w.bodies, b)
	return b
}

func (w *world) remove(b *body) {
	w.bodies = slices.DeleteFunc(w.bodies, func(o *body) bool { return o == b })
}

// look is the view as the planner gets it.
func (w *world) look() View {
	v := w.view
	for _, b := range w.bodies {
		v.Workers = append(v.Workers, b.Worker)
	}
	return v
}

// settle asks the planner until it orders nothing more and returns all it ordered.
func (w *world) settle() ([]Order, error) {
	var all []Order
	for range 8 {
		before := w.view.Record.Phase
		rec, orders, err := w.plan()
		if err != nil {
			return all, err
		}
		for _, o := range orders {
			if err := w.check(rec, o); err != nil {
				return all, fmt.Errorf("%w\nby %+v (%T)", err, o, o)
			}
			w.apply(o)
		}
		w.view.Record = rec
		all = append(all, orders...)
		if before != RollingBack && rec.Phase == RollingBack {
			w.noteUntouched()
		}
		if len(orders) == 0 {
			w.logf("   %+v", rec)
			return all, w.checkEnd()
		}
	}
	return all, fmt.Errorf("orders don't stop: %v", all)
}

func (w *world) apply(o Order) {
	switch o := o.(type) {
	case Spawn:
		b := w.add(Worker{Slot: o.Slot, Gen: o.Gen, New: !o.Back, Seat: true})
		b.back = o.Back
		w.logf("   spawn %v back=%v", b, o.Back)
	case Retire:
		b := w.byKey(o.Key)
		w.logf("   retire %v new=%v %s", b, b.New, o.Why)
		if !b.Seat { // nobody to wait for: it had given up
			delete(w.untouched, b.Key)
			w.remove(b)
			return
		}
		b.Going, b.Online, b.Soaked = true, false, false
	}
}

func (w *world) byKey(key uint64) *body {
	for _, b := range w.bodies {
		if b.Key == key {
			return b
		}
	}
	return nil
}

// The events of a worker.

func (w *world) ready(b *body) { b.Online, b.Failed = true, b.Failed && b.New }

func (w *world) soak(b *body) { b.Online, b.Soaked, b.Proven, b.soaked = true, true, true, true }

// fail ends a process: a trial has failed, others wait for their restart.
func (w *world) fail(b *body) {
	b.Online, b.Soaked = false, false
	switch {
	case b.New && !b.soaked:
		b.Failed, b.Seat, b.Reason = true, false, "exit 1"
	case b.back:
		b.Failed = true
	}
}

// giveUp is fail for the last time: errored, or left by the policy.
func (w *world) giveUp(b *body) {
	w.fail(b)
	b.Seat, b.Failed = false, b.New || b.back
}

// scale changes the target as the loop does.
func (w *world) scale(n int) {
	w.view.Instances = n
	if w.view.BlueGreen {
		w.view.MaxSurge = n
	}
	for key := range w.untouched {
		if b := w.byKey(key); b != nil && b.Slot >= n {
			delete(w.untouched, key)
		}
	}
}

// begin starts a rollout, superseding the one that runs.
func (w *world) begin(rec Record) {
	for _, b := range w.bodies {
		b.New, b.back, b.Failed, b.Proven, b.soaked = false, false, false, true, true
	}
	w.untouched = nil
	rec.Phase = Progressing
	w.view.Record = rec
	if rec.Kind == Restart {
		w.view.BlueGreen, w.view.MaxSurge, w.view.MaxUnavailable = false, 0, 1
	}
}
