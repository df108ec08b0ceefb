package process

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// How long the exit status of a process is waited for that is not ours to reap.
const (
	// reapTimeout is from its end to its reaping, where it can be read only then.
	reapTimeout = time.Second
	// reportDelay is from its reaping to the word of who has reaped it.
	reportDelay = 200 * time.Millisecond
)

// errUntold: the process has ended, and how is not known yet.
var errUntold = errors.New("its exit status can't be read yet")

// status tells how the main process has ended, and leaves it as it is. EAGAIN: it
// has not ended. The sources, in the order of asking: waitid(2), if it is our child;
// its stat, while it is a zombie of another; its pidfd (6.15), once it is reaped; the
// word of who has reaped it.
func (c *Child) status() (Status, error) {
	if c.pidFile != nil {
		status, err := waitExit(c.pidfd, false)
		if err == nil || !errors.Is(err, unix.ECHILD) || c.adopted == nil {
			return status, err
		}
		if !ended(c.pidfd) {
			return Status{}, unix.EAGAIN
		}
		if status, ok := zombieStatus(Process{PID: c.pid, StartTime: c.startTime}); ok {
			return status, nil
		}
		if status, ok := reapedStatus(c.pidfd); ok {
			return status, nil
		}
	}
	if c.adopted != nil && c.adopted.Reported != nil {
		if status, ok := c.adopted.Reported(c.pid); ok {
			return status, nil
		}
	}
	return Status{}, errUntold
}

// putOff arms another look for the exit status, and is true, the first time: until
// the process is reaped, or its end reported.
func (c *Child) putOff() bool {
	if c.patience || c.adopted == nil {
		return false
	}
	switch {
	case c.pidFile != nil && !hungUp(c.pidfd):
		c.pidFile.SetReadDeadline(time.Now().Add(reapTimeout))
		c.watching = c.pidFile
		go func() { c.watched <- awaitHangup(c.pidFile) }() // ends with the reaping, or the deadline
	case c.adopted.Reported != nil:
		c.retry = time.After(reportDelay)
	case c.pidFile != nil:
		c.retry = time.After(0) // it was reaped since its status was asked for
	default:
		return false
	}
	c.patience = true
	return true
}

// zombieStatus reads how a process has ended that nobody has reaped yet, in field 52
// of /proc/PID/stat. Whom we may not look into has a 0 there: its link to the program
// refuses us too (proc(5), PTRACE_MODE_READ_FSCREDS), and is asked first, since a
// process that is reaped meanwhile refuses nobody.
func zombieStatus(p Process) (Status, bool) {
	if _, err := os.Readlink("/proc/" + strconv.Itoa(p.PID) + "/exe"); errors.Is(err, unix.EACCES) {
		return Status{}, false
	}
	var buf [statSize]byte
	text, err := statText(p.PID, buf[:])
	if err != nil {
		return Status{}, false
	}
	now, err := parseStat(text)
	if err != nil || now.StartTime != p.StartTime {
		return Status{}, false
	}
	status, err := parseExit(text)
	return status, err == nil
}

// parseExit reads the fields 3 and 52 of /proc/PID/stat: the state, and for one that
// has ended (Z, X) how. errUntold if it has not.
func parseExit(b []byte) (Status, error) {
	_, fields := statFields(b)
	if len(fields) < 50 {
		return Status{}, errBadStat
	}
	if state := string(fields[0]); state != "Z" && state != "X" {
		return Status{}, errUntold
	}
	code, err := strconv.ParseUint(string(fields[49]), 10, 16)
	if err != nil {
		return Status{}, fmt.Errorf("%w: %w", errBadStat, err)
	}
	return waited(unix.WaitStatus(code)), nil
}

// reapedStatus asks the pidfd how its process has ended. It knows as soon as the
// process is reaped, by whomever (PIDFD_INFO_EXIT, Linux 6.15).
func reapedStatus(pidfd int) (Status, bool) {
	info := unix.PidfdInfo{Mask: unix.PIDFD_INFO_EXIT}
	if err := unix.IoctlPidfdInfo(pidfd, &info); err != nil || info.Mask&unix.PIDFD_INFO_EXIT == 0 {
		return Status{}, false
	}
	return waited(unix.WaitStatus(info.Exit_code)), true
}

// hungUp tells whether a pidfd's process has been reaped (POLLHUP, Linux 6.9).
func hungUp(pidfd int) bool {
	for {
		fds := [1]unix.PollFd{{Fd: int32(pidfd)}}
		_, err := unix.Poll(fds[:], 0)
		if err == unix.EINTR {
			continue
		}
		return err == nil && fds[0].Revents&unix.POLLHUP != 0
	}
}

// awaitHangup is awaitReadable for the reaping.
func awaitHangup(f *os.File) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	return raw.Read(func(fd uintptr) bool { return hungUp(int(fd)) })
}
