package logs

import (
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// mux wakes files: one epoll instance for all pipes, armed with EPOLLIN|EPOLLONESHOT, so a worker's writes cost
// nothing while its pipe waits for its turn. The epoll descriptor is itself in Go's poller, so no thread blocks.
// Naps run on a timerfd in the same epoll: Go's own timers are rounded up to a millisecond when the process is
// idle, in which a fast worker fills its pipe and stands still.
type mux struct {
	epfd  int
	timer int
	poll  *os.File // owns epfd
	done  chan struct{}

	mu      sync.Mutex
	streams map[uint64]*stream
	lastID  uint64
	naps    map[*file]time.Time
	armed   time.Time // when timer fires; zero: not armed
}

const timerID = 0 // the epoll data of the timerfd; streams count from 1

func newMux() (*mux, error) {
	epfd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	timer, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	if err != nil {
		unix.Close(epfd)
		return nil, os.NewSyscallError("timerfd_create", err)
	}
	err = unix.EpollCtl(epfd, unix.EPOLL_CTL_ADD, timer, &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET})
	if err == nil {
		err = unix.SetNonblock(epfd, true) // before os.NewFile, or it would not be pollable
	}
	if err != nil {
		unix.Close(epfd)
		unix.Close(timer)
		return nil, os.NewSyscallError("epoll_ctl", err)
	}
	m := &mux{epfd: epfd, timer: timer, poll: os.NewFile(uintptr(epfd), "logs-epoll"), done: make(chan struct{}),
		streams: make(map[uint64]*stream), naps: make(map[*file]time.Time)}
	conn, err := m.poll.SyscallConn()
	if err != nil {
		m.poll.Close()
		unix.Close(timer)
		return nil, err
	}
	go m.run(conn) // ends when close closes poll
	return m, nil
}

// close ends the goroutine. No stream may be armed any more.
func (m *mux) close() {
	m.poll.Close()
	<-m.done
	unix.Close(m.timer)
}

func (m *mux) run(conn syscall.RawConn) {
	defer close(m.done)
	var events [64]unix.EpollEvent
	n := 0
	wait := func(fd uintptr) bool {
		for {
			var err error
			if n, err = unix.EpollWait(int(fd), events[:], 0); err != unix.EINTR {
				return n > 0
			}
		}
	}
	for {
		if conn.Read(wait) != nil {
			return
		}
		for _, ev := range events[:n] {
			id := uint64(uint32(ev.Fd)) | uint64(uint32(ev.Pad))<<32
			if id == timerID {
				m.expire()
			} else if st := m.lookup(id); st != nil {
				st.file.ready(st)
			}
		}
	}
}

func (m *mux) lookup(id uint64) *stream {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.streams[id]
}

// add registers st, disarmed. Events carry a number and not the descriptor, so an event that is on its way when a
// stream is closed can't hit the next one with the same descriptor.
func (m *mux) add(st *stream) error {
	m.mu.Lock()
	m.lastID++
	st.id = m.lastID
	m.streams[st.id] = st
	m.mu.Unlock()
	// EPOLLHUP can't be masked: without EPOLLONESHOT a pipe that is closed before it is armed would fire for ever.
	if err := unix.EpollCtl(m.epfd, unix.EPOLL_CTL_ADD, st.fd, st.event(unix.EPOLLONESHOT)); err != nil {
		m.forget(st)
		return os.NewSyscallError("epoll_ctl", err)
	}
	return nil
}

// arm asks for one wake-up of st when there is something to read, at once if there is.
func (m *mux) arm(st *stream) {
	// It can fail only for a descriptor that is not registered (ENOENT, EBADF), a mistake of this package.
	_ = unix.EpollCtl(m.epfd, unix.EPOLL_CTL_MOD, st.fd, st.event(unix.EPOLLIN|unix.EPOLLONESHOT))
}

// remove takes st out. It must come before close(2): a dup elsewhere would keep the registration alive.
func (m *mux) remove(st *stream) {
	_ = unix.EpollCtl(m.epfd, unix.EPOLL_CTL_DEL, st.fd, nil)
	m.forget(st)
}

func (m *mux) forget(st *stream) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.streams, st.id)
}

func (st *stream) event(events uint32) *unix.EpollEvent {
	return &unix.EpollEvent{Events: events, Fd: int32(uint32(st.id)), Pad: int32(uint32(st.id >> 32))}
}

// nap wakes f at due. A file has one nap; a later one replaces it.
func (m *mux) nap(f *file, due time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.naps[f] = due
	if m.armed.IsZero() || due.Before(m.armed) {
		m.set(due)
	}
}

// wakeNever forgets the nap of f.
func (m *mux) wakeNever(f *file) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.naps, f)
}

func (m *mux) expire() {
	var count [8]byte
	_, _ = unix.Read(m.timer, count[:]) // EAGAIN: set anew meanwhile
	m.mu.Lock()
	defer m.mu.Unlock()
	m.armed = time.Time{}
	now := time.Now()
	var next time.Time
	for f, due := range m.naps {
		if !due.After(now) {
			delete(m.naps, f)
			f.poke()
		} else if next.IsZero() || due.Before(next) {
			next = due
		}
	}
	if !next.IsZero() {
		m.set(next)
	}
}

// set arms the timerfd; mu is held.
func (m *mux) set(due time.Time) {
	m.armed = due
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(max(int64(time.Until(due)), 1))}
	_ = unix.TimerfdSettime(m.timer, 0, &spec, nil) // fails for a bad descriptor or value only
}
