package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"supervisor/supervisor/handover"
	"supervisor/supervisor/listener"
)

// inheritance is how this daemon came to what it has.
type inheritance struct {
	upgrade bool   // another one stepped back for it
	final   []byte // daemon.json as that one left it
}

// How long a daemon waits for another to be gone: one that crashed has died already, but
// its successor in an upgrade that was cut may still be leaving.
const lockWait = 2 * time.Second

// inherit gets hold of what a daemon before this one has left: by an upgrade, from whoever
// holds descriptors for us, or the home alone.
func (d *daemon) inherit() (from inheritance, err error) {
	d.boot, d.records = handover.Boot(), handover.Dir(d.home.path("state"))
	keeper, _ := strconv.Atoi(os.Getenv(handover.KeeperVariable))
	d.keeper.Store(int64(keeper))
	held, given := handover.Inherited(os.Getenv, keeper, stored)
	for _, g := range given {
		d.given = append(d.given, listener.Given{FD: g.FD, Name: g.Name})
	}
	for _, name := range handover.ListenVariables() {
		os.Unsetenv(name) // they are ours, not a successor's or a worker's
	}
	successor, err := handover.Succeed(d.Version, headSchema)
	if err != nil {
		return from, errNotOurs{err}
	}
	if successor != nil {
		from.upgrade = true
		if from.final, err = d.succeed(successor); err != nil {
			return from, err
		}
		held = successor.Held
	}
	if d.store, err = handover.NewHolder(os.Getenv("NOTIFY_SOCKET"), held); err != nil {
		return from, err
	}
	d.store.Limit(handover.StoreMax(os.Getenv))
	d.control = d.take(controlName)
	if successor != nil {
		return from, nil
	}
	d.lock, err = d.home.prepare(len(held) > 0)
	if err == nil && d.control >= 0 {
		d.listener, err = inheritedListener(d.control)
	}
	return from, err
}

// stored reports whether a name is one of those that we store descriptors under.
func stored(name string) bool {
	switch name {
	case controlName, handsName, handover.ExeName, handover.ExitsName:
		return true
	}
	number, _, worker := strings.Cut(name[min(1, len(name)):], ".")
	_, err := strconv.ParseUint(number, 10, 64)
	return err == nil && (name[0] == 'w' && worker || name[0] == 'l' && !worker)
}

// take is an inherited descriptor, -1 for none.
func (d *daemon) take(name string) int {
	if fd, ok := d.store.Take(name); ok {
		return fd
	}
	return -1
}

// errNotOurs is why a process that was started to succeed another leaves without having
// touched anything: the other goes on, or has died and is restarted.
type errNotOurs struct{ error }

func (e errNotOurs) Unwrap() error { return e.error }

const (
	// commitWait is how long the predecessor may take for each of its steps.
	commitWait = 30 * time.Second
	// parentWait is how long it may take to leave before we begin beside it.
	parentWait = time.Second
)

// succeed takes over from a daemon that is being upgraded. Until it has said that it ends
// nothing is touched.
func (d *daemon) succeed(s *handover.Successor) (final []byte, err error) {
	if err := d.readable(s.State); err != nil {
		s.Refuse(err)
		return nil, errNotOurs{err}
	}
	ctx, cancel := context.WithTimeout(d.ctx, commitWait)
	defer cancel()
	if err = s.Adopted(); err == nil {
		final, err = s.Final(ctx)
	}
	if err == nil {
		err = s.Ready()
	}
	if err == nil {
		err = s.Committed(ctx)
	}
	if err != nil {
		return nil, errNotOurs{fmt.Errorf("cannot succeed the supervisor that started this one: %w", err)}
	}
	if d.managed() { // before anything that we may die of
		ctx, cancel := context.WithTimeout(d.ctx, parentWait)
		defer cancel()
		s.AwaitParent(ctx) // else takeMain says it
	}
	for _, fd := range s.Gone {
		unix.Close(fd)
	}
	d.lock, d.listener, d.successor = s.Lock, s.Control, s
	return final, nil
}

// readable says why a state can't be taken over.
func (d *daemon) readable(data []byte) error {
	_, _, err := readState(data, d.boot)
	return err
}

// What the store has of the daemon itself, beside handover.ExitsName.
const (
	controlName = "ctl"
	handsName   = "nmap" // the memory for notifications
)

// keepControl stores the control socket: who asks while no daemon runs waits in its queue.
// What is stored is a copy, since the socket itself is the server's to close.
func (d *daemon) keepControl() {
	if d.control >= 0 {
		return // it is there
	}
	raw, err := d.listener.SyscallConn()
	if err == nil {
		var failed error
		err = raw.Control(func(fd uintptr) { d.control, failed = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0) })
		err = errors.Join(err, failed)
	}
	if err == nil {
		err = d.store.Push(controlName, d.control)
	}
	if err != nil {
		d.log.Printf("cannot keep the control socket: %v", err)
	}
}

// keepExe stores the program that we are: a broken one at its path must not be started
// after a crash.
func (d *daemon) keepExe() {
	if fd := d.take(handover.ExeName); fd >= 0 {
		if sameProgram(fd) {
			d.exe = fd
			return
		}
		defer unix.Close(fd) // when ours is in its place
	}
	fd, err := unix.Open("/proc/self/exe", unix.O_PATH|unix.O_CLOEXEC, 0)
	if err == nil {
		d.exe = fd
		err = d.store.Push(handover.ExeName, fd)
	}
	if err != nil {
		d.log.Printf("cannot keep our own program: %v; after a crash whatever lies at its path is started", err)
	}
}

// sameProgram reports whether a descriptor is open on the program of this process.
func sameProgram(fd int) bool {
	var ours, held unix.Stat_t
	return unix.Stat("/proc/self/exe", &ours) == nil && unix.Fstat(fd, &held) == nil &&
		ours.Dev == held.Dev && ours.Ino == held.Ino
}

// sinceBoot is the clock by which instants outlive us (CLOCK_BOOTTIME, clock_gettime(2)).
func sinceBoot() time.Duration {
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}

// locked reports whether an error is that somebody else has the home.
func locked(err error) bool {
	var held errHeld
	return errors.As(err, &held)
}
