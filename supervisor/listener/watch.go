package listener

import (
	"errors"
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
func (t *Table) watchSocket(s *socket) {
	err := t.startWatch()
	if err == nil {
		event := unix.EpollEvent{Events: unix.EPOLLET, Fd: int32(s.fd)}
		err = unix.EpollCtl(t.watch.epfd, unix.EPOLL_CTL_ADD, s.fd, &event)
	}
	if err != nil {
		t.unavailable(0, s.app, "cannot watch "+s.addr+" for shutdown(2): "+err.Error(), "raise the supervisor's limit of open files")
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
func (w *watch) remove(s *socket) {
	_ = unix.EpollCtl(w.epfd, unix.EPOLL_CTL_DEL, s.fd, nil)
}

// errUnixShutdown is why a unix socket can't listen again.
var errUnixShutdown = errors.New("a unix socket that was shut down can't listen again")

// hangup listens again on the socket that has fd.
func (t *Table) hangup(fd int, events uint32) {
	if events&unix.EPOLLHUP == 0 {
		return
	}
	for _, s := range t.sockets {
		if s.fd != fd {
			continue
		}
		if !hungUp(fd) {
			return // the number is another socket's by now
		}
		err := t.listenAgain(s, minBacklog)
		if err == nil && s.key.isUnix() {
			err, s.listening = errUnixShutdown, false
		}
		if s.hangups.take(time.Now()) {
			t.facts(Hung{App: s.app, Addr: s.addr, Worker: s.guess(), Err: err})
		}
		return
	}
}

func hungUp(fd int) bool {
	fds := []unix.PollFd{{Fd: int32(fd)}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n == 1 && fds[0].Revents&unix.POLLHUP != 0
}
