package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"supervisor/supervisor/handover"
	"supervisor/supervisor/state"
)

// Why an upgrade is refused.
var (
	errUpgrading = errors.New("cannot upgrade: an upgrade is under way, or a new keeper is being started; try again")
	errEnding    = errors.New("everything is being stopped")
)

// upgrade replaces this process by one of another binary, which takes over everything as
// it is. Nil means that it has, and that this process must touch nothing any more. Any
// error means that nothing has changed.
func (d *daemon) upgrade(ctx context.Context, binary string) (err error) {
	select {
	case d.turn <- struct{}{}:
	default:
		d.log.Print(errUpgrading)
		return errUpgrading
	}
	defer func() {
		if err != nil {
			<-d.turn
			d.log.Print(err)
		}
	}()
	if d.handing.Err() != nil {
		return fmt.Errorf("cannot upgrade: %w", errEnding)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(d.handing, func() { cancel(errEnding) })()
	if binary == "" {
		binary = d.binary
	}
	if !filepath.IsAbs(binary) {
		return fmt.Errorf("cannot upgrade to %s: it is no absolute path", binary)
	}
	d.log.Printf("upgrade to %s", binary)
	if err := d.loop.Calm(ctx); err != nil {
		return fmt.Errorf("cannot upgrade: the work in hand does not end: %w", cmp.Or(context.Cause(ctx), err))
	}
	err = handover.Upgrade{
		Binary: binary, Args: arguments()[1:], Schema: headSchema,
		Lock: d.lock, Control: d.listener, Held: d.store.Held,
		State:   func() ([]byte, error) { return d.world.journal.now(), nil },
		Quiesce: d.quiesce, Resume: d.resume, Commit: d.commit,
	}.Run(ctx)
	if err != nil {
		d.loop.Uncalm()
		return err
	}
	close(d.replaced)
	return nil
}

// awaitTurn waits until no upgrade is under way, and none begins then until turn is
// emptied; false when another process has taken over, or the work has ended.
func (d *daemon) awaitTurn() bool {
	select {
	case d.turn <- struct{}{}:
		return true
	case <-d.replaced:
	case <-d.ctx.Done():
	}
	return false
}

// endsItself reports whether everything is this process's to stop: an upgrade under way is
// called off. False when it is too late for that.
func (d *daemon) endsItself() bool {
	d.callOff()
	select {
	case d.turn <- struct{}{}:
		<-d.turn // a keeper may still be needed; an upgrade is called off
		return true
	case <-d.replaced:
		return false
	}
}

// stepBack is the end of a process that another one has replaced: whoever asked for that
// gets an answer, and the signals are the other's. Nothing else is touched.
func (d *daemon) stepBack() int {
	d.log.Print("another process has taken over")
	ctx, cancel := context.WithTimeout(context.Background(), answerTimeout)
	defer cancel()
	d.server.Close(ctx)
	for {
		select {
		case sig := <-d.signals:
			unix.PidfdSendSignal(d.next, sig.(unix.Signal), nil, 0)
		default:
			return state.ExitOK
		}
	}
}

// binaryOnRecord is the path of our own binary: another may lie there by now, which a
// SIGUSR2 is for. "" when it can't be known.
func binaryOnRecord() string {
	path, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return ""
	}
	return strings.TrimSuffix(path, " (deleted)") // proc_pid_exe(5)
}

// arguments is the command line by which another process is started in our place: ours
// without the pipe of who started us.
func arguments() []string {
	i := slices.Index(os.Args, readyFlag)
	if i < 0 {
		return os.Args
	}
	return append(slices.Clone(os.Args[:i]), os.Args[min(i+2, len(os.Args)):]...)
}

// readyFlag is followed by the number of the pipe that Options.Ready is.
const readyFlag = "--ready-fd"

// quiesce returns when nothing of ours touches anything that a successor will have, and
// everything is on record: what we know at the end.
func (d *daemon) quiesce(ctx context.Context) ([]byte, error) {
	w := d.world
	d.server.Quiesce(ctx)
	d.backend.meters.pause()
	attendants := w.all()
	each(attendants, func(p *attendant) {
		p.gates.Quiesce()
		if p.prober != nil {
			p.prober.Quiesce()
		}
	})
	if _, err := d.loop.Freeze(ctx); err != nil {
		return nil, err
	}
	if err := w.quiesce(ctx); err != nil {
		return nil, err
	}
	w.table.Quiesce()                                       // what the last orders have changed of it is on record, too
	each(w.all(), func(p *attendant) { p.child.Quiesce() }) // with those that were being spawned
	w.logs.Quiesce()
	d.showNoMore() // what was read; the rest is the successor's to show
	w.journal.rest(true)
	return w.journal.now(), nil
}

// resume takes quiesce back.
func (d *daemon) resume() {
	w := d.world
	w.journal.rest(false)
	if d.console == nil {
		d.show()
	}
	w.logs.Resume()
	attendants := w.all()
	each(attendants, func(p *attendant) { p.child.Resume() })
	w.table.Resume()
	w.resume()
	d.loop.Thaw()
	each(attendants, func(p *attendant) {
		p.gates.Resume()
		if p.prober != nil {
			p.prober.Resume()
		}
	})
	d.backend.meters.resume()
	d.server.Resume()
}

// commit tells whoever watches us whom to watch from now on, and waits until that is
// known. A crash starts the successor's program then, not ours: what it writes down we
// may not be able to read.
//
// What was said can't be taken back: who hears it late hears it, and would take us for
// a stranger then. So only what could not be said is an error.
func (d *daemon) commit(successor int) error {
	next, err := unix.PidfdOpen(successor, 0)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), answerTimeout)
	defer cancel()
	return d.name(ctx, successor, next)
}

// name says who the supervisor is from now on. next is its pidfd.
func (d *daemon) name(ctx context.Context, successor, next int) error {
	program, err := d.keepProgram(successor)
	if err == nil && hasEnded(next) { // since it said that it is ready
		err = unix.ESRCH
	}
	if err == nil {
		err = d.store.Say(fmt.Sprintf("MAINPID=%d", successor), "READY=1")
	}
	if err != nil {
		unix.Close(next)
		d.store.Push(handover.ExeName, d.exe)
		if program >= 0 {
			unix.Close(program)
		}
		return err
	}
	d.next = next
	if err := d.store.Barrier(ctx); err != nil {
		d.log.Printf("%v; pid %d takes over all the same", err, successor)
	}
	return nil
}

// hasEnded reports whether the process of a pidfd has.
func hasEnded(pidfd int) bool {
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, 0)
		if err != unix.EINTR {
			return n > 0
		}
	}
}

// keepProgram stores the program of another process in the place of ours, and returns the
// descriptor, -1 if there is none. The error is that the process has ended, or is about to.
func (d *daemon) keepProgram(pid int) (int, error) {
	fd, err := unix.Open(fmt.Sprintf("/proc/%d/exe", pid), unix.O_PATH|unix.O_CLOEXEC, 0)
	if err == unix.ENOENT || err == unix.ESRCH {
		return -1, unix.ESRCH
	}
	if err == nil {
		err = d.store.Push(handover.ExeName, fd)
	}
	if err != nil {
		d.log.Printf("cannot keep the program of pid %d: %v; after a crash ours is started again", pid, err)
	}
	return fd, nil
}

// each does something for several attendants at once.
func each(attendants []*attendant, do func(*attendant)) {
	var all sync.WaitGroup
	for _, p := range attendants {
		all.Go(func() { do(p) })
	}
	all.Wait()
}

// all are the attendants of processes that have begun.
func (w *world) all() []*attendant {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []*attendant
	for _, p := range w.attendants {
		if p.attending {
			all = append(all, p)
		}
	}
	return all
}

// quiesce returns when every lane has done what it was told before. What it is told later
// waits for resume: a timer's order would be given a second time by a successor.
func (w *world) quiesce(ctx context.Context) error {
	for _, l := range w.lanes() {
		select {
		case <-l.quiesce():
		case <-ctx.Done():
			return fmt.Errorf("the work in hand does not end: %w", ctx.Err())
		}
	}
	return nil
}

func (w *world) resume() {
	for _, l := range w.lanes() {
		l.resume()
	}
}

func (w *world) lanes() (lanes []*lane) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, l := range w.apps {
		lanes = append(lanes, l)
	}
	for _, p := range w.attendants {
		lanes = append(lanes, &p.lane)
	}
	return lanes
}
