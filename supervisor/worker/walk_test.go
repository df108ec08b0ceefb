package worker

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"supervisor/supervisor/state"
)

// transition is a cell of the table and one of the states it leads to.
type transition struct {
	from state.State
	by   Kind
	to   state.State
}

// walk makes random events for a rig; pick makes every choice.
type walk struct {
	*rig
	pick func(n int) int
	seen map[transition]bool
}

func newWalk(pick func(n int) int) *walk {
	p := policy()
	p.MaxRestarts = 1 + pick(4)
	p.Force, p.Shed, p.AutoRestart = pick(4) == 0, pick(2) == 0, pick(6) > 0
	if pick(2) == 0 {
		p.PreDrain = 100 * time.Millisecond
	}
	if pick(2) == 0 {
		p.InferAfter = p.MinUptime
	}
	if pick(2) == 0 {
		soak := time.Duration(pick(2)) * time.Second
		p.Soak = &soak
	}
	switch pick(4) {
	case 0:
		p.ExpBackoff = 0
	case 1:
		p.RestartDelay = time.Second
	}
	if pick(2) == 0 {
		p.StopExitCodes = []int{0}
	}
	k := &walk{rig: newRig(p), pick: pick, seen: map[transition]bool{}}
	k.m.Trial = pick(4) == 0
	return k
}

// next is an event that can happen, or one of a past incarnation, which always can.
func (k *walk) next() Event {
	var can []Kind
	for _, kind := range Kinds {
		switch kind {
		case Start, Stop:
		case Spawned, SpawnFailed, Ready, Ended, Gone:
			if k.process {
				can = append(can, kind)
			}
		default:
			if has(k.armed, kind) {
				can = append(can, kind, kind)
			}
		}
	}
	e := Event{Inc: k.m.Inc, Inferred: k.pick(2) == 0, Jitter: float64(k.pick(3) - 1)}
	switch n := k.pick(10); {
	case n == 0:
		e.Kind, e.Inc = Kinds[k.pick(len(Kinds))], k.m.Inc-1 // too late
	case n == 1:
		e.Kind = Stop
	case n < 4 || len(can) == 0:
		e.Kind = Start
	default:
		e.Kind = can[k.pick(len(can))]
	}
	if e.Kind == Ended {
		e.Code, e.Signal, e.Left = k.pick(2), k.pick(2)*9, k.pick(2)
	}
	return e
}

func (k *walk) play(t *testing.T, events int) {
	var last []Event
	for range events {
		e, before := k.next(), k.m
		last = append(last, e)
		if err := k.step(e); err != nil {
			t.Fatalf("%v\nstate before: %+v\nevents: %+v", err, before, last[max(0, len(last)-20):])
		}
		if k.m.State != before.State || k.m.Inc != before.Inc {
			k.seen[transition{before.State, e.Kind, k.m.State}] = true
		}
	}
}

func TestRandomWalksTakeEveryTransitionOfTheTable(t *testing.T) {
	seen := map[transition]bool{}
	for seed := range uint64(1500) {
		k := newWalk(rand.New(rand.NewPCG(seed, 1)).IntN)
		k.seen = seen
		k.play(t, 120)
	}
	for _, from := range state.States {
		for _, by := range Kinds {
			for _, to := range table[from][by].to {
				if !seen[transition{from, by, to}] {
					t.Errorf("the table says %s x %s -> %s, and no walk went there", from, by, to)
				}
				if n := len(slices.DeleteFunc(slices.Clone(table[from][by].to), func(s state.State) bool { return s != to })); n != 1 {
					t.Errorf("the table says %s x %s -> %s %d times", from, by, to, n)
				}
			}
		}
	}
}

func FuzzStep(f *testing.F) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 2))
		data := make([]byte, 100+r.IntN(300))
		for i := range data {
			data[i] = byte(r.IntN(256))
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		rest := data
		pick := func(n int) int {
			if len(rest) == 0 {
				return 0
			}
			b := int(rest[0])
			rest = rest[1:]
			return b % n
		}
		newWalk(pick).play(t, min(len(data)/3, 300))
	})
}
