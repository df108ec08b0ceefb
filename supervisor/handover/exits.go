package handover

import (
	"fmt"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	// exitLine is the length of a report in bytes, newline included. All are alike, so
	// that a pipe (which holds a multiple of it) is never read in the middle of one.
	exitLine = 64

	// maxExits is how many reports are remembered that nobody has asked for; the oldest
	// go first.
	maxExits = 4096
)

// Exit is what the keeper reports of a process that it has reaped.
type Exit struct {
	Proc
	Status unix.WaitStatus // as wait(2) gives it
}

// line is the report: "PID START STATUS", in decimal, padded with spaces.
func (e Exit) line() []byte {
	text := fmt.Sprintf("%d %d %d", e.PID, e.Start, uint32(e.Status))
	return fmt.Appendf(nil, "%-*s\n", exitLine-1, text)
}

// parseExits reads reports; what is none is left out.
func parseExits(text []byte) []Exit {
	var exits []Exit
	for line := range strings.Lines(string(text)) {
		if len(line) != exitLine || line[exitLine-1] != '\n' {
			continue
		}
		fields := strings.Fields(line)
		if len(fields) != 3 {
			continue
		}
		pid, err1 := strconv.ParseUint(fields[0], 10, 31)
		start, err2 := strconv.ParseUint(fields[1], 10, 64)
		status, err3 := strconv.ParseUint(fields[2], 10, 32)
		if err1 == nil && err2 == nil && err3 == nil && pid > 0 {
			exits = append(exits, Exit{Proc{int(pid), start}, unix.WaitStatus(status)})
		}
	}
	return exits
}

// Exits are the keeper's reports of processes that it has reaped, which is how a daemon
// learns of a worker that was not its child. It reads the pipe when it is asked: nothing
// waits for it. Any goroutine may ask.
type Exits struct {
	mu   sync.Mutex // a leaf: it guards the pipe's reading and what was read
	fd   int
	seen []Exit
}

// NewExits reads from fd, the descriptor that the holder calls "exits"; -1 is none, and
// then nothing is ever reported. fd stays the caller's.
func NewExits(fd int) *Exits { return &Exits{fd: fd} }

// Reported tells how p has ended, if the keeper has reaped it and said so. The report is
// there before the process is gone from /proc.
func (e *Exits) Reported(p Proc) (status unix.WaitStatus, ok bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.read()
	for i := len(e.seen) - 1; i >= 0; i-- {
		if e.seen[i].Proc == p {
			return e.seen[i].Status, true
		}
	}
	return 0, false
}

// read takes what is in the pipe, which does not block.
func (e *Exits) read() {
	var buf [64 * exitLine]byte
	for e.fd >= 0 {
		n, err := unix.Read(e.fd, buf[:])
		if err == unix.EINTR {
			continue
		}
		if err != nil || n <= 0 { // empty, or its keeper is gone
			return
		}
		e.seen = append(e.seen, parseExits(buf[:n])...)
		if over := len(e.seen) - maxExits; over > 0 {
			e.seen = append(e.seen[:0], e.seen[over:]...)
		}
	}
}

// exitPipe is the keeper's end of the reports.
type exitPipe struct{ r, w int }

func newExitPipe() (p exitPipe, err error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return p, fmt.Errorf("cannot open the pipe of exits: %w", err)
	}
	return exitPipe{fds[0], fds[1]}, nil
}

// report writes one report. When the pipe is full nobody has asked for long, and all that
// is in it goes: the newest may still be asked for.
func (p exitPipe) report(e Exit) {
	line := e.line()
	var old [64 * exitLine]byte
	for range 2 {
		_, err := unix.Write(p.w, line)
		for err == unix.EINTR {
			_, err = unix.Write(p.w, line)
		}
		if err != unix.EAGAIN {
			return
		}
		for n := 1; n > 0; {
			n, _ = unix.Read(p.r, old[:])
		}
	}
}
