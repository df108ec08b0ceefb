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
	pending int       // spawns under way, whose descriptors can't be counted yet
	over    sync.Cond // one of them is over
}

func newRoom() *room {
	r := &room{}
	r.over.L = &r.mu
	return r
}

const (
	// perSpawn is how many descriptors a spawn takes at most at the same time; 9 of
	// them stay as long as the worker lives, and one more for each formatted stream.
	perSpawn = 20
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

// take reserves what a spawn needs, and waits for other spawns where that is all that
// is in its way. The caller gives it back when the spawn is over and what it holds is
// open. The error is errFull.
func (r *room) take() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		used, limit := openDescriptors(), descriptorLimit()
		if used+(r.pending+1)*perSpawn+min(maxSpare, limit/spareShare) <= limit {
			r.pending++
			return nil
		}
		if r.pending == 0 {
			r.over.Signal() // the next who waits finds the same
			return errFull{used, limit}
		}
		r.over.Wait()
	}
}

func (r *room) giveBack() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pending--
	r.over.Signal()
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
