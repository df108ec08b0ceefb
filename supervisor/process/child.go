package process

import (
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Child is one worker of ours, from the fork of its shim to its empty group.
//
// Until Go has returned, one goroutine at a time may use it. Afterwards every
// method may be called from anywhere: a goroutine of the child's own does the
// work and owns the state; it ends with the group.
type Child struct {
	pid       int
	startTime uint64
	pidfd     int
	pidFile   *os.File // pidfd in Go's poller
	filterErr error
	deserted  func() bool // Spec's

	// Until Go or Abort.
	spec   Spec
	sock   *os.File
	notify int

	requests chan func()
	exit     chan Exit
	gone     chan struct{}
	ended    chan struct{}

	// The goroutine's own.
	exited   bool
	killing  bool
	quiet    bool
	empty    int                   // scans in a row that found nobody
	stopped  map[identity]struct{} // who got the stop signal
	rest     []Process             // members to wait for, the watched one first
	watching *os.File              // pidfd that is waited for; nil: none
	watched  chan error            // the watcher's result
	retry    <-chan time.Time      // after a scan that failed for want of descriptors
}

// identity is a process for as long as the machine is up.
type identity struct {
	pid       int
	startTime uint64
}

// Exit is the end of a worker's main process. It is a zombie until the group
// is empty.
type Exit struct {
	Status Status
	// Left counts the members of the group that were alive then.
	Left int
}

// ErrQuiet is what signalling a child gives between Quiesce and Resume.
var ErrQuiet = errors.New("the process is being handed over")

// retryDelay is how long a scan waits that failed for want of descriptors or
// memory: nothing tells when there are some again.
const retryDelay = 100 * time.Millisecond

// PID is the main process's, and the process group's number.
func (c *Child) PID() int { return c.pid }

// StartTime is the main process's, in clock ticks since boot (StartTime).
func (c *Child) StartTime() uint64 { return c.startTime }

// PidFD is the main process's pidfd, non-blocking and close-on-exec. It stays
// the child's, and is closed when the group is empty: duplicate it to keep it.
func (c *Child) PidFD() int { return c.pidfd }

// FilterErr is why the filter that was asked for could not be installed; nil
// if it was, or was not asked for. Errors: InstallFilter's, ErrNoNewPrivs.
func (c *Child) FilterErr() error { return c.filterErr }

// TakeNotifyFD gives the filter's descriptor, which is the caller's from then
// on; -1 if there is none or it was taken. It is blocking and close-on-exec.
func (c *Child) TakeNotifyFD() int {
	fd := c.notify
	c.notify = -1
	return fd
}

// Exited delivers one value when the main process of a child that Go has
// started has ended. The channel is buffered: nobody need read it.
func (c *Child) Exited() <-chan Exit { return c.exit }

// Gone is closed after that, when the group is empty and the main process
// reaped: nothing of the worker is left.
func (c *Child) Gone() <-chan struct{} { return c.gone }

// run begins the child's life as a worker.
func (c *Child) run() {
	c.requests = make(chan func())
	c.exit = make(chan Exit, 1)
	c.gone = make(chan struct{})
	c.watched = make(chan error, 1)
	c.stopped = make(map[identity]struct{})
	c.pidFile.SetReadDeadline(time.Time{})
	c.watch(c.pidFile)
	go c.own() // ends with the group
}

// own is the goroutine that owns the state.
func (c *Child) own() {
	for {
		select {
		case f := <-c.requests:
			f()
		case <-c.watched:
			c.advance()
		case <-c.retry:
			c.retry = nil
			c.advance()
		}
		if c.exited && c.watching == nil && c.retry == nil && !c.quiet {
			c.reap()
			close(c.gone)
			return
		}
	}
}

// do runs f in the owning goroutine; false if the worker is gone, or never was.
func (c *Child) do(f func()) bool {
	if c.requests == nil {
		return false
	}
	done := make(chan struct{})
	select {
	case c.requests <- func() { f(); close(done) }:
		<-done
		return true
	case <-c.gone:
		return false
	}
}

// watch waits for the end of a pidfd's process, in a goroutine that ends with
// it or with Quiesce.
func (c *Child) watch(f *os.File) {
	c.watching = f
	go func() { c.watched <- awaitReadable(f) }()
}

// advance goes on after the watched process has ended, or a scan is due: it
// takes the next process to wait for. None is left when it watches nothing and
// no retry is armed.
func (c *Child) advance() {
	if c.watching != nil && c.watching != c.pidFile {
		c.watching.Close()
	}
	c.watching = nil
	if !c.exited {
		status, err := waitExit(c.pidfd, false)
		if errors.Is(err, unix.EAGAIN) {
			c.watch(c.pidFile)
			return
		}
		if err != nil {
			status = Status{Unknown: true}
		}
		c.exited = true
		members, err := c.members()
		c.exit <- Exit{Status: status, Left: len(members)}
		c.found(members, err)
		return
	}
	if c.watchNext() {
		return
	}
	c.found(c.members())
}

// members scans for the group without the main process, if there can be one.
func (c *Child) members() ([]Process, error) {
	if c.exited && c.deserted != nil && c.deserted() {
		return nil, nil
	}
	list, err := group(c.pid)
	for i, p := range list {
		if p.PID == c.pid {
			return append(list[:i:i], list[i+1:]...), err
		}
	}
	return list, err
}

// found takes the result of a scan. An empty one counts when the next is
// empty too: /proc is read in steps, and a process that forks behind the
// reader and ends before it gets there hides its child once.
func (c *Child) found(members []Process, err error) {
	for ; err == nil; members, err = c.members() {
		if len(members) == 0 {
			if c.empty++; c.empty == 2 {
				return
			}
			continue
		}
		c.empty = 0
		if c.killing {
			unix.Kill(-c.pid, unix.SIGKILL)
		}
		c.rest = members
		if c.watchNext() {
			return
		}
	}
	c.retry = time.After(retryDelay)
}

// watchNext watches the first of the rest that still lives. One at a time is
// enough, since all must end, and a fork bomb takes one descriptor of ours.
func (c *Child) watchNext() bool {
	for len(c.rest) > 0 {
		p := c.rest[0]
		fd, err := open(p)
		if isLimit(err) {
			c.retry = time.After(retryDelay)
			return true
		}
		c.rest = c.rest[1:]
		if err != nil {
			continue
		}
		if id, err := unix.Getpgid(p.PID); err != nil || id != c.pid {
			unix.Close(fd) // it has left the group
			continue
		}
		c.watch(os.NewFile(uintptr(fd), "pidfd"))
		return true
	}
	return false
}
