package rollout

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
)

var histories = flag.Int("histories", 2000, "random histories of TestRandomHistories")

// walk is one history: a world that misbehaves for a while, then is fair. pick
// makes every choice, so a history can be played again.
type walk struct {
	world
	pick     func(n int) int
	fair     bool // nothing crashes any more that can stay up, nobody asks for more
	gen      int
	complete int          // the last generation whose rollout was complete
	bad      map[int]bool // generations that can't start
	seen     map[string]int
}

func newWalk(pick func(n int) int) *walk {
	k := &walk{pick: pick, gen: 1, complete: 1, bad: map[int]bool{}, seen: map[string]int{}}
	k.view.Instances = 1 + pick(5)
	for slot := range k.view.Instances {
		switch pick(8) {
		case 0: // nobody
		case 1: // errored
			k.add(Worker{Slot: slot, Gen: 1})
		case 2: // waits for its restart
			k.add(Worker{Slot: slot, Gen: 1, Seat: true})
		default:
			k.add(Worker{Slot: slot, Gen: 1, Seat: true, Online: true, Soaked: pick(2) == 0})
		}
	}
	k.rollout()
	return k
}

// strategy is picked anew for each rollout: the file may have changed.
func (k *walk) strategy() {
	k.view.MaxSurge, k.view.MaxUnavailable = k.pick(3), k.pick(3)
	k.view.BlueGreen = k.pick(4) == 0
	if k.view.BlueGreen {
		k.view.MaxSurge = k.view.Instances
	}
}

// rollout begins a rollout, whether one runs or not.
func (k *walk) rollout() {
	k.strategy()
	rec := Record{From: k.complete}
	if k.pick(5) == 0 {
		rec.Kind, rec.To = Restart, k.complete
	} else {
		k.gen++
		rec.To = k.gen
		k.bad[k.gen] = k.pick(3) == 0
	}
	if k.pick(5) == 0 {
		rec.Slots = []int{k.pick(k.view.Instances)}
	}
	k.view.CanRollback = k.pick(2) == 0
	k.logf("-- begin %+v bad=%v %+v", rec, k.bad[rec.To], k.view)
	k.begin(rec)
}

// event is one thing that can happen next.
type event struct {
	name string
	do   func(*body)
	b    *body
}

func (k *walk) events() []event {
	var all []event
	for _, b := range k.bodies {
		can := func(name string, do func(*body)) { all = append(all, event{name, do, b}) }
		starts := !(k.fair && k.bad[b.Gen])
		switch {
		case b.Going:
			can("gone", k.remove)
		case b.Seat && !b.Online && !b.Failed || b.Seat && !b.Online && b.back:
			if starts {
				can("ready", k.ready)
			}
			if !starts || !k.fair && (k.bad[b.Gen] || k.pick(4) == 0) {
				if b.New && !b.soaked || b.back && !b.Failed {
					can("fail", k.fail)
				}
				can("giveUp", k.giveUp)
			}
		case b.Online && b.New && !b.Soaked:
			if starts {
				can("soak", k.soak)
			}
			if !starts || !k.fair && (k.bad[b.Gen] || k.pick(4) == 0) {
				can("crash", k.fail)
			}
		case b.Online && !k.fair && k.pick(4) == 0:
			can("crash", k.fail)
			if k.pick(4) == 0 {
				can("giveUp", k.giveUp)
			}
		}
	}
	return all
}

// step lets one thing happen. It returns false when nothing can.
func (k *walk) step() bool {
	if !k.fair {
		switch k.pick(24) {
		case 0:
			n := 1 + k.pick(6)
			k.logf("-- scale %d", n)
			k.scale(n)
			if k.view.MaxSurge > 0 && !k.view.BlueGreen {
				k.view.MaxSurge = k.pick(3) // a percentage
			}
			return true
		case 1:
			k.rollout()
			return true
		case 2:
			k.logf("-- died")
			k.view.Record = k.view.Record.Interrupt()
			return true
		}
	}
	events := k.events()
	if len(events) == 0 {
		return false
	}
	e := events[k.pick(len(events))]
	k.logf("-- %s %v new=%v", e.name, e.b, e.b.New)
	e.do(e.b)
	return true
}

// over counts the result, and does what the loop does after a rollout.
func (k *walk) over() {
	rec := k.view.Record
	k.seen[fmt.Sprint(rec.Kind, rec.Result)]++
	if len(rec.Kept) > 0 {
		k.seen["kept"]++
	}
	if rec.Interrupted {
		k.seen[fmt.Sprint("interrupted ", rec.Result)]++
	}
	if rec.Result == Complete && rec.Slots == nil && rec.Kind == Reload {
		k.complete = rec.To
	}
	for slot := range k.view.Instances { // what the rollout didn't cover
		if k.inSlot(slot, func(*body) bool { return true }) == 0 {
			k.add(Worker{Slot: slot, Gen: k.complete, Seat: true})
		}
	}
}

// play is one history of so many rude steps and as many fair ones as it needs.
func (k *walk) play(rude int) error {
	if _, err := k.settle(); err != nil {
		return err
	}
	for n := 0; ; n++ {
		k.fair = n >= rude
		if k.view.Record.Phase == Idle {
			k.over()
			if k.fair {
				return nil
			}
			k.rollout()
		} else if !k.step() && k.fair {
			return errors.New("nothing can happen any more, and it isn't over")
		}
		if _, err := k.settle(); err != nil {
			return err
		}
		if n > rude+500 {
			return errors.New("it doesn't end")
		}
	}
}

func TestRandomHistories(t *testing.T) {
	seen := map[string]int{}
	for seed := range uint64(*histories) {
		history := func(trace func(string, ...any)) error {
			r := rand.New(rand.NewPCG(seed, 1))
			k := newWalk(r.IntN)
			k.trace, k.seen = trace, seen
			return k.play(10 + r.IntN(60))
		}
		if err := history(nil); err != nil {
			_ = history(t.Logf)
			t.Fatalf("history %d: %v", seed, err)
		}
	}
	t.Log(seen)
	for _, end := range []string{"0 1", "0 2", "0 3", "1 1", "1 3", "kept", "interrupted 1", "interrupted 2", "interrupted 3"} {
		if seen[end] == 0 {
			t.Errorf("no history ended as %q: %v", end, seen)
		}
	}
}

func FuzzPlan(f *testing.F) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 2))
		data := make([]byte, 40+r.IntN(200))
		for i := range data {
			data[i] = byte(r.IntN(256))
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		history := func(trace func(string, ...any)) error {
			rest := data
			pick := func(n int) int {
				if len(rest) == 0 {
					return 0
				}
				b := int(rest[0])
				rest = rest[1:]
				return b % n
			}
			k := newWalk(pick)
			k.trace = trace
			return k.play(min(len(data)/3, 150))
		}
		if err := history(nil); err != nil {
			_ = history(t.Logf)
			t.Fatal(err)
		}
	})
}
