package process

import (
	"fmt"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"supervisor/signals"
)

// Status is how a process ended: by its own exit with Code, or by Signal,
// which is 0 then. A death by signal has Code 0 and is no success.
type Status struct {
	Code   int
	Signal int
	Core   bool // a core was dumped
	// Unknown: the end is certain, how it came is not, since somebody else has
	// reaped the process. It passes for a failure.
	Unknown bool
}

// Success tells whether the process exited by itself with code 0.
func (s Status) Success() bool { return s.Code == 0 && s.Signal == 0 && !s.Unknown }

// String says it as a user reads it: "exit code 3", "killed by SIGSEGV".
func (s Status) String() string {
	switch {
	case s.Unknown:
		return "unknown exit status"
	case s.Signal == 0:
		return fmt.Sprintf("exit code %d", s.Code)
	case s.Core:
		return "killed by " + signals.Name(syscall.Signal(s.Signal)) + " (core dumped)"
	default:
		return "killed by " + signals.Name(syscall.Signal(s.Signal))
	}
}

// waited is how a process ended, of the status that wait(2) gives.
func waited(w unix.WaitStatus) Status {
	if w.Signaled() {
		return Status{Signal: int(w.Signal()), Core: w.CoreDump()}
	}
	return Status{Code: w.ExitStatus()}
}

// siginfo is siginfo_t as waitid(2) fills it on 64-bit Linux.
type siginfo struct {
	signo, errno, code, _ int32
	pid, uid              int32
	status                int32
	_                     [100]byte
}

// waitExit takes the exit status of a child of ours that has ended, by its
// pidfd, and leaves it a zombie (waitid(2), WNOWAIT) unless reap is set.
// EAGAIN: it has not ended.
func waitExit(pidfd int, reap bool) (Status, error) {
	options := unix.WEXITED | unix.WNOHANG
	if !reap {
		options |= unix.WNOWAIT
	}
	for {
		var info siginfo
		err := unix.Waitid(unix.P_PIDFD, pidfd, (*unix.Siginfo)(unsafe.Pointer(&info)), options, nil)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return Status{}, err
		case info.pid == 0:
			return Status{}, unix.EAGAIN
		}
		// si_code of SIGCHLD, sigaction(2).
		const exited, killed, dumped = 1, 2, 3
		switch info.code {
		case exited:
			return Status{Code: int(info.status)}, nil
		case killed, dumped:
			return Status{Signal: int(info.status), Core: info.code == dumped}, nil
		}
		return Status{}, fmt.Errorf("waitid gives the code %d", info.code)
	}
}
