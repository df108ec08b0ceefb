package process

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"supervisor/supervisor/fault"
)

// TreeMode says which processes of a worker a signal goes to while its main
// process lives. Once that has ended it is every member of the group that is
// left, whatever the mode.
type TreeMode int

// The modes of the key treekill.
const (
	// TreeAuto is the main process and those that the caller names (the ones
	// that listen: behind npm or a shell the main process swallows the signal).
	TreeAuto TreeMode = iota
	// TreeAll is the group and every descendant, also one that has left the
	// group while its parents live.
	TreeAll
	// TreeMain is the main process alone.
	TreeMain
)

// Stop sends the stop signal, the first rung of the ladder, and tells whom it
// reached. A process gets it once per worker however often Stop is called, so
// after Exited a second call reaches those that are left and have not had it:
// a second SIGINT means "at once" to many programs.
//
// extra are the pids that TreeAuto adds; one that is neither in the group nor
// a descendant is left out (it has ended, and the number may be another's).
// Nobody left to signal is no error. The error names the processes that the
// kernel refused (EPERM: a setuid program), the others were signalled.
func (c *Child) Stop(sig unix.Signal, mode TreeMode, extra []int) (signalled []int, err error) {
	return c.signal(sig, mode, extra, true)
}

// Signal is Stop for a signal that is not the stop signal: it goes out each
// time it is called for.
func (c *Child) Signal(sig unix.Signal, mode TreeMode, extra []int) (signalled []int, err error) {
	return c.signal(sig, mode, extra, false)
}

func (c *Child) signal(sig unix.Signal, mode TreeMode, extra []int, once bool) (signalled []int, err error) {
	c.do(func() {
		if c.quiet {
			err = ErrQuiet
			return
		}
		var targets []Process
		if targets, err = c.targets(mode, extra); err != nil {
			return
		}
		var refused error
		fault.Point("signal.before")
		for _, p := range targets {
			id := Identity{p.PID, p.StartTime}
			if _, had := c.stopped[id]; had && once {
				continue
			}
			switch err := c.send(p, sig); {
			case err == nil:
				fault.Point("signal.sent")
				signalled = append(signalled, p.PID)
				if once {
					c.stopped[id] = struct{}{}
				}
			case !errors.Is(err, unix.ESRCH):
				refused = errors.Join(refused, fmt.Errorf("cannot signal process %d: %w", p.PID, err))
			}
		}
		err = refused
	})
	return signalled, err
}

// send needs no descriptor for the main process: stopping a worker must work
// when we have run out of them.
func (c *Child) send(p Process, sig unix.Signal) error {
	if p.PID == c.pid {
		return unix.PidfdSendSignal(c.pidfd, sig, nil, 0)
	}
	return send(p, sig)
}

// targets finds whom a signal goes to, the main process first.
func (c *Child) targets(mode TreeMode, extra []int) ([]Process, error) {
	if c.exited || c.pidFile == nil || ended(c.pidfd) {
		return c.members()
	}
	targets := []Process{{PID: c.pid, StartTime: c.startTime}}
	seen := map[int]bool{c.pid: true}
	add := func(p Process) {
		if !seen[p.PID] {
			seen[p.PID] = true
			targets = append(targets, p)
		}
	}
	switch mode {
	case TreeAuto:
		for _, pid := range extra {
			p, err := readStat(pid)
			if err == nil && (p.PGID == c.pid || descends(p, c.pid)) {
				add(p)
			}
		}
	case TreeAll:
		descendants, err := tree(c.pid)
		if err != nil {
			return nil, err
		}
		members, err := c.members()
		if err != nil {
			return nil, err
		}
		for _, p := range append(descendants, members...) {
			add(p)
		}
	}
	return targets, nil
}

// Kill sends SIGKILL to the whole group, and again to whoever is found in it
// afterwards, until Gone. The kernel signals a group at once and lets no fork
// of a killed member through, so a fork bomb does not outrun it. Error: EPERM
// if no member may be signalled by us.
func (c *Child) Kill() (err error) {
	c.do(func() {
		if c.quiet {
			err = ErrQuiet
			return
		}
		c.killing = true
		err = c.killGroup(nil)
		if err == unix.ESRCH {
			err = nil
		}
		fault.Point("signal.killed")
		if !c.exited && c.pidFile != nil {
			// It may have moved to another group.
			if e := unix.PidfdSendSignal(c.pidfd, unix.SIGKILL, nil, 0); e != nil && e != unix.ESRCH && err == nil {
				err = e
			}
			return
		}
		// Look again: the process that is waited for may have left the group.
		c.rest = nil
		if c.watching != nil {
			c.watching.SetReadDeadline(past)
		}
	})
	if err != nil && !errors.Is(err, ErrQuiet) {
		err = fmt.Errorf("cannot kill the processes of %d: %w", c.pid, err)
	}
	return err
}

// past is a deadline that has expired.
var past = time.Unix(1, 0)

// Quiesce stops the child's watching and returns when nothing of it touches
// the kernel any more. It closes nothing; an end that comes meanwhile is told
// after Resume. Signalling gives ErrQuiet.
func (c *Child) Quiesce() {
	c.do(func() {
		c.quiet = true
		c.retry = nil
		if c.watching == nil {
			return
		}
		c.watching.SetReadDeadline(past)
		<-c.watched // ready or not: Resume looks again
		if c.watching != c.pidFile {
			c.watching.Close()
		}
		c.watching = nil
	})
}

// Resume takes the watching up again.
func (c *Child) Resume() {
	c.do(func() {
		if !c.quiet {
			return
		}
		c.quiet = false
		if !c.exited {
			c.patience = false
			c.watchMain()
			return
		}
		if c.empty == 2 {
			return // it is gone, and held
		}
		c.rest, c.empty = nil, 0
		c.found(c.members())
	})
}
