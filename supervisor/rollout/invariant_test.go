package rollout

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
)

// plan asks the planner, and checks that the answer depends on the view alone and
// doesn't change it.
func (w *world) plan() (Record, []Order, error) {
	v, same := w.look(), w.look()
	rec, orders := Plan(v)
	if !reflect.DeepEqual(v, same) {
		return rec, nil, errors.New("the view was changed")
	}
	for i := range same.Workers {
		j := rand.IntN(i + 1)
		same.Workers[i], same.Workers[j] = same.Workers[j], same.Workers[i]
	}
	rec2, orders2 := Plan(same)
	if !reflect.DeepEqual(rec, rec2) || !reflect.DeepEqual(orders, orders2) {
		return rec, nil, fmt.Errorf("the order of workers matters: %v, %v", orders, orders2)
	}
	return rec, orders, nil
}

func (w *world) covered(slot int) bool {
	return slot < w.view.Instances &&
		(w.view.Record.Slots == nil || slices.Contains(w.view.Record.Slots, slot))
}

// slotsWith counts the slots below Instances in which a worker answers yes.
func (w *world) slotsWith(is func(*body) bool) int {
	found := map[int]bool{}
	for _, b := range w.bodies {
		if b.Slot < w.view.Instances && is(b) {
			found[b.Slot] = true
		}
	}
	return len(found)
}

func isOnline(b *body) bool { return b.Online }
func isProven(b *body) bool { return b.Online && (!b.New || b.Soaked) }

func (w *world) inSlot(slot int, is func(*body) bool) int {
	n := 0
	for _, b := range w.bodies {
		if b.Slot == slot && is(b) {
			n++
		}
	}
	return n
}

func (w *world) seats() int {
	n := 0
	for _, b := range w.bodies {
		if b.Seat {
			n++
		}
	}
	return n
}

func (w *world) surge() int {
	if w.view.MaxSurge == 0 && w.view.MaxUnavailable == 0 {
		return 1
	}
	return w.view.MaxSurge
}

// check holds one order against the invariants, in the world before it.
func (w *world) check(rec Record, o Order) error {
	switch o := o.(type) {
	case Spawn:
		return w.checkSpawn(rec, o)
	case Retire:
		b := w.byKey(o.Key)
		if b == nil || b.Going {
			return errors.New("nobody to retire")
		}
		if err := w.checkBudget(b, o); err != nil {
			return err
		}
		return w.checkWhy(rec, b, o)
	}
	return errors.New("unknown order")
}

func (w *world) checkSpawn(rec Record, o Spawn) error {
	stays := func(b *body) bool { return !b.Going }
	switch {
	case !w.covered(o.Slot):
		return errors.New("a slot that isn't covered")
	case w.seats()+1 > w.view.Instances+w.surge():
		return errors.New("I2: no seat")
	case w.surge() == 0 && w.inSlot(o.Slot, func(b *body) bool { return b.Seat }) > 0:
		return errors.New("without surge, the slot must be empty")
	case o.Back != (rec.Phase == RollingBack):
		return errors.New("trial while rolling back, or the reverse")
	case rec.Interrupted && !o.Back:
		return errors.New("forward, though it was interrupted")
	case !o.Back && o.Gen != rec.To:
		return errors.New("not the new generation")
	case !o.Back && w.inSlot(o.Slot, func(b *body) bool { return stays(b) && b.New }) > 0:
		return errors.New("a second successor")
	case o.Back && w.inSlot(o.Slot, func(b *body) bool { return stays(b) && !b.New }) > 0:
		return errors.New("rolls back a slot that has its old worker")
	case rec.Kind == Restart && o.Gen != rec.To:
		return errors.New("a restart changes no generation")
	case o.Back && w.view.CanRollback && o.Gen != rec.From,
		o.Back && !w.view.CanRollback && o.Gen != rec.To:
		return errors.New("the wrong generation to go back to")
	}
	return nil
}

// checkBudget is I1.
func (w *world) checkBudget(b *body, o Retire) error {
	if o.Why == whyScale || b.Slot >= w.view.Instances {
		if o.Why != whyScale || b.Slot < w.view.Instances {
			return errors.New("scale is for the slots beyond instances")
		}
		return nil
	}
	before := w.slotsWith(isOnline)
	after := w.slotsWith(func(c *body) bool { return c != b && c.Online })
	if after < before && after < w.view.Instances-w.view.MaxUnavailable {
		return fmt.Errorf("I1: %d slots served of %d", after, w.view.Instances)
	}
	if after == 0 && before > 0 && w.view.MaxUnavailable == 0 {
		return errors.New("the site is down")
	}
	return nil
}

// checkWhy is I3, and what an abort leaves alone.
func (w *world) checkWhy(rec Record, b *body, o Retire) error {
	succeeded := func(b *body) bool { return b.New && b.Online && b.Soaked }
	has := w.inSlot(b.Slot, succeeded) > 0
	switch o.Why {
	case whyScale:
		return nil
	case whySuperseded:
		if b.New || w.inSlot(b.Slot, func(c *body) bool { return c != b && !c.New && !c.Going && c.Online == (c.Online || b.Online) }) == 0 {
			return errors.New("nobody supersedes it")
		}
	case whyRollback:
		if rec.Phase != RollingBack || !b.New && !b.back {
			return errors.New("not for a rollback to remove")
		}
		alone := w.inSlot(b.Slot, func(c *body) bool { return !c.New && !c.Going }) == 0
		if b.Online && alone && (rec.Kind == Restart || !w.view.CanRollback) {
			return errors.New("there is nothing to go back to")
		}
	case whyReplaced:
		if b.New || b.back {
			return errors.New("not an old worker")
		}
		if rec.Phase == RollingBack && (b.Seat || !has) {
			return errors.New("an abort replaces nobody")
		}
		if (w.view.BlueGreen || rec.Interrupted) && rec.Phase != RollingBack && w.slotsWith(func(b *body) bool { return w.covered(b.Slot) && succeeded(b) }) != w.slotsCovered() {
			return errors.New("blue-green, or interrupted: not all are proven")
		}
		left := w.slotsWith(func(c *body) bool { return c != b && isProven(c) })
		if b.Online && !has && left < w.view.Instances-w.view.MaxUnavailable {
			return errors.New("I3: no successor, and no budget")
		}
		if !has && w.view.MaxUnavailable == 0 {
			return errors.New("I3: no successor")
		}
	default:
		return errors.New("unknown reason")
	}
	if w.untouched[b.Key] && b.Seat && o.Why != whySuperseded {
		return errors.New("an abort leaves it alone")
	}
	return nil
}

func (w *world) slotsCovered() int {
	n := 0
	for slot := range w.view.Instances {
		if w.covered(slot) {
			n++
		}
	}
	return n
}

func (w *world) noteUntouched() {
	w.untouched = map[uint64]bool{}
	for _, b := range w.bodies {
		if !b.New && !b.Going && !b.back && w.covered(b.Slot) {
			w.untouched[b.Key] = true
		}
	}
}

// checkEnd holds what is left against the result, once there is one.
func (w *world) checkEnd() error {
	rec := w.view.Record
	if (rec.Phase == Idle) != (rec.Result != Running) {
		return fmt.Errorf("phase %v with result %v", rec.Phase, rec.Result)
	}
	if (rec.Phase == RollingBack || rec.Result > Complete) != (rec.Reason != "") {
		return fmt.Errorf("reason %q in phase %v, result %v", rec.Reason, rec.Phase, rec.Result)
	}
	if rec.Phase != Idle {
		return nil
	}
	if again, orders := Plan(w.look()); len(orders) > 0 || !reflect.DeepEqual(again, rec) {
		return fmt.Errorf("it is over, but %v", orders)
	}
	for slot := range w.view.Instances {
		if n := w.inSlot(slot, func(*body) bool { return true }); w.covered(slot) && n != 1 {
			return fmt.Errorf("slot %d ends with %d workers", slot, n)
		}
	}
	for key := range w.untouched {
		b := w.byKey(key)
		if b == nil || b.Going {
			return fmt.Errorf("an untouched worker is gone: %d", key)
		}
	}
	if rec.Slots == nil && strings.Contains(rec.Reason, "cannot") {
		return errors.New("blocked, although it covers every slot")
	}
	return w.checkResult(rec)
}

func (w *world) checkResult(rec Record) error {
	for _, b := range w.bodies {
		switch {
		case b.Slot >= w.view.Instances:
			return fmt.Errorf("%v is beyond instances", b)
		case !w.covered(b.Slot):
		case rec.Result == Complete && !(b.New && b.Online && b.Soaked && b.Gen == rec.To):
			return fmt.Errorf("complete with %v", b)
		case rec.Result == RolledBack && (b.New || b.Gen == rec.To || b.back && !b.Online):
			return fmt.Errorf("rolled back with %v", b)
		case rec.Kind == Restart && rec.Result == RolledBack:
			return errors.New("a restart can't be rolled back")
		}
	}
	return nil
}
