package listener

import (
	"maps"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// socket is a held address. The table's goroutine owns it.
type socket struct {
	key  key
	app  string // "": it is nobody's
	addr string // as shown
	seq  uint64 // order of coming

	path     string // AF_UNIX
	dev, ino uint64 // AF_UNIX: the file at path, to unlink no other's

	given bool   // somebody else has it too, and gives it again: it is never closed
	name  string // by which it was given
	as    string // as which it is declared, if that is another address than its own

	declared bool
	adorned  bool // its file has got its owner and mode
	adorning bool // or is getting them

	first  *share   // what workers share that are not even
	shares []*share // in the kernel's order; one if nobody is even
	steering
}

// share is one socket of an address, held by us.
type share struct {
	of    *socket
	seq   uint64 // order of coming, and the name in the store
	fd    int
	inode uint64
	mptcp bool // no program can be attached by way of it

	listening bool
	hangups   bucket // how many are told

	owners    map[uint64]*owner // the workers that it was given to
	listeners map[uint64][]int  // worker -> its processes that called listen
	origin    uint64            // the worker that brought it or, if even, got it last; 0: us
	since     time.Time         // when it was held or given
	settled   bool              // it was found open settleTime after that
	handing   int               // copies on their way into a worker
	version   uint64            // +1 for every hand-out

	freed     time.Time // when its last owner left it
	withdrawn bool      // that one was out of accept before
	last      uint64    // that one
	arrivals
}

// storeName is the name of a socket's descriptor in the store.
func storeName(seq uint64) string { return "l" + strconv.FormatUint(seq, 10) }

// guess names a worker that may have shut the socket down: the only one there
// is.
func (h *share) guess() uint64 {
	if len(h.listeners) != 1 {
		return 0
	}
	for id := range h.listeners {
		return id
	}
	return 0
}

// heard notes that a process of a worker listens, and tells if that is new.
func (h *share) heard(worker uint64, pid int) bool {
	pids := h.listeners[worker]
	if slices.Contains(pids, pid) {
		return false
	}
	if len(pids) == maxListeners {
		pids = pids[1:]
	}
	if h.listeners == nil {
		h.listeners = map[uint64][]int{}
	}
	h.listeners[worker] = append(pids, pid)
	return true
}

// pids are processes of its workers: the main ones, and those that listen on it.
func (h *share) pids() (all []int) {
	for id, o := range h.owners {
		if o.PID > 0 {
			all = append(all, o.PID)
		}
		all = append(all, h.listeners[id]...)
	}
	return all
}

// serves tells if a process of the worker has called listen on it.
func (s *socket) serves(worker uint64) bool {
	return slices.ContainsFunc(s.shares, func(h *share) bool { return h.listeners[worker] != nil })
}

func (s *socket) describe() Socket {
	d := Socket{Addr: s.addr, Inode: s.first.inode, Declared: s.declared, Listening: s.first.listening}
	workers := map[uint64]bool{}
	for i, h := range s.shares {
		for id := range h.listeners {
			workers[id] = true
		}
		d.Shares = append(d.Shares, Share{Inode: h.inode, Index: i, Workers: slices.Sorted(maps.Keys(h.owners))})
	}
	d.Workers = slices.Sorted(maps.Keys(workers))
	return d
}

// candidate is a worker's socket between bind and listen. There is no copy of
// it, only the way to it, except where taking it is refused (own).
type candidate struct {
	key   key
	addr  string
	path  string // AF_UNIX
	inode uint64
	tgid  int
	fd    int // in the process tgid
	by    *member
	own   int // our copy where we had to make the socket ourselves, else -1
	since time.Time
}

// member is an attached worker.
type member struct {
	*owner
	pump       *pump
	shared     bool         // what is in hand outlives this process
	adopted    bool         // it was attached by an earlier daemon before
	candidates []*candidate // oldest first
	facts      bucket       // Bound, Refused, Closed
	heard      bucket       // Listening, which a storm of the others must not drown
	looks      bucket
}

// inodeOf gives the inode of the socket behind fd.
func inodeOf(fd int) (uint64, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return 0, err
	}
	return st.Ino, nil
}

// duplicate copies fd, close-on-exec.
func duplicate(fd int) (int, error) { return unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0) }
