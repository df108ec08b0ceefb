package supervisor

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"supervisor/supervisor/state"
)

// program is how a spawned process behaves; the zero value says ready after 100 ms,
// serves for ever, and ends at once on the stop signal with exit code 0.
type program struct {
	boot    time.Duration // from spawn to ready; 0: 100 ms
	mute    bool          // never says ready
	listens []string      // on these, at boot, in this order
	proven  time.Duration // from spawn to the good answer to its probe; 0: as boot, < 0: never
	answer  string        // to the probe before that
	lives   time.Duration // > 0: it ends by itself so long after its spawn
	code    int           // of every end but by SIGKILL
	signal  int
	drain   time.Duration // from the stop signal to the end
	deaf    bool          // ignores the stop signal
	left    int           // members of its group that its own end leaves
	leftFor time.Duration // how long those need to end, once told; < 0: they have to be killed
	open    int           // connections at the stop signal
	err     error         // it can't be spawned
	lines   []string      // its last words
}

// process is one spawn in the fake world.
type process struct {
	order        SpawnOrder
	does         program
	pid          int
	begun        bool // its program runs, or has run
	booted       bool // it listens, and has said ready if it ever will
	proven       bool // its probe has had the good answer
	ready        bool // has said so or listens
	told, killed bool
	ended, gone  bool
	left         int
	alone        int  // in which life of the supervisor it was told so
	missing      bool // a life of the supervisor began that did not find it
	admitted     bool // balance: even
	withdrawn    bool
	toldAt       time.Time
	killedAt     time.Time
	killedIn     int // in which life
	timers       []*time.Timer
}

// fake is a World in memory: every process is scripted, and every order is checked.
type fake struct {
	t    *testing.T
	loop *Loop
	lane chan func() // what the World does one after another: Prepare, Drops

	mu        sync.Mutex
	life      int         // of the supervisor, from 1
	dead      bool        // the supervisor is: nothing is done that it asks for
	doom      func() bool // asked before every act: whether it dies now
	onDeath   func()      // when it has
	records   int
	audit     *audit          // not nil: of every record
	record    []byte          // what it recorded last
	slowly    chan struct{}   // not nil: it is kept when that is closed
	rollouts  map[string]bool // every one that was ever on record, by its start
	programs  func(SpawnOrder) program
	prepares  func(PrepareOrder) Prepared // Launch, Stage, Err and Lines are its
	slow      time.Duration               // of Prepare
	procs     map[uint64]*process
	spawned   []SpawnOrder // in order
	prepared  []PrepareOrder
	forgotten []uint64
	retained  []retain
	released  []string
	kept      []state.Receipt
	drops     int64
	signals   []int
	atOnce    int             // the most processes alive at once
	onStop    func(taken int) // at every stop signal: how many slots it took out of service
}

type retain struct {
	app      string
	declared []state.Listen
	ids      []uint64
	spawned  int // before it
}

func newFake(t *testing.T, loop *Loop) *fake {
	f := &fake{t: t, loop: loop, lane: make(chan func(), 1000), procs: map[uint64]*process{}, life: 1, rollouts: map[string]bool{}}
	f.programs = func(SpawnOrder) program { return program{} }
	f.prepares = func(PrepareOrder) Prepared { return Prepared{} }
	go func() { // ends with close
		for do := range f.lane {
			do()
		}
	}()
	return f
}

func (f *fake) close() { close(f.lane) }

func (f *fake) Spawn(o SpawnOrder) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dies() {
		return
	}
	if f.procs[o.ID] != nil {
		f.t.Errorf("spawn %d twice", o.ID)
	}
	if n := f.count(func(p *process) bool {
		return p.order.App == o.App && p.order.Slot == o.Slot && p.order.Gen == o.Gen &&
			!p.ended && !p.gone && !p.told && !p.withdrawn && !f.beside(o.ID, p.order.ID)
	}); n > 0 {
		f.t.Errorf("a second worker of generation %d in slot %d", o.Gen, o.Slot)
	}
	p := &process{order: o, does: f.programs(o), pid: 1000 + int(o.ID)}
	if p.does.boot == 0 {
		p.does.boot = 100 * time.Millisecond
	}
	f.procs[o.ID] = p
	f.spawned = append(f.spawned, o)
	f.atOnce = max(f.atOnce, f.count(func(p *process) bool { return !p.gone }))
	f.after(p, time.Millisecond, func() []Fact { return f.exec(p) })
}

// beside reports whether two spawns are of two workers that the loop knows: a restart
// brings a successor of the same generation. The loop's goroutine asks.
func (f *fake) beside(a, b uint64) bool {
	x, y := f.loop.spawns[a], f.loop.spawns[b]
	return x.w != nil && y.w != nil && x.w != y.w
}

// after does something later, unless the process is gone by then, and tells what
// came of it in order.
func (f *fake) after(p *process, d time.Duration, do func() []Fact) {
	p.timers = append(p.timers, time.AfterFunc(d, func() {
		f.mu.Lock()
		var facts []Fact
		if !p.gone {
			facts = do()
		}
		loop := f.loop
		f.mu.Unlock()
		for _, fact := range facts {
			loop.Tell(fact)
		}
	}))
}

func (f *fake) exec(p *process) []Fact {
	id, does := p.order.ID, p.does
	p.begun = true
	if does.err != nil {
		p.ended = true
		f.bury(p)
		return []Fact{SpawnFailed{ID: id, Stage: "exec", Err: does.err}}
	}
	f.after(p, does.boot, func() []Fact { return f.boot(p) })
	f.probe(p)
	if does.lives > 0 {
		f.after(p, does.lives, func() []Fact { return f.end(p, does.code, does.signal, does.left) })
	}
	return []Fact{Spawned{ID: id, PID: p.pid}}
}

func (f *fake) boot(p *process) []Fact {
	if p.ended {
		return nil
	}
	p.booted = true
	return f.signs(p)
}

// signs of readiness are those that a process that has booted gives.
func (f *fake) signs(p *process) []Fact {
	var facts []Fact
	for _, addr := range p.does.listens {
		p.ready = true
		facts = append(facts, Listening{ID: p.order.ID, PID: p.pid, Addr: addr})
	}
	if p.does.mute || !p.order.Spec.WaitReady {
		return facts
	}
	p.ready = true
	return append(facts, BecameReady{ID: p.order.ID, Via: "READY_FD"})
}

// probe is what the answers to a probe come to.
func (f *fake) probe(p *process) {
	does, id := p.does, p.order.ID
	if p.order.Spec.Ready == nil {
		return
	}
	if does.answer != "" {
		f.after(p, time.Millisecond, func() []Fact { return []Fact{Probed{ID: id, Err: errors.New(does.answer)}} })
	}
	if does.proven >= 0 {
		f.after(p, max(does.proven, does.boot), func() []Fact {
			p.ready = !p.ended && (p.ready || !p.order.Spec.WaitReady)
			p.proven = true
			return []Fact{Probed{ID: id}}
		})
	}
}

// end is the main process's, with so many of its group left.
func (f *fake) end(p *process, code, signal, left int) []Fact {
	if p.ended {
		return nil
	}
	p.ended, p.ready, p.left = true, false, left
	p.does.code, p.does.signal = code, signal
	ended := f.ended(p)
	if left > 0 {
		return []Fact{ended}
	}
	f.bury(p)
	return []Fact{ended, Gone{ID: p.order.ID}}
}

// ended tells how a process ended.
func (f *fake) ended(p *process) Ended {
	code, signal := p.does.code, p.does.signal
	how, name := fmt.Sprintf("exit code %d", code), ""
	if signal != 0 {
		how, name = fmt.Sprintf("signal %d", signal), fmt.Sprintf("SIG%d", signal)
	}
	return Ended{ID: p.order.ID, Code: code, Signal: signal, SignalName: name, Left: p.left, How: how, LastLines: p.does.lines}
}

func (f *fake) bury(p *process) {
	p.gone = true
	for _, t := range p.timers {
		t.Stop()
	}
}

// known is called with the lock held.
func (f *fake) known(id uint64, what string) *process {
	p := f.procs[id]
	if p == nil {
		f.t.Errorf("told to %s %d, which was never spawned", what, id)
	}
	return p
}

func (f *fake) count(is func(*process) bool) int {
	n := 0
	for _, p := range f.procs {
		if is(p) {
			n++
		}
	}
	return n
}

// serving counts the slots of an app with a ready process that isn't told to leave.
func (f *fake) serving(app string) int {
	slots := map[int]bool{}
	for _, p := range f.procs {
		if p.order.App == app && p.ready && !p.told {
			slots[p.order.Slot] = true
		}
	}
	return len(slots)
}

var errNoExec = errors.New("no such file or directory")
