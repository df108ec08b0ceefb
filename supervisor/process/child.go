package process

import (
	"cmp"
	"errors"
	"maps"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"supervisor/supervisor/fault"
)

// Child is one worker of ours, from the fork of its shim, or its adoption, to its
// empty group.
//
// Until Go has returned, one goroutine at a time may use it. Afterwards every
// method may be called from anywhere: a goroutine of the child's own does the
// work and owns the state; it ends with the group.
type Child struct {
	pid       int
	startTime uint64
	pidfd     int
	pidFile   *os.File // pidfd in Go's poller; nil: adopted, and reaped before
	filterErr error
	deserted  func() bool // Spec's
	adopted   *Adoption   // nil: we have started it

	// Until Go or Abort.
	spec   Spec
	sock   *os.File
	notify int

	requests chan func()
	exit     chan Exit
	gone     chan struct{}
	over     chan struct{} // closed when the goroutine has ended

	// The goroutine's own.
	exited   bool
	killing  bool
	quiet    bool
	held     bool                  // Release is awaited
	patience bool                  // a look for the exit status has been put off
	empty    int                   // scans in a row that found nobody
	stopped  map[Identity]struct{} // who got the stop signal
	rest     []Process             // members to wait for, the watched one first
	watching *os.File              // pidfd that is waited for; nil: none
	watched  chan error            // the watcher's result
	retry    <-chan time.Time      // after a scan that failed for want of descriptors
}

// Identity is a process for as long as the machine is up. StartTime is in clock
// ticks since boot (StartTime).
type Identity struct {
	PID       int
	StartTime uint64
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

// PidFD is the main process's pidfd, non-blocking and close-on-exec; -1 for an
// adopted one of which nobody has kept any. It stays the child's, and is closed
// when the group is empty, or at Release: duplicate it to keep it.
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
// reaped: nothing of the worker is left. One that is held (Spec.HoldZombie) is
// still a zombie then.
func (c *Child) Gone() <-chan struct{} { return c.gone }

// Release lets a held child reap its main process and close the pidfd, once it is
// gone: its end is on record. It returns at once; between Quiesce and Resume it
// waits for Resume. It may be called before Gone, and for a child that is not held.
// One that is held and never released keeps a goroutine, a zombie and a descriptor.
func (c *Child) Release() { c.do(func() { c.held = false }) }

// Signalled lists who has had the stop signal, by pid: those of Adoption, and whom
// Stop has reached. It may be called at any time after Go.
func (c *Child) Signalled() []Identity {
	var list []Identity
	collect := func() { list = slices.Collect(maps.Keys(c.stopped)) }
	if !c.do(collect) {
		collect() // the goroutine is no more, or never was
	}
	slices.SortFunc(list, func(a, b Identity) int { return cmp.Compare(a.PID, b.PID) })
	return list
}

// run begins the child's life as a worker.
func (c *Child) run() {
	c.requests = make(chan func())
	c.exit = make(chan Exit, 1)
	c.gone = make(chan struct{})
	c.over = make(chan struct{})
	c.watched = make(chan error, 1)
	go c.own() // ends with the group, or with Release
}

// own is the goroutine that owns the state.
func (c *Child) own() {
	defer close(c.over)
	c.watchMain()
	for told := false; ; {
		if c.exited && c.watching == nil && c.retry == nil && !c.quiet {
			if !c.held {
				c.reap()
			}
			if !told {
				told = true
				close(c.gone)
			}
			if !c.held {
				return
			}
		}
		select {
		case f := <-c.requests:
			f()
		case <-c.watched:
			c.advance()
		case <-c.retry:
			c.retry = nil
			c.advance()
		}
	}
}

// do runs f in the owning goroutine; false if that has ended, or never began.
func (c *Child) do(f func()) bool {
	if c.requests == nil {
		return false
	}
	done := make(chan struct{})
	select {
	case c.requests <- func() { f(); close(done) }:
		<-done
		return true
	case <-c.over:
		return false
	}
}

// watch waits for the end of a pidfd's process, in a goroutine that ends with
// it or with Quiesce.
func (c *Child) watch(f *os.File) {
	c.watching = f
	go func() { c.watched <- awaitReadable(f) }()
}

// watchMain waits for the main process's end.
func (c *Child) watchMain() {
	if c.pidFile == nil { // adopted too late for that
		c.advance()
		return
	}
	c.pidFile.SetReadDeadline(time.Time{})
	c.watch(c.pidFile)
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
		status, err := c.status()
		switch {
		case errors.Is(err, unix.EAGAIN):
			c.watchMain()
			return
		case err != nil && c.putOff():
			return
		case err != nil:
			status = Status{Unknown: true}
		}
		fault.Point("exit.seen")
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
	list, err := c.group()
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
			c.killGroup(members)
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
