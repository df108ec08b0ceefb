package logs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// consoleWrite is PIPE_BUF: poll(2) promises room for that much in a pipe, so a write of it does not block.
const consoleWrite = 4096

// closeWait is how long Close waits for room: for a reader that reads, and is behind.
const closeWait = 300 * time.Millisecond

// Console shows each line on the daemon's own stdout or stderr, behind the label of its worker: `web:0 | text`.
// Whoever does not read them (a full pipe, a terminal that is held) loses lines, which are counted and said;
// nobody waits.
type Console struct {
	follower *Follower
	fds      [2]int
	stop     int       // eventfd that ends a wait for room
	until    time.Time // the goroutine's own, since Close: nobody is waited for any longer
	done     chan struct{}
}

// Console starts to show lines on the descriptors out and err, which stay the caller's and are not made
// non-blocking: their file descriptions are shared with whoever started the daemon. Close it before the Set.
func (s *Set) Console(out, err int) (*Console, error) {
	stop, e := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if e != nil {
		return nil, fmt.Errorf("cannot show logs: %w", os.NewSyscallError("eventfd", e))
	}
	c := &Console{follower: s.Follow(Filter{}), fds: [2]int{out, err}, stop: stop, done: make(chan struct{})}
	go c.run() // ends by Close, or with the Set
	return c, nil
}

// Close shows what waits as far as there is room for it within closeWait, and ends.
func (c *Console) Close() {
	c.follower.Close()
	_, _ = unix.Write(c.stop, []byte{1, 0, 0, 0, 0, 0, 0, 0}) // can't fail: the counter is 0
	select {
	case <-c.done:
		unix.Close(c.stop)
	case <-time.After(callWait): // a terminal that took the write and holds it: the descriptor stays with the goroutine
	}
}

func (c *Console) run() {
	defer close(c.done)
	for {
		lines, err := c.follower.Next(context.Background())
		if err != nil {
			return
		}
		var text [2][]byte
		for _, line := range lines {
			if line.Lost > 0 {
				text[Stderr] = fmt.Appendf(text[Stderr], "supervisor: %d lines were not shown\n", line.Lost)
			}
			b := &text[line.Stream]
			*b = append(append(append(append(*b, line.Label...), " | "...), line.Text...), '\n')
		}
		for kind, b := range text {
			if !c.write(kind, b) {
				c.fds[kind] = -1 // whoever read it is gone
			}
		}
	}
}

// write writes b whenever there is room and says whether the descriptor is still of use.
func (c *Console) write(kind int, b []byte) bool {
	fd := c.fds[kind]
	for fd >= 0 && len(b) > 0 {
		if !c.waitRoom(fd) {
			return true
		}
		n, err := unix.Write(fd, b[:min(len(b), consoleWrite)])
		if n > 0 {
			b = b[n:]
		} else if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) {
			return false
		}
	}
	return fd >= 0
}

// waitRoom waits until fd takes bytes; false when it did not in the time that Close gives.
func (c *Console) waitRoom(fd int) bool {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}, {Fd: int32(c.stop), Events: unix.POLLIN}}
	for {
		wait := -1
		if !c.until.IsZero() {
			fds[1].Fd = -1 // poll(2) ignores it
			wait = max(0, int(time.Until(c.until).Milliseconds()))
		}
		n, err := unix.Poll(fds, wait)
		switch {
		case err == unix.EINTR:
		case fds[0].Revents != 0:
			return true
		case n > 0: // Close
			c.until = time.Now().Add(closeWait)
		default:
			return false
		}
	}
}
