package systemd

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// extendEvery is how often a start or reload that goes on is said to, and extendBy for
	// how long each time.
	extendEvery = 10 * time.Second
	extendBy    = 30 * time.Second
)

// Upward says to systemd how the service is. One goroutine speaks, in the order of the
// calls, each of which returns when its word is out. All methods may be called on a nil
// Upward, which has nobody to speak to.
type Upward struct {
	say      func(lines ...string) error
	failed   func(error)
	watchdog time.Duration
	orders   chan func()
	done     chan struct{}

	// Owned by run.
	alive   func(context.Context) error
	ready   bool
	busy    int // what must be given time
	reloads int
	status  string
	quiet   bool
	kept    []string // what is to be said when it is not quiet any more
	asking  bool
	timer   *time.Timer
}

// Manager is how systemd is spoken to.
type Manager struct {
	Say    func(lines ...string) error
	Failed func(error) // what could not be said; must not call the Upward
	// Watchdog is WATCHDOG_USEC, 0 for none. (WATCHDOG_PID is of no use: after an upgrade
	// it is a former process's.)
	Watchdog time.Duration
	// Ready: READY was said already, by whoever this process replaces.
	Ready bool
	// Quiet: nothing is said before Speak.
	Quiet bool
}

// NewUpward begins to speak, until ctx ends.
func NewUpward(ctx context.Context, m Manager) *Upward {
	u := &Upward{
		say: m.Say, failed: m.Failed, watchdog: m.Watchdog, ready: m.Ready, quiet: m.Quiet,
		orders: make(chan func()), done: make(chan struct{}),
		alive: func(context.Context) error { return nil }, timer: time.NewTimer(time.Hour),
	}
	u.timer.Stop()
	go u.run(ctx) // ends with ctx
	return u
}

// WatchdogOf reads WATCHDOG_USEC, which systemd gives a service that is to be watched; 0
// for none.
func WatchdogOf(env func(string) string) time.Duration {
	n, err := strconv.ParseInt(env("WATCHDOG_USEC"), 10, 64)
	if err != nil || n <= 0 || n > int64(24*time.Hour/time.Microsecond) {
		return 0
	}
	return time.Duration(n) * time.Microsecond
}

// run speaks. It asks whoever is watched in a goroutine of its own, and only once at a
// time: one that does not answer keeps nothing else from being said.
func (u *Upward) run(ctx context.Context) {
	defer close(u.done)
	defer u.timer.Stop()
	answers := make(chan error)
	u.arm()
	for {
		select {
		case <-ctx.Done():
			return
		case order := <-u.orders:
			order()
		case <-u.timer.C:
			u.asking = true
			alive := u.alive
			go func() { // ends with the answer, or with ctx
				err := alive(ctx)
				select {
				case answers <- err:
				case <-ctx.Done():
				}
			}()
		case err := <-answers:
			u.asking = false
			if err == nil {
				u.live()
			}
			u.arm()
		}
	}
}

// live says that who is watched has answered.
func (u *Upward) live() {
	var lines []string
	if u.watchdog > 0 && u.ready {
		lines = append(lines, "WATCHDOG=1")
	}
	if u.busy > 0 {
		lines = append(lines, extend(extendBy))
	}
	u.speak(lines...)
}

// arm sets the time of the next question, if there is to be one.
func (u *Upward) arm() {
	if u.asking {
		return // the answer arms it
	}
	next := time.Duration(0)
	if u.watchdog > 0 && u.ready {
		next = u.watchdog / 2
	}
	if u.busy > 0 && (next == 0 || next > extendEvery) {
		next = extendEvery
	}
	u.timer.Stop()
	if next > 0 {
		u.timer.Reset(next)
	}
}

func (u *Upward) speak(lines ...string) {
	if u.quiet {
		u.kept = append(u.kept, lines...)
		return
	}
	if len(lines) == 0 {
		return
	}
	if err := u.say(lines...); err != nil {
		u.failed(err)
	}
}

// do has the goroutine carry something out, and waits for it.
func (u *Upward) do(f func()) {
	if u == nil {
		return
	}
	carried := make(chan struct{})
	select {
	case u.orders <- func() { defer close(carried); f() }:
		<-carried
	case <-u.done:
	}
}

// Watch makes alive what is asked for a sign of life: it returns nil when whoever is
// watched has answered, and an error that there is no answer to be had.
func (u *Upward) Watch(alive func(context.Context) error) {
	u.do(func() { u.alive = alive })
}

// Speak ends Quiet.
func (u *Upward) Speak() {
	u.do(func() {
		u.quiet = false
		u.speak(u.kept...)
		u.kept = nil
	})
}

// Ready says that the service has started, with how it is (Status).
func (u *Upward) Ready(status string) {
	u.do(func() {
		u.ready, u.status = true, status
		u.speak("READY=1", "STATUS="+line(status))
		u.arm()
	})
}

// Status says how the service is, in one line; nothing if that was said last.
func (u *Upward) Status(status string) {
	u.do(func() {
		if status != u.status {
			u.status = status
			u.speak("STATUS=" + line(status))
		}
	})
}

// Busy says that something is under way that must be given time, until end is called.
func (u *Upward) Busy() (end func()) {
	u.do(func() { u.busy++; u.arm() })
	return func() { u.do(func() { u.busy--; u.arm() }) }
}

// Reloading says that a reload is under way, until end is called. It is Busy too. Of
// reloads at the same time the first begins and the last ends.
func (u *Upward) Reloading() (end func()) {
	u.do(func() {
		u.busy++
		if u.reloads++; u.reloads == 1 && u.ready {
			u.speak("RELOADING=1", "MONOTONIC_USEC="+strconv.FormatInt(monotonic().Microseconds(), 10))
		}
		u.arm()
	})
	return func() {
		u.do(func() {
			u.busy--
			if u.reloads--; u.reloads == 0 && u.ready {
				u.speak("READY=1")
			}
			u.arm()
		})
	}
}

// Stopping says that the service ends, and how long that may take at most.
func (u *Upward) Stopping(within time.Duration) {
	u.do(func() {
		u.ready = false
		u.speak("STOPPING=1", "STATUS=stopping", extend(within))
		u.arm()
	})
}

func extend(by time.Duration) string {
	return "EXTEND_TIMEOUT_USEC=" + strconv.FormatInt(by.Microseconds(), 10)
}

// maxStatus bounds a status in bytes: a datagram has 4,096.
const maxStatus = 1024

// line is a status as one line of a datagram.
func line(status string) string {
	b := []byte(status)[:min(len(status), maxStatus)]
	for i, c := range b {
		if c < ' ' || c == 0x7f {
			b[i] = ' '
		}
	}
	return string(b)
}

// monotonic is CLOCK_MONOTONIC (clock_gettime(2)).
func monotonic() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic(fmt.Sprintf("cannot read CLOCK_MONOTONIC: %v", err)) // there is one on every Linux
	}
	return time.Duration(ts.Nano())
}
