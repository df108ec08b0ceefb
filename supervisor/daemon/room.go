package daemon

import (
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// room says whether there are descriptors for one more worker. Without it the last
// ones go to workers, and what is left can neither take a command nor answer a bind.
type room struct {
	mu      sync.Mutex
	pending int // spawns under way, whose descriptors can't be counted yet
}

const (
	// perSpawn is how many descriptors a spawn takes at most at the same time; 8 of
	// them stay as long as the worker lives.
	perSpawn = 16
	// maxSpare are kept for requests, for binds and for looks at /proc, or as many as
	// one in spareShare where the limit is low.
	maxSpare   = 128
	spareShare = 8
)

// errFull is why no worker is spawned: the error reads "too many open files", the
// kernel's, and what to do.
type errFull struct{ used, limit int }

func (e errFull) Error() string {
	return fmt.Sprintf("%v: %d of the supervisor's %d are taken; raise its limit (ulimit -n, LimitNOFILE= in its unit) and start it again",
		unix.EMFILE, e.used, e.limit)
}

func (e errFull) Unwrap() error { return unix.EMFILE }

// take reserves what a spawn needs; the caller gives it back when the spawn is over
// and what it holds is open. The error is errFull.
func (r *room) take() (back func(), err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	used, limit := openDescriptors(), descriptorLimit()
	if used+(r.pending+1)*perSpawn+min(maxSpare, limit/spareShare) > limit {
		return nil, errFull{used, limit}
	}
	r.pending++
	return func() {
		r.mu.Lock()
		r.pending--
		r.mu.Unlock()
	}, nil
}

// openDescriptors is how many descriptors we have: the size of /proc/self/fd on Linux
// 6.2 and later, before that at least the lowest free number.
func openDescriptors() int {
	var st unix.Stat_t
	if err := unix.Stat("/proc/self/fd", &st); err == nil && st.Size > 0 {
		return int(st.Size)
	}
	fd, err := unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return 0 // not known
	}
	unix.Close(fd)
	return fd
}

// descriptorLimit is our RLIMIT_NOFILE; Go has raised the soft limit at start.
func descriptorLimit() int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 1 << 30 // not known
	}
	return int(min(limit.Cur, 1<<30))
}
