package listener

import (
	"errors"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// watch waits for hang-ups of held sockets: shutdown(2) by whoever has a copy
// takes a listening socket out of service for all. Edge-triggered, since a
// unix socket that was shut down stays so.
type watch struct {
	epfd int
	pump *pump
}

// maxHangups is how many hang-ups are taken at once.
const maxHangups = 32

// watchSocket begins to watch a held socket. Where that is impossible (no
// descriptor left) a shutdown goes unnoticed, which is said.
func (t *Table) watchSocket(h *share) {
	err := t.startWatch()
	if err == nil {
		event := unix.EpollEvent{Events: unix.EPOLLET, Fd: int32(h.fd)}
		err = unix.EpollCtl(t.watch.epfd, unix.EPOLL_CTL_ADD, h.fd, &event)
	}
	if err != nil {
		t.unavailable(0, h.of.app, "cannot watch "+h.of.addr+" for shutdown(2): "+err.Error(), "raise the supervisor's limit of open files")
	}
}

// startWatch makes the watch with the first socket. Its goroutine ends with
// Close.
func (t *Table) startWatch() error {
	if t.watch != nil {
		return nil
	}
	epfd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return err
	}
	p, err := newPump(epfd, "epoll")
	if err != nil {
		return err
	}
	t.watch = &watch{epfd: epfd, pump: p}
	t.startPump(p, func() {
		var events [maxHangups]unix.EpollEvent
		var n int
		poll := func(fd int) readiness {
			var err error
			n, err = unix.EpollWait(fd, events[:], 0)
			if err != nil && !errors.Is(err, unix.EINTR) {
				return ended
			}
			if n <= 0 {
				return nothing
			}
			return something
		}
		p.run(poll, func() {
			t.do(func() {
				for _, e := range events[:n] {
					t.hangup(int(e.Fd), e.Events)
				}
			})
		})
	})
	return nil
}

// remove must come before the socket is closed: workers have copies of the
// open file, which would keep it in the epoll set.
func (w *watch) remove(h *share) {
	_ = unix.EpollCtl(w.epfd, unix.EPOLL_CTL_DEL, h.fd, nil)
}

// errUnixShutdown is why a unix socket can't listen again.
var errUnixShutdown = errors.New("a unix socket that was shut down can't listen again")

// hangup listens again on the socket that has fd.
func (t *Table) hangup(fd int, events uint32) {
	if events&unix.EPOLLHUP == 0 {
		return
	}
	h := t.byFD(fd)
	if h == nil || !hungUp(fd) {
		return // the number is another socket's by now
	}
	err := t.listenOnceMore(h)
	if err == nil && h.of.key.isUnix() {
		err, h.listening, t.dirty = errUnixShutdown, false, true
	}
	if h.hangups.take(time.Now()) {
		t.facts(Hung{App: h.of.app, Addr: h.of.addr, Worker: h.guess(), Err: err})
	}
}

func (t *Table) byFD(fd int) *share {
	for _, h := range t.inodes {
		if h.fd == fd {
			return h
		}
	}
	return nil
}

// listenOnceMore listens on a share that was shut down. The kernel has taken
// it out of its group, moved the group's last into its place, and adds it as
// the last now. If two were shut down at once it is not known which went first;
// the order that is taken for granted then may differ from the kernel's for
// those that moved, until the address is closed.
func (t *Table) listenOnceMore(h *share) error {
	s := h.of
	i, last := slices.Index(s.shares, h), len(s.shares)-1
	s.shares[i] = s.shares[last]
	s.shares[last] = h
	if last == 0 && !h.mptcp && !s.key.isUnix() {
		// Alone it has no group any more that a program could be attached to.
		old := reusePort(h.fd, true)
		defer func() {
			_ = attach(h.fd, []int{0})
			reusePort(h.fd, old)
		}()
	}
	err := t.listenAgain(h, minBacklog)
	s.attached, t.dirty = nil, true
	t.steer(s)
	return err
}

func hungUp(fd int) bool {
	fds := []unix.PollFd{{Fd: int32(fd)}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n == 1 && fds[0].Revents&unix.POLLHUP != 0
}
