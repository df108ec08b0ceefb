package handover

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"runtime"
	"slices"
	"time"

	"supervisor/supervisor/fault"
)

// Upgrade is what the running supervisor needs to be replaced by another process
// of the same or another binary.
//
// The handshake has two phases, over a SOCK_SEQPACKET socket that tableflip passes
// on (old: < >, new: what it answers):
//
//	< hello     version, schemas that it reads
//	> state     the state and every held descriptor
//	< adopted   it has built everything, and reads and touches nothing
//	            the old one holds still (Quiesce)
//	> final     what has changed since state
//	< ready     it has only to be told to begin
//	            the holder is told of the new main process (Commit)
//	> commit    the old one ends, the new one begins
//	            tableflip's own ready
//
// Up to Commit everything that fails, on whichever side, leaves the old one as it
// was. A new process that is not told to begin ends and has touched nothing. So of
// both at most one acts at any instant, whichever is killed. tableflip hears of the
// ready last, since it gives each process one ready successor: what fails before may
// be tried again.
type Upgrade struct {
	// Binary is what is started, an absolute path, with Args after it. Its folder is
	// the one in which this process was started.
	Binary string
	Args   []string
	// Env is its environment, nil for this process's own. LISTEN_*, WATCHDOG_PID and
	// tableflip's sentinel are left out.
	Env []string
	// Output gets what it writes to stdout and stderr before it says ready; afterwards
	// it has this process's. nil: this process's stderr.
	Output io.Writer

	Lock    *os.File          // nil for none
	Control *net.UnixListener // nil for none; it no longer unlinks its path on Close

	// Held are the descriptors by name that the new process gets. Its answer may
	// change up to the end of Quiesce: then the new process is told the difference.
	Held func() map[string]int
	// Schema is the version of what State and Quiesce return.
	Schema int
	// State is the state as it is now; it is of no meaning here.
	State func() ([]byte, error)
	// Quiesce makes this process hold still: when it returns nothing is read,
	// accepted, started or signalled, and nothing is closed. It returns what has
	// changed since State. Its context ends when the new process is given up.
	Quiesce func(ctx context.Context) ([]byte, error)
	// Resume undoes Quiesce, also one that has failed.
	Resume func()
	// Commit tells the holder that the main process is now another (MAINPID, then a
	// barrier). Nobody serves anything meanwhile, so it has to bound its waits itself.
	// An error means that the holder was not told: the new process is ended and this
	// one goes on.
	Commit func(successor int) error

	limits limits // zero: the defaults; tests have others
}

// limits are how long the new process may take.
type limits struct {
	hello  time.Duration // from its start to its hello
	adopt  time.Duration // from its hello to adopted
	freeze time.Duration // from adopted to ready, in which nobody serves anything
}

func (l limits) of(s step) time.Duration {
	switch s {
	case stepHello:
		return l.hello
	case stepAdopt:
		return l.adopt
	}
	return l.freeze
}

// defaults are for a machine in trouble; a median upgrade takes 3 ms in all, and
// one with 1,000 workers 35 ms. Their sum leaves Commit some 20 s of flipTimeout.
var defaults = limits{hello: 15 * time.Second, adopt: 20 * time.Second, freeze: 2 * time.Second}

// burialTimeout is how long the end of a killed process is waited for.
const burialTimeout = 5 * time.Second

// Run lets a new process take over. nil: it has, and this process has to exit at
// once, without another act. An error is an *UpgradeError: this process goes on as
// before, the new one is gone, and Resume was called if Quiesce was.
//
// ctx can call the upgrade off until the new process is ready. There is one
// upgrade at a time (ErrUpgrading).
func (u Upgrade) Run(ctx context.Context) error {
	if !upgrading.CompareAndSwap(false, true) {
		return &UpgradeError{Err: ErrUpgrading}
	}
	defer upgrading.Store(false)
	if u.limits == (limits{}) {
		u.limits = defaults
	}
	if u.Output == nil {
		u.Output = os.Stderr
	}
	a := &attempt{Upgrade: u, who: u.Binary, heard: make(chan parcel), quit: make(chan struct{})}
	if err := a.run(ctx); err != nil {
		return &UpgradeError{Err: err, Words: a.undo()}
	}
	a.forget()
	return nil
}

// attempt is one Run.
type attempt struct {
	Upgrade
	who string // the new process, for a user

	wire   *wire
	theirs uint64        // inode of the other end
	words  *words        // what it writes
	over   <-chan error  // how tableflip ended it; nil before the start, and once received
	heard  chan parcel   // what it says; closed when it says no more
	broken error         // why it can't be understood; read when heard is closed
	quit   chan struct{} // closed when nobody listens to heard any more

	newcomer *newcomer      // nil before its hello
	sent     map[string]int // the descriptors that it has, by our numbers
	quiet    bool           // Quiesce was called
	flipped  bool           // out of turn, tableflip was told that it is ready
}

func (a *attempt) run(ctx context.Context) error {
	if err := a.start(ctx); err != nil {
		return err
	}
	if err := a.meet(ctx); err != nil {
		return err
	}
	err := a.within(ctx, stepAdopt, time.Now(), func(context.Context) error { return a.hand() })
	if err != nil {
		return err
	}
	if err := a.freeze(ctx); err != nil {
		return err
	}
	return a.leave()
}

// within does a step that waits for the new process in one way or another. When it
// takes too long from begin, or is called off, the new process is killed and told
// nothing more, which ends whatever waits.
func (a *attempt) within(ctx context.Context, s step, begin time.Time, do func(context.Context) error) error {
	limit := a.limits.of(s)
	limited, cancel := context.WithDeadlineCause(ctx, begin.Add(limit), s.late(a.who, limit))
	defer cancel()
	newcomer := a.newcomer
	end := func() {
		newcomer.kill()
		a.wire.end()
	}
	ended := make(chan struct{})
	stop := context.AfterFunc(limited, func() {
		end()
		close(ended)
	})
	err := do(limited)
	switch stopped := stop(); {
	case limited.Err() == nil:
		return err
	case stopped: // do was quicker to see the end of the context
		end()
	default:
		<-ended // before the descriptors' numbers are another's
	}
	if ctx.Err() != nil {
		return fmt.Errorf("it was called off: %w", context.Cause(ctx))
	}
	return context.Cause(limited)
}

// meet waits for the hello and looks at who it is.
func (a *attempt) meet(ctx context.Context) error {
	var hello parcel
	err := a.within(ctx, stepHello, time.Now(), func(context.Context) (err error) {
		hello, err = a.expect(msgHello, stepHello)
		return err
	})
	if err != nil {
		return err
	}
	fault.Point("upgrade.hello")
	if a.newcomer, err = openNewcomer(hello.pid); err != nil {
		return err
	}
	a.who = fmt.Sprintf("the new supervisor (pid %d, version %s)", hello.pid, hello.Version)
	if !slices.Contains(hello.Schemas, a.Schema) {
		return schemaError(a.Schema, hello.Schemas)
	}
	return nil
}

// hand sends the state and the descriptors and waits until they are adopted.
func (a *attempt) hand() error {
	state, err := a.State()
	if err != nil {
		return err
	}
	if err := a.sendSealed(message{Kind: msgState, Schema: a.Schema}, state, 1, 2); err != nil {
		return a.unheard(err, stepAdopt)
	}
	held := a.Held()
	a.sent = make(map[string]int, len(held))
	if err = a.sendFDs(held, slices.Sorted(maps.Keys(held))); err == nil {
		err = a.wire.send(message{Kind: msgSent})
	}
	if err != nil {
		return a.unheard(err, stepAdopt)
	}
	fault.Point("upgrade.sent")
	if _, err := a.expect(msgAdopted, stepAdopt); err != nil {
		return err
	}
	fault.Point("upgrade.adopted")
	return nil
}

// freeze holds still, tells what has changed and waits for ready. All of it has
// one limit.
func (a *attempt) freeze(ctx context.Context) error {
	begin := time.Now()
	var final []byte
	a.quiet = true
	err := a.within(ctx, stepQuiet, begin, func(ctx context.Context) (err error) {
		if final, err = a.Quiesce(ctx); err != nil {
			err = fmt.Errorf("cannot hold still: %w", err)
		}
		return err
	})
	if err != nil {
		return err
	}
	fault.Point("upgrade.quiet")
	err = a.within(ctx, stepReady, begin, func(context.Context) error {
		err := a.sendChanges()
		if err == nil {
			err = a.sendSealed(message{Kind: msgFinal}, final)
		}
		if err != nil {
			return a.unheard(err, stepReady)
		}
		_, err = a.expect(msgReady, stepReady)
		return err
	})
	if err != nil {
		return err
	}
	fault.Point("upgrade.ready")
	if a.newcomer.ended(0) {
		return stepBegin.lost(a.who, "")
	}
	return nil
}

// leave tells the holder and the new process. From Commit on there is no way back:
// should the new one be gone by now, its end is known to the holder, which starts
// another daemon.
func (a *attempt) leave() error {
	if err := a.Commit(a.newcomer.pid); err != nil {
		return fmt.Errorf("cannot name the new supervisor upward: %w", err)
	}
	fault.Point("upgrade.mainpid")
	a.wire.send(message{Kind: msgCommit})
	fault.Point("upgrade.commit")
	return nil
}

// undo ends the new process and makes this one go on. It returns the new one's last
// words.
func (a *attempt) undo() []string {
	if a.newcomer == nil && a.over != nil {
		killHolders(a.theirs)
	}
	a.newcomer.kill()
	if a.quiet {
		a.Resume() // at once: a new process that was not told to begin touches nothing
	}
	if a.over != nil && <-a.over == nil || a.flipped {
		a.newcomer.ended(burialTimeout)
	}
	words := a.forget()
	// tableflip leaves its ends of the pipes to the collector, and so what its names
	// have stood for before.
	runtime.GC()
	return words
}

// forget closes what the attempt has made.
func (a *attempt) forget() (lines []string) {
	close(a.quit)
	if a.words != nil {
		lines = a.words.end()
	}
	if a.wire != nil {
		a.wire.close()
	}
	a.newcomer.close()
	return lines
}
