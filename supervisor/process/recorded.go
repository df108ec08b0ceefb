package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Recorded is a worker that an earlier daemon has started, as its record says.
// It is no child of ours. The record must be of this boot: a pid and a start
// time say nothing in another.
type Recorded struct {
	// PID is the main process's, and the group's number.
	PID int
	// StartTime is the main process's, in clock ticks since boot.
	StartTime uint64
	// Mark is an entry of the worker's environment that no other process has,
	// such as SUPERVISOR_WORKER=17. By it the processes are known that outlive
	// their main process; without it, or when they have overwritten their
	// environment, they are left alone, since the group's number may by then be
	// another's.
	Mark string
}

// Ended tells what EndRecorded did.
type Ended struct {
	Signalled []int // who got the stop signal
	Killed    []int // who was left after the grace and got SIGKILL
}

// EndRecorded ends what lives of a recorded worker by the stop ladder: sig to
// every process of its group, and SIGKILL to those left after grace, until
// the group is empty. It blocks until then or until ctx ends. A worker that
// is gone already is no error.
//
// Errors: ctx's; the kernel's refusal to signal (EPERM); want of descriptors.
func EndRecorded(ctx context.Context, r Recorded, sig unix.Signal, grace time.Duration) (Ended, error) {
	e := ending{recorded: r, sig: sig, leader: -1, had: make(map[Identity]bool)}
	if fd, err := open(Process{PID: r.PID, StartTime: r.StartTime}); err == nil {
		e.leader = fd
		defer unix.Close(fd)
	}
	deadline := time.Now().Add(grace)
	// Two empty scans in a row, as in Child.found.
	for empty := 0; empty < 2; {
		members, err := r.members()
		if err != nil {
			return e.ended, err
		}
		if len(members) == 0 {
			empty++
			continue
		}
		empty = 0
		if err := e.signal(members); err != nil {
			return e.ended, err
		}
		until := deadline
		if e.killing {
			until = time.Time{}
		}
		switch err := awaitEnd(ctx, members[0], until); {
		case errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() == nil:
			e.killing = true
			clear(e.had)
		case err != nil:
			return e.ended, fmt.Errorf("cannot wait for the processes of %d: %w", r.PID, err)
		}
	}
	return e.ended, nil
}

// ending is one EndRecorded at work.
type ending struct {
	recorded Recorded
	sig      unix.Signal
	leader   int // pidfd of the main process, -1 if it is gone
	killing  bool
	had      map[Identity]bool // who got the present signal
	ended    Ended
}

// signal sends the present signal to those that have not had it.
func (e *ending) signal(members []Process) error {
	if e.killing {
		e.killGroup()
	}
	for _, p := range members {
		id := Identity{p.PID, p.StartTime}
		if e.had[id] {
			continue
		}
		e.had[id] = true
		sig, list := e.sig, &e.ended.Signalled
		if e.killing {
			sig, list = unix.SIGKILL, &e.ended.Killed
		}
		switch err := send(p, sig); {
		case err == nil:
			*list = append(*list, p.PID)
		case errors.Is(err, unix.ESRCH):
			if e.killing { // killGroup was quicker
				*list = append(*list, p.PID)
			}
		default:
			return fmt.Errorf("cannot signal process %d: %w", p.PID, err)
		}
	}
	return nil
}

// killGroup kills the group at once, so that one that forks can't outrun us.
// The main process's pidfd pins the number (6.9); on an older kernel it is
// the group's as long as the main process lives. Whom it misses, signal gets.
func (e *ending) killGroup() {
	if e.leader < 0 {
		return
	}
	err := unix.PidfdSendSignal(e.leader, unix.SIGKILL, nil, unix.PIDFD_SIGNAL_PROCESS_GROUP)
	if err == unix.EINVAL && !ended(e.leader) {
		unix.Kill(-e.recorded.PID, unix.SIGKILL)
	}
}

// members lists the living processes of the worker, none if the number is
// another's by now.
func (r Recorded) members() ([]Process, error) {
	members, err := group(r.PID)
	if err != nil {
		return nil, err
	}
	leader, err := readStat(r.PID)
	switch {
	case isLimit(err):
		return nil, err
	case err != nil:
		return r.withMark(members), nil
	case leader.StartTime != r.StartTime:
		// A pid is given anew only when no process and no group has it.
		return nil, nil
	}
	if leader.PGID != r.PID {
		if fd, err := open(leader); err == nil {
			if !ended(fd) {
				members = append(members, leader)
			}
			unix.Close(fd)
		}
	}
	return members, nil
}

// withMark leaves those of members whose environment has the mark.
func (r Recorded) withMark(members []Process) []Process {
	return slices.DeleteFunc(members, func(p Process) bool { return !r.marked(p.PID) })
}

// marked tells whether a process's environment has the mark.
func (r Recorded) marked(pid int) bool {
	if r.Mark == "" {
		return false
	}
	env, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ")
	return err == nil && slices.Contains(strings.Split(string(env), "\x00"), r.Mark)
}

// awaitEnd waits for the end of a process that is no child of ours, until a
// deadline (zero: none; its error is os.ErrDeadlineExceeded) or ctx's end.
func awaitEnd(ctx context.Context, p Process, until time.Time) error {
	fd, err := open(p)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), "pidfd")
	defer f.Close()
	if err := f.SetReadDeadline(until); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { f.SetReadDeadline(past) })
	defer stop()
	if err := awaitReadable(f); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return err
	}
	return nil
}
