package logs

import (
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"
)

// Pipes are the descriptors of a worker's streams that a successor needs (Adopt), for a holder of descriptors. They
// belong to the Set and are valid until Finish. -1 is none.
type Pipes struct {
	// Out and Err are the ends of the pipes that we read. Err is -1 when both streams are one pipe.
	Out, Err int
	// SpoolOut and SpoolErr are the spools of formatted streams. While no daemon runs, the bytes of the pipe may be
	// appended to the spool as they are (offset = size).
	SpoolOut, SpoolErr int
}

func noPipes() Pipes { return Pipes{-1, -1, -1, -1} }

// of are the pipe and the spool of a stream.
func (p *Pipes) of(kind Stream) (pipe, spool *int) {
	if kind == Stderr {
		return &p.Err, &p.SpoolErr
	}
	return &p.Out, &p.SpoolOut
}

// Ends are the descriptors of a new worker.
type Ends struct {
	// Stdout and Stderr belong to the caller, who dups them to 1 and 2 of the child and then calls Close. They
	// are read-write on the worker's side, so that a dead supervisor can't raise SIGPIPE in it, and blocking. Where
	// both streams go to one file, and not as JSON, they are the same pipe, which keeps their order; its lines count as
	// stdout.
	Stdout, Stderr int
	Pipes          Pipes
}

// Close closes Stdout and Stderr.
func (e Ends) Close() {
	unix.Close(e.Stdout)
	unix.Close(e.Stderr)
}

// newPipe returns our end and the worker's, which is a file description of its own: blocking, and read-write.
func newPipe(big bool, uid, gid int) (r, worker int, grown bool, err error) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return -1, -1, false, fmt.Errorf("cannot create a pipe: %w", err)
	}
	defer unix.Close(p[1])
	if big { // EPERM: the user's share of pipe memory is used up, the default will do
		_, err := unix.FcntlInt(uintptr(p[0]), unix.F_SETPIPE_SZ, bigPipe)
		grown = err == nil
	}
	if uid != 0 || gid != 0 {
		if err := unix.Fchown(p[0], uid, gid); err != nil {
			unix.Close(p[0])
			return -1, -1, false, fmt.Errorf("cannot give a pipe to user %d: %w", uid, err)
		}
	}
	worker, err = unix.Open("/proc/self/fd/"+strconv.Itoa(p[1]), unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		unix.Close(p[0])
		return -1, -1, false, fmt.Errorf("cannot open a pipe read-write: %w", err)
	}
	return p[0], worker, grown, nil
}
