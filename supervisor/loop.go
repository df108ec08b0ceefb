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

// Loop owns all state. Run it once; the other methods may be called from anywhere.
type Loop struct {
	info  state.DaemonInfo
	inbox chan any
	ended chan struct{}

	// Owned by Run.
	world   World
	born    time.Time
	apps    []*app
	spawns  map[uint64]spawn
	lastID  uint64 // of a spawn
	lastKey uint64 // of a member, a token
	subs    map[*subscriber]struct{}
	seq     uint64
	closing bool // nothing is started any more
}

// spawn tells which member a process belongs to, and as which incarnation.
type spawn struct {
	w   *member
	inc int
}

// New returns a loop that has not begun. info is what Snapshot says of the daemon;
// firstID is the number of its first spawn, above every one that was ever used here.
func New(info state.DaemonInfo, firstID uint64) *Loop {
	return &Loop{
		info:   info,
		inbox:  make(chan any, inboxSize),
		ended:  make(chan struct{}),
		lastID: firstID,
		spawns: map[uint64]spawn{},
		subs:   map[*subscriber]struct{}{},
	}
}

// Messages to the loop beside Fact.
type (
	doMsg struct {
		cmd   Command
		reply chan<- Outcome
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
	l.world, l.born = world, time.Now()
	defer l.finish()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case msg := <-l.inbox:
			l.handle(msg)
		}
	}
}

func (l *Loop) handle(msg any) {
	switch msg := msg.(type) {
	case Fact:
		l.settle(l.learn(msg))
	case doMsg:
		l.settle(l.obey(msg.cmd, msg.reply))
	case timerMsg:
		if t := msg.w.timers[msg.kind]; t.seq == msg.seq && t.timer != nil {
			msg.w.timers[msg.kind].timer = nil
			l.step(msg.w, worker.Event{Kind: msg.kind, Inc: msg.inc})
			l.settle(msg.w.app)
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
}

// finish stops every timer and answers whoever still waits.
func (l *Loop) finish() {
	close(l.ended)
	for _, a := range l.apps {
		for _, w := range a.members {
			w.disarmAll()
		}
		for _, o := range a.ops {
			o.reply <- Outcome{Action: o.action, Err: ErrEnded}
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

// Do carries out one command and returns when it is done, failed or superseded.
// When ctx ends first the work goes on and ctx's error is returned.
func (l *Loop) Do(ctx context.Context, cmd Command) (Outcome, error) {
	reply := make(chan Outcome, 1)
	if !l.send(doMsg{cmd, reply}) {
		return Outcome{}, ErrEnded
	}
	select {
	case out := <-reply:
		return out, nil
	case <-ctx.Done():
		return Outcome{}, ctx.Err()
	case <-l.ended:
	}
	select { // answered while it ended
	case out := <-reply:
		return out, nil
	default:
		return Outcome{}, ErrEnded
	}
}

// Close makes the loop refuse, with ErrEnded, every command that would start a
// process: what is stopped after it stays down. It goes on with all the rest.
func (l *Loop) Close() { l.send(askMsg{func() { l.closing = true }}) }

// Snapshot returns what the loop knows now, a copy. It is also a barrier: all that
// was sent before it has been handled.
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

// jitter returns a number from -1 to 1.
func jitter() float64 { return rand.Float64()*2 - 1 }
