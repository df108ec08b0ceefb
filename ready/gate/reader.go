package gate

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"supervisor/supervisor/fault"
)

// window is the time in which a channel may use its budget; then its reader pauses until the
// window is over, and the worker's words wait in the kernel.
const window = 100 * time.Millisecond

// past is a deadline that ends a wait at once.
var past = time.Unix(1, 0)

// reader is the goroutine that reads one channel.
type reader struct {
	// read waits for something, deals with it, and returns what it cost of the budget; io.EOF
	// when the channel is over.
	read     func() (cost int, err error)
	deadline func(time.Time) error
	budget   budget
	bad      *reporter
	stop     chan struct{} // closed by halt; nil when the goroutine is not to run
	done     chan struct{} // closed by the goroutine when it touches nothing any more
	ended    chan struct{} // closed by the goroutine when the channel has ended
}

func newReader(read func() (int, error), deadline func(time.Time) error, perWindow int, bad *reporter) *reader {
	return &reader{read: read, deadline: deadline, budget: budget{limit: perWindow}, bad: bad, ended: make(chan struct{})}
}

// start runs the goroutine, which ends with the channel or by halt.
func (r *reader) start() {
	if r.stop != nil || r.isOver() {
		return
	}
	r.deadline(time.Time{})
	r.stop, r.done = make(chan struct{}), make(chan struct{})
	go r.run(r.stop, r.done)
}

func (r *reader) run(stop, done chan struct{}) {
	defer close(done)
	for {
		cost, err := r.read()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return
		}
		if err != nil {
			if err != io.EOF {
				r.bad.say("broken", "cannot read it: %v", err)
			}
			close(r.ended)
			return
		}
		fault.Point("gate.consumed")
		pause := r.budget.spend(cost, time.Now())
		if pause == 0 {
			continue
		}
		t := time.NewTimer(pause)
		select {
		case <-t.C:
		case <-stop:
			t.Stop()
			return
		}
	}
}

func (r *reader) isOver() bool {
	select {
	case <-r.ended:
		return true
	default:
		return false
	}
}

// halt tells the goroutine to end, and join waits for it.
func (r *reader) halt() {
	if r.stop != nil {
		close(r.stop)
		r.stop = nil
		r.deadline(past)
	}
}

func (r *reader) join() {
	if r.done != nil {
		<-r.done
	}
}

// budget bounds what a channel may cost in a window.
type budget struct {
	limit int
	used  int
	since time.Time
}

// spend counts a cost and returns how long to pause: 0 while the budget lasts.
func (b *budget) spend(cost int, now time.Time) time.Duration {
	if now.Sub(b.since) >= window {
		b.since, b.used = now, 0
	}
	b.used += cost
	if b.used < b.limit {
		return 0
	}
	return max(b.since.Add(window).Sub(now), 0)
}

// reporter says each kind of misuse once. It belongs to the channel's reader.
type reporter struct {
	g       *Gates
	channel Channel
	said    []string
}

func (r *reporter) say(kind, format string, args ...any) {
	if slices.Contains(r.said, kind) {
		return
	}
	r.said = append(r.said, kind)
	r.g.facts(Bad{Worker: r.g.worker, Channel: r.channel, Why: fmt.Sprintf(format, args...)})
}

// readPipe hands what is in a pipe to heard, up to a buffer full, and then takes it out.
func readPipe(fd int, buf []byte, heard func(p []byte)) (int, error) {
	n, err := peekPipe(fd, buf)
	if err == unix.EMFILE || err == unix.ENFILE || err == unix.ENOMEM {
		return drainPipe(fd, buf, heard) // to hear it at all is more than to hear it twice
	}
	if err != nil || n == 0 {
		return 0, err
	}
	heard(buf[:n])
	for rest := n; rest > 0; {
		k, err := readSome(unix.Read(fd, buf[:rest]))
		if err != nil {
			break // it was there, so it can't be
		}
		rest -= k
	}
	return n, nil
}

// drainPipe takes out first what it hands to heard.
func drainPipe(fd int, buf []byte, heard func(p []byte)) (int, error) {
	n, err := readSome(unix.Read(fd, buf))
	if err == nil && n > 0 {
		heard(buf[:n])
	}
	return n, err
}

// peekPipe reads what is in a pipe and leaves it there: tee(2) copies it into one of our own.
func peekPipe(fd int, buf []byte) (int, error) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return 0, err
	}
	defer unix.Close(p[0])
	defer unix.Close(p[1])
	copied, err := unix.Tee(fd, p[1], len(buf), unix.SPLICE_F_NONBLOCK)
	n, err := readSome(int(copied), err)
	if err != nil || n == 0 {
		return 0, err
	}
	return readSome(unix.Read(p[0], buf[:n]))
}

// readSome is read(2) with EINTR and the end of a channel settled: 0 bytes, and the reset that a
// socket reports when its peer closed with our words unread, are io.EOF.
func readSome(n int, err error) (int, error) {
	switch {
	case err == unix.ECONNRESET, err == nil && n == 0:
		return 0, io.EOF
	case err == unix.EINTR:
		return 0, nil
	case err != nil:
		return 0, err
	}
	return n, nil
}
