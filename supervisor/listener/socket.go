package listener

import (
	"maps"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// socket is a held socket. The table's goroutine owns it.
type socket struct {
	key   key
	app   string
	addr  string // as shown
	seq   uint64 // order of coming, and the name in the store
	fd    int
	inode uint64

	path     string // AF_UNIX
	dev, ino uint64 // AF_UNIX: the file at path, to unlink no other's

	declared  bool
	mode      uint32 // of a declared unix socket
	adorned   bool   // its file has got its owner and mode
	listening bool

	origin    uint64           // the worker that brought it, 0: us
	listeners map[uint64][]int // worker -> its processes that called listen
	since     time.Time        // when it was held
	settled   bool             // it was found open settleTime after that
	hangups   bucket           // how many are told
	handing   int              // copies on their way into a worker
	version   uint64           // +1 for every hand-out
}

// file is the descriptor for the workers of a slot. The policy is `shared`:
// it is the same for all slots.
func (s *socket) file(slot int) int { return s.fd }

// storeName is the descriptor's name in the store.
func (s *socket) storeName() string { return "l" + strconv.FormatUint(s.seq, 10) }

// guess names a worker that may have shut the socket down: the only one there
// is.
func (s *socket) guess() uint64 {
	if len(s.listeners) != 1 {
		return 0
	}
	for id := range s.listeners {
		return id
	}
	return 0
}

// heard notes that a process of a worker listens, and tells if that is new.
func (s *socket) heard(worker uint64, pid int) bool {
	pids := s.listeners[worker]
	if slices.Contains(pids, pid) {
		return false
	}
	if len(pids) == maxListeners {
		pids = pids[1:]
	}
	if s.listeners == nil {
		s.listeners = map[uint64][]int{}
	}
	s.listeners[worker] = append(pids, pid)
	return true
}

func (s *socket) describe() Socket {
	return Socket{
		Addr:      s.addr,
		Inode:     s.inode,
		Workers:   slices.Sorted(maps.Keys(s.listeners)),
		Declared:  s.declared,
		Listening: s.listening,
	}
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
}

// member is an attached worker.
type member struct {
	Worker
	pump       *pump
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
