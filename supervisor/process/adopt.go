package process

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Adoption is a worker that an earlier daemon has started and we go on with.
type Adoption struct {
	Recorded
	// PidFD is the main process's pidfd that somebody has kept over the daemon's
	// death; it is the child's from then on. -1: the process is looked up by its
	// pid, which tells nothing of one that has been reaped.
	PidFD int
	// Signalled are those who have had the stop signal already.
	Signalled []Identity
	// Reported tells how a process has ended by the word of whoever has reaped it;
	// false: it has not said so (yet). It is asked where the kernel can't tell (before
	// 6.15), once or twice, by the child's own goroutine, and must not block. nil
	// never knows.
	Reported func(pid int) (Status, bool)
	// Deserted is Spec.Deserted.
	Deserted func() bool
}

// Adopt goes on with a worker that an earlier daemon has started: the child is as
// one that Go has started, and held (Spec.HoldZombie). The main process may live or
// have ended, as a zombie of whomever or reaped; its group may live on without it.
// Exited and Gone then tell so at once. A pid that is another process's by now
// passes for one that was reaped, and nobody is signalled.
//
// Where the main process was reaped and its pidfd is lost, or can't speak for the
// group (before Linux 6.9), only those members of the group are the worker's that
// bear the mark.
//
// Child.PidFD is Adoption.PidFD, unless that was not this process's: then it is
// another, or -1. Errors: want of descriptors; PidFD is closed then.
func Adopt(a Adoption) (*Child, error) {
	c := &Child{
		pid: a.PID, startTime: a.StartTime, pidfd: -1, notify: -1,
		deserted: a.Deserted, adopted: &a, held: true,
		stopped: make(map[Identity]struct{}, len(a.Signalled)),
	}
	for _, id := range a.Signalled {
		c.stopped[id] = struct{}{}
	}
	fd, err := a.pidfd()
	if err != nil {
		return nil, fmt.Errorf("cannot adopt process %d: %w", a.PID, err)
	}
	if fd >= 0 {
		c.pidfd, c.pidFile = fd, os.NewFile(uintptr(fd), "pidfd")
	}
	c.run()
	return c, nil
}

// pidfd gives a pidfd of the main process, fit for os.NewFile: the one that was
// kept, or one that is opened now; -1 if there is no such process.
func (a *Adoption) pidfd() (int, error) {
	if a.PidFD >= 0 {
		is, err := a.isOf(a.PidFD)
		if err == nil && is {
			err = unix.SetNonblock(a.PidFD, true)
		}
		if err == nil && is {
			return a.PidFD, nil
		}
		unix.Close(a.PidFD)
		if isLimit(err) {
			return -1, err
		}
	}
	fd, err := open(Process{PID: a.PID, StartTime: a.StartTime})
	if errors.Is(err, unix.ESRCH) {
		return -1, nil
	}
	return fd, err
}

// isOf tells whether a descriptor is the main process's pidfd. Of a process that
// has been reaped a pidfd tells nothing; it is believed unless the process is there.
func (a *Adoption) isOf(fd int) (bool, error) {
	for {
		pid, err := pidOf(fd)
		if err != nil || pid != a.PID && pid != reaped {
			return false, err
		}
		p, err := readStat(a.PID)
		if isLimit(err) {
			return false, err
		}
		there := err == nil && p.StartTime == a.StartTime
		if pid == reaped || there {
			return there != (pid == reaped), nil
		}
		if again, err := pidOf(fd); err != nil || again == pid {
			return false, err // a process of that pid, and not the one on record
		}
		// It was reaped meanwhile: look at what is left.
	}
}

// reaped is the pid of a pidfd whose process has been reaped.
const reaped = -1

var errNoPidFD = errors.New("not a pidfd")

// pidOf gives the pid of a pidfd's process (pidfd_open(2)); 0 if it has none in
// our pid namespace.
func pidOf(fd int) (int, error) {
	text, err := os.ReadFile("/proc/self/fdinfo/" + strconv.Itoa(fd))
	if err != nil {
		return 0, err
	}
	return parsePidOf(string(text))
}

func parsePidOf(text string) (int, error) {
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, "Pid:"); ok {
			pid, err := strconv.Atoi(strings.TrimSpace(value))
			if err != nil {
				return 0, errNoPidFD
			}
			return pid, nil
		}
	}
	return 0, errNoPidFD
}

// group lists the living members of the worker's process group. The number is the
// worker's as long as the main process is not reaped, which for a child of ours is
// so until it is gone.
func (c *Child) group() ([]Process, error) {
	members, err := group(c.pid)
	if err != nil || c.adopted == nil || len(members) == 0 {
		return members, err
	}
	// After the scan: what holds now has held during it, since a group that became
	// empty after its leader was reaped gets no member any more.
	switch main, err := readStat(c.pid); {
	case isLimit(err):
		return nil, err
	case err == nil && main.StartTime == c.startTime:
		return members, nil
	case err == nil:
		return nil, nil // a pid is given anew only when no process and no group has it
	}
	switch err := c.signalGroup(0); err {
	case nil, unix.EPERM:
		return members, nil
	case unix.ESRCH:
		return nil, nil
	}
	return c.adopted.withMark(members), nil
}

// signalGroup signals the group by the main process's pidfd, which pins the number
// even when that has been reaped. EINVAL: the kernel can't (before 6.9), or there is
// no pidfd.
func (c *Child) signalGroup(sig unix.Signal) error {
	if c.pidFile == nil {
		return unix.EINVAL
	}
	return unix.PidfdSendSignal(c.pidfd, sig, nil, unix.PIDFD_SIGNAL_PROCESS_GROUP)
}

// killGroup sends SIGKILL to the whole group at once, so that one that forks can't
// outrun us; where that can't be had, to each of the members. ESRCH is nobody.
func (c *Child) killGroup(members []Process) error {
	if c.adopted == nil {
		// The main process is not reaped yet, so the number is still ours.
		return unix.Kill(-c.pid, unix.SIGKILL)
	}
	err := c.signalGroup(unix.SIGKILL)
	if err != unix.EINVAL {
		return err
	}
	if c.pidFile != nil && !ended(c.pidfd) {
		return unix.Kill(-c.pid, unix.SIGKILL)
	}
	for _, p := range members {
		send(p, unix.SIGKILL)
	}
	return nil
}
