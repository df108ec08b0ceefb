package rollout

import (
	"cmp"
	"fmt"
	"slices"
)

// Why a worker is told to leave (Retire.Why).
const (
	whyReplaced   = "replaced"   // its slot's successor serves, or needs its seat
	whyRollback   = "rollback"   // the rollout failed
	whyScale      = "scale"      // its slot is beyond Instances
	whySuperseded = "superseded" // left by a rollout that this one superseded
)

// Plan compares the view with what the rollout wants and orders the difference.
// Call it after every fact, and again after its orders are applied, until it
// orders nothing: an applied Spawn shows as Seat, a Retire as Going (or gone).
//
// A rollout begins with a Record of Phase Progressing (or Idle with Result
// Running and a To) and is over when Phase is Idle with another Result; such a
// Record is returned as it is. The view is not changed, its order has no meaning.
func Plan(v View) (Record, []Order) {
	over := v.Record.Result != Running || v.Record.To == 0
	if v.Record.Phase == Idle && over {
		return v.Record, nil
	}
	p := newPlanner(v)
	p.retireScaled()
	p.retireSuperseded()
	if p.rec.Phase != RollingBack {
		if reason := p.failure(); reason != "" {
			p.abort(reason)
		} else if p.rec.Interrupted {
			p.settle()
		} else {
			p.advance()
		}
	}
	if p.rec.Phase == RollingBack {
		p.rollBack()
	}
	return p.rec, p.orders
}

// planner is one call of Plan: the view by slot, the counts that the budget is
// made of, and what has been ordered so far. The counts follow the orders.
type planner struct {
	view    View
	rec     Record
	slots   []*slot   // one for each slot below Instances
	beyond  []*Worker // in slots to be given up, highest first
	seats   int       // held, also by those who leave
	staying int       // held by those who don't leave
	orders  []Order
}

func newPlanner(v View) *planner {
	// Both can become 0 by the rounding of percentages after a scale. A seat more
	// costs memory for a while; nothing moving, or a slot less, costs traffic.
	if v.MaxSurge <= 0 && v.MaxUnavailable <= 0 {
		v.MaxSurge = 1
	}
	p := &planner{view: v, rec: v.Record}
	for _, set := range []*[]int{&p.rec.Replaced, &p.rec.Back, &p.rec.Kept} {
		given := func(n int) bool { return n >= v.Instances } // up by a scale
		*set = slices.DeleteFunc(slices.Clone(*set), given)
	}
	for n := range v.Instances {
		covered := v.Record.Slots == nil || slices.Contains(v.Record.Slots, n)
		p.slots = append(p.slots, &slot{n: n, covered: covered})
	}
	workers := slices.Clone(v.Workers)
	slices.SortFunc(workers, func(a, b Worker) int {
		return cmp.Or(cmp.Compare(a.Slot, b.Slot), cmp.Compare(a.Key, b.Key))
	})
	for i := range workers {
		p.add(&workers[i])
	}
	slices.Reverse(p.beyond)
	return p
}

func (p *planner) add(w *Worker) {
	w.Failed = w.Failed || (w.New && !w.Seat) // a trial that has ended, however
	w.Online = w.Online && !w.Going && !(w.New && w.Failed)
	if w.Seat {
		p.seats++
		if !w.Going {
			p.staying++
		}
	}
	if w.Slot >= len(p.slots) {
		p.beyond = append(p.beyond, w)
		return
	}
	p.slots[w.Slot].add(w)
}

// covered returns the slots that this rollout replaces, ascending. The others
// count for the budget; an empty one there is the caller's to fill.
func (p *planner) covered() []*slot {
	var covered []*slot
	for _, s := range p.slots {
		if s.covered {
			covered = append(covered, s)
		}
	}
	return covered
}

// failure returns why the rollout can't go on, "" if none of its workers failed.
func (p *planner) failure() string {
	for _, s := range p.covered() {
		if s.new != nil && s.new.Failed {
			reason := s.new.Reason
			if reason == "" {
				reason = "its new worker ended"
			}
			return fmt.Sprintf("slot %d: %s", s.n, reason)
		}
	}
	return ""
}

func (p *planner) abort(reason string) {
	if p.rec.Interrupted {
		reason = Died
	}
	p.rec.Phase, p.rec.Reason = RollingBack, reason
}

// retireScaled gives up the slots beyond Instances, whatever their state.
func (p *planner) retireScaled() {
	for _, w := range p.beyond {
		if !w.Going {
			p.retire(w, whyScale)
		}
	}
}

// retireSuperseded leaves one old worker in each slot. It takes nothing from I1:
// the one that stays is online if any is.
func (p *planner) retireSuperseded() {
	for _, s := range p.slots {
		for _, w := range s.extra {
			p.retire(w, whySuperseded)
			s.going++
		}
		s.extra = nil
	}
}

// retire orders w to leave; its seat is held until it is gone.
func (p *planner) retire(w *Worker, why string) {
	p.orders = append(p.orders, Retire{Key: w.Key, Why: why})
	w.Going, w.Online = true, false
	if w.Seat {
		p.staying--
	}
}

func (p *planner) retireOld(s *slot, why string) {
	p.retire(s.old, why)
	s.old = nil
	s.going++
	if why == whyReplaced {
		p.rec.Replaced = with(p.rec.Replaced, s.n)
	}
}

func (p *planner) retireNew(s *slot) {
	p.retire(s.new, whyRollback)
	s.new = nil
	s.going++
}

// spawnNew orders a worker of To on trial, spawnBack one to roll back.
func (p *planner) spawnNew(s *slot) {
	if s.old == nil {
		p.rec.Replaced = with(p.rec.Replaced, s.n)
	}
	p.spawn(Spawn{Slot: s.n, Gen: p.rec.To})
	s.new = &Worker{Slot: s.n, Gen: p.rec.To, New: true, Seat: true}
}

func (p *planner) spawnBack(s *slot) {
	gen := p.rec.To
	if p.returns() {
		gen = p.rec.From
	}
	p.rec.Back = with(p.rec.Back, s.n)
	p.spawn(Spawn{Slot: s.n, Gen: gen, Back: true})
	s.old = &Worker{Slot: s.n, Gen: gen, Seat: true}
}

func (p *planner) spawn(o Spawn) {
	p.orders = append(p.orders, o)
	p.seats++
	p.staying++
}

// with returns the sorted set with n in it.
func with(set []int, n int) []int {
	if i, found := slices.BinarySearch(set, n); !found {
		return slices.Insert(set, i, n)
	}
	return set
}
