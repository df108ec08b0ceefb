package listener

import (
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// calmTime is how long an address that gets more connections than are counted
// is left alone.
const calmTime = 2 * time.Second

// arrivals counts the new connections of a share since its address was last
// given other shares to choose from.
//
// An epoll is no use for that: it looks at the socket again before it tells, and
// misses what a quick worker has accepted by then (5 of 100 on an idle machine,
// more on a busy one). A poll by io_submit(2) keeps what the wake-up itself says.
// It asks for POLLPRI, which the wake-up of a listening socket has among its
// events and its state never has, so it tells of the edge alone. It tells once,
// and is asked again: of a burst one may be counted, which is what makes the load
// of it small. Where io_setup(2) is refused, shares are chosen at random.
type arrivals struct {
	count int
	armed bool
	call  *iocb
}

// iocb is struct iocb (linux/aio_abi.h) of a little-endian machine.
type iocb struct {
	data         uint64
	key, rwFlags uint32
	opcode       uint16
	priority     int16
	fd           uint32
	events       uint64
	nbytes       uint64
	offset       int64
	reserved     uint64
	flags, resfd uint32
}

// ioEvent is struct io_event.
type ioEvent struct {
	data, obj uint64
	res, res2 int64
}

const (
	iocbCmdPoll   = 5
	iocbFlagResFD = 1
	maxRequests   = 4096 // polls at a time; shares beyond are not counted
)

// counter is the context of the polls. Its goroutine ends with Close.
type counter struct {
	ctx     uintptr
	eventfd int // the pump's
	pump    *pump
	armed   map[uint64]*share // by seq
}

// expect arms the polls of an address whose connections are to be counted.
func (t *Table) expect(s *socket) {
	if len(s.choice) < 2 || s.busy || !t.startCounter() {
		return
	}
	for _, h := range s.choice {
		if !h.armed && len(t.counter.armed) < maxRequests {
			t.arm(h)
		}
	}
}

// startCounter makes the counter with the first address that has shares to
// choose from. It is tried once.
func (t *Table) startCounter() bool {
	if t.counter != nil || t.uncounted {
		return t.counter != nil
	}
	t.uncounted = true
	c := &counter{armed: map[uint64]*share{}}
	if _, _, errno := unix.Syscall(unix.SYS_IO_SETUP, maxRequests, uintptr(unsafe.Pointer(&c.ctx)), 0); errno != 0 {
		return false
	}
	var err error
	if c.eventfd, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err == nil {
		c.pump, err = newPump(c.eventfd, "eventfd")
	}
	if err != nil {
		unix.Syscall(unix.SYS_IO_DESTROY, c.ctx, 0, 0)
		return false
	}
	t.counter = c
	t.startPump(c.pump, func() {
		var buf [8]byte
		poll := func(fd int) readiness {
			switch _, err := unix.Read(fd, buf[:]); err {
			case nil:
				return something
			case unix.EAGAIN, unix.EINTR:
				return nothing
			}
			return ended
		}
		c.pump.run(poll, func() { t.do(t.arrive) })
	})
	return true
}

// arm asks for the next connection of a share.
func (t *Table) arm(h *share) {
	if h.call == nil {
		h.call = &iocb{}
	}
	*h.call = iocb{data: h.seq, opcode: iocbCmdPoll, fd: uint32(h.fd), events: unix.POLLPRI,
		flags: iocbFlagResFD, resfd: uint32(t.counter.eventfd)}
	calls := [1]*iocb{h.call}
	n, _, errno := unix.Syscall(unix.SYS_IO_SUBMIT, t.counter.ctx, 1, uintptr(unsafe.Pointer(&calls)))
	if h.armed = errno == 0 && n == 1; h.armed {
		t.counter.armed[h.seq] = h
	}
}

// arrive counts the connections that have come.
func (t *Table) arrive() {
	var events [64]ioEvent
	var none unix.Timespec
	changed := map[*socket]bool{}
	for {
		n, _, errno := unix.Syscall6(unix.SYS_IO_GETEVENTS, t.counter.ctx, 0, uintptr(len(events)),
			uintptr(unsafe.Pointer(&events)), uintptr(unsafe.Pointer(&none)), 0)
		if errno != 0 || n == 0 {
			break
		}
		for _, e := range events[:n] {
			h := t.counter.armed[e.data]
			delete(t.counter.armed, e.data)
			if h == nil {
				continue // its address was closed
			}
			h.armed = false
			if s := h.of; t.inodes[h.inode] == h && h.chosen() && !s.busy {
				h.count++
				s.busy = !s.arrived.take(time.Now())
				changed[s] = true
			}
		}
	}
	for s := range changed {
		if s.busy {
			t.startCalming()
		}
		t.steer(s)
	}
}

// startCalming makes the table count again, calmTime from now.
func (t *Table) startCalming() {
	if !t.quiet && !t.adopting && !t.calming {
		t.calming = true
		t.calm.Reset(calmTime)
	}
}

// count again.
func (t *Table) calmDown() {
	t.calming = false
	for _, s := range t.sockets {
		if !s.busy || len(s.shares) < 2 {
			continue
		}
		s.busy = false
		for _, h := range s.choice {
			h.count = 0
		}
		t.steer(s)
	}
}

// disarm cancels the poll of a share that is about to be closed: it keeps the
// open file, some milliseconds longer than we do.
func (t *Table) disarm(h *share) {
	if !h.armed {
		return
	}
	var e ioEvent
	unix.Syscall(unix.SYS_IO_CANCEL, t.counter.ctx, uintptr(unsafe.Pointer(h.call)), uintptr(unsafe.Pointer(&e)))
	delete(t.counter.armed, h.seq)
	h.armed = false
}
