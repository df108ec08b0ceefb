package supervisor

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"supervisor/supervisor/state"
	"supervisor/supervisor/worker"
)

// ErrEnded is returned to whoever asks a loop that has ended.
var ErrEnded = errors.New("the supervisor is ending")

// inboxSize is how many messages may wait for the loop before their senders do.
const inboxSize = 256

// Clock tells the time since the machine was started, that in which it slept included
// (CLOCK_BOOTTIME): an instant that another process of the same boot can read.
type Clock func() time.Duration

// Loop owns all state. Run it once; the other methods may be called from anywhere.
type Loop struct {
	info  state.DaemonInfo
	inbox chan any
	ended chan struct{}

	// Owned by Run.
	world   *outbox
	clock   Clock
	born    time.Duration
	apps    []*app
	spawns  map[uint64]spawn
	lastID  uint64 // of a spawn
	lastKey uint64 // of a member, a token
	unkept  []unkept
	subs    map[*subscriber]struct{}
	seq     uint64
	closing bool // nothing is started any more
	pause   pause
	book    book
	before  *restored // what Run has to begin with, nil for a loop from nothing
}

// spawn tells which member a process belongs to, and as which incarnation.
type spawn struct {
	w   *member
	inc int
}

// New returns a loop that has not begun. info is what Snapshot says of the daemon;
// firstID is the number of its first spawn, above every one that was ever used here.
// A nil clock counts from now.
func New(info state.DaemonInfo, firstID uint64, clock Clock) *Loop {
	if clock == nil {
		made := time.Now()
		clock = func() time.Duration { return time.Since(made) }
	}
	return &Loop{
		info:   info,
		inbox:  make(chan any, inboxSize),
		ended:  make(chan struct{}),
		clock:  clock,
		lastID: firstID,
		spawns: map[uint64]spawn{},
		subs:   map[*subscriber]struct{}{},
		world:  &outbox{},
	}
}

// Messages to the loop beside Fact.
type (
	keptMsg struct {
		fact    Fact
		handled chan<- (<-chan struct{}) // gets what is closed when it is on record
	}
	doMsg struct {
		cmd   Command
		reply chan<- answer
	}
	timerMsg struct {
		w    *member
		kind worker.Kind
		inc  int
		seq  uint64
	}
	askMsg   struct{ do func() }
	subMsg   struct{ s *subscriber }
	unsubMsg struct{ s *subscriber }
)

// Run is the loop. It returns when ctx ends; what runs then goes on running, and
// nothing of the loop (timer, goroutine) is left.
func (l *Loop) Run(ctx context.Context, world World) error {
	l.world.world, l.born = world, l.now()
	defer l.finish()
	if l.before != nil {
		l.resume(*l.before)
		l.before = nil
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case msg := <-l.inbox:
			l.handle(msg)
		}
	}
}

// handle takes one message: what it changes is put on record before any act that it
// leads to.
func (l *Loop) handle(msg any) {
	if !l.pause.passes(msg) {
		l.pause.later = append(l.pause.later, msg)
		return
	}
	var about *app
	switch msg := msg.(type) {
	case Fact:
		about = l.learn(msg)
	case keptMsg:
		about = l.learn(msg.fact)
	case doMsg:
		about = l.obey(msg.cmd, waiter{l, msg.reply})
	case timerMsg:
		if t := &msg.w.timers[msg.kind]; t.seq == msg.seq && t.due != 0 {
			*t = armed{}
			about = msg.w.app
			l.step(msg.w, worker.Event{Kind: msg.kind, Inc: msg.inc})
		}
	case askMsg:
		msg.do()
	case subMsg:
		l.subs[msg.s] = struct{}{}
		close(msg.s.taken)
	case unsubMsg:
		if _, ok := l.subs[msg.s]; ok {
			delete(l.subs, msg.s)
			close(msg.s.ch)
		}
	}
	l.settle(about)
	l.commit(about)
	if msg, ok := msg.(keptMsg); ok {
		msg.handled <- l.book.kept
	}
	l.checkPause()
}

// finish stops every timer and answers whoever still waits.
func (l *Loop) finish() {
	close(l.ended)
	for _, a := range l.apps {
		for _, w := range a.members {
			w.disarmAll()
		}
		for _, o := range a.ops {
			if o.reply.to != nil {
				o.reply.to <- answer{out: Outcome{Action: o.action, Err: ErrEnded}}
			}
		}
		a.ops = nil
	}
	for s := range l.subs {
		close(s.ch)
	}
	l.subs = nil
}

// send puts a message into the inbox; false when the loop has ended.
func (l *Loop) send(msg any) bool {
	select {
	case l.inbox <- msg:
		return true
	case <-l.ended:
		return false
	}
}

// Tell gives the loop a fact. It blocks only while the inbox is full, so it is not
// to be called from the loop's own goroutine.
func (l *Loop) Tell(f Fact) { l.send(f) }

// TellKept is Tell that returns when what the fact changed is on record (World.Record
// has kept it), and whether it is: false when the loop ended first, so that a successor
// has to be told again. It is not to be called from where Record is carried out.
func (l *Loop) TellKept(f Fact) bool {
	handled := make(chan (<-chan struct{}), 1)
	if !l.send(keptMsg{f, handled}) {
		return false
	}
	select {
	case kept := <-handled:
		return l.await(context.Background(), kept) == nil
	case <-l.ended:
		return false
	}
}

// await returns nil when kept is closed (or nil), else why it was not waited for.
func (l *Loop) await(ctx context.Context, kept <-chan struct{}) error {
	if kept == nil {
		return nil
	}
	select {
	case <-kept:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-l.ended:
		return ErrEnded
	}
}

// Do carries out one command and returns when it is done, failed or superseded, and
// that is on record. When ctx ends first the work goes on and ctx's error is returned.
func (l *Loop) Do(ctx context.Context, cmd Command) (Outcome, error) {
	reply := make(chan answer, 1)
	if !l.send(doMsg{cmd, reply}) {
		return Outcome{}, ErrEnded
	}
	select {
	case a := <-reply:
		return a.out, l.await(ctx, a.kept)
	case <-ctx.Done():
		return Outcome{}, ctx.Err()
	case <-l.ended:
	}
	select { // answered while it ended
	case a := <-reply:
		return a.out, l.await(ctx, a.kept)
	default:
		return Outcome{}, ErrEnded
	}
}

// Close makes the loop refuse, with ErrEnded, every command that would start a
// process: what is stopped after it stays down. It goes on with all the rest.
func (l *Loop) Close() { l.send(askMsg{func() { l.closing = true }}) }

// LastID is the largest number that was given to a spawn. It is asked when Run has ended.
func (l *Loop) LastID() uint64 { return l.lastID }

// Snapshot returns what the loop knows now, a copy. It is also a barrier: all that
// was sent before it has been handled, unless the loop is frozen.
func (l *Loop) Snapshot(ctx context.Context) (state.Snapshot, error) {
	reply := make(chan state.Snapshot, 1)
	if !l.send(askMsg{func() { reply <- l.snapshot() }}) {
		return state.Snapshot{}, ErrEnded
	}
	select {
	case s := <-reply:
		return s, nil
	case <-ctx.Done():
		return state.Snapshot{}, ctx.Err()
	case <-l.ended:
		return state.Snapshot{}, ErrEnded
	}
}

// Barrier returns when all that was sent before it has been handled, unless the loop is
// frozen: that the loop lives.
func (l *Loop) Barrier(ctx context.Context) error {
	reached := make(chan struct{})
	if !l.send(askMsg{func() { close(reached) }}) {
		return ErrEnded
	}
	return l.await(ctx, reached)
}

func (l *Loop) find(name string) *app {
	for _, a := range l.apps {
		if a.name == name {
			return a
		}
	}
	return nil
}

func (l *Loop) key() uint64 {
	l.lastKey++
	return l.lastKey
}

// now is an instant of the loop's clock, never 0, which stands for none.
func (l *Loop) now() time.Duration { return max(1, l.clock()) }

// jitter returns a number from -1 to 1.
func jitter() float64 { return rand.Float64()*2 - 1 }
