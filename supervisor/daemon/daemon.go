package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"supervisor/supervisor"
	"supervisor/supervisor/control"
	"supervisor/supervisor/handover"
	"supervisor/supervisor/listener"
	"supervisor/supervisor/logs"
	"supervisor/supervisor/state"
	"supervisor/supervisor/systemd"
	"supervisor/supervisor/trim"
)

// Options is how a daemon is started.
type Options struct {
	Home       string         // SUPERVISOR_HOME, absolute
	Foreground bool           // workers' lines go to descriptors 1 and 2 too
	Request    *state.Request // what to do first; nil for none
	Ready      io.WriteCloser // gets one line when the control socket accepts; nil for none
	Version    string

	Stderr io.Writer // for the daemon's own log
}

// The one line that Ready gets.
const (
	readyOK      = "ok\n"
	readyRunning = "running\n"
	readyError   = "error: %v\n"
)

// Main is the daemon. It returns its exit code when it has ended: 0 after a stop that
// was asked for, 1 when it could not begin, 2 when Request's file could not be used; in
// the foreground also that of what it ran, when all of it has ended by itself.
func Main(o Options) int {
	own := newLogWriter(o.Stderr)
	defer own.end()
	d := &daemon{Options: o, home: home(o.Home), log: log.New(own, "", log.LstdFlags|log.LUTC), control: -1, exe: -1}
	if o.Foreground {
		d.log.SetPrefix("supervisor: ")
		d.log.SetFlags(log.Lmsgprefix)
	}
	err := d.begin()
	if err != nil {
		return d.notBegun(err)
	}
	d.ready(readyOK)
	d.resumeOwn()
	return d.run()
}

// notBegun tells why there is no daemon, and returns the exit code.
func (d *daemon) notBegun(err error) int {
	asks := d.Ready != nil // whoever started us asks the daemon that there is
	if locked(err) && asks {
		d.ready(readyRunning)
	} else {
		d.log.Print(err)
		d.ready(fmt.Sprintf(readyError, err))
	}
	switch {
	case errors.As(err, new(errNotOurs)):
		return handover.ExitRefused
	case locked(err) && d.keeperPID() != 0:
		return handover.ExitLocked // the keeper is not to try again
	case locked(err) && asks:
		return state.ExitOK
	}
	return state.ExitFailed
}

// daemon is one run of Main.
type daemon struct {
	Options
	home home
	log  *log.Logger

	lock     *os.File
	listener *net.UnixListener
	store    *handover.Holder
	records  handover.Dir
	boot     string
	keeper   atomic.Int64 // the pid of who holds descriptors for us; 0: somebody else does, or nobody
	control  int          // the control socket, for whoever holds it; -1: nobody does yet
	exe      int          // our own program, O_PATH
	binary   string

	signals   chan os.Signal
	end       chan struct{} // closed when a client asked for the end
	ending    sync.Once
	turn      chan struct{}       // full during an upgrade, for good after it, and while a keeper is being started
	replaced  chan struct{}       // closed when another process has taken over
	next      int                 // that process, a pidfd; valid once replaced is closed
	lost      chan struct{}       // closed when systemd can't be told who we are
	successor *handover.Successor // that we are; nil: nobody has stepped back for us
	upward    *systemd.Upward     // nil: nobody wants to hear of the service
	given     []listener.Given    // of a socket unit

	ctx      context.Context // of the work: ends when everything is stopped
	cancel   context.CancelFunc
	handing  context.Context // of upgrades: ends when everything is to be stopped
	callOff  context.CancelFunc
	loop     *supervisor.Loop
	loopDone chan struct{}
	world    *world
	adopted  []*attendant // of workers that another daemon has started
	restored bool         // what ran before us goes on: the file is not applied

	unstarted []string // apps of Request that did not come up, or not yet

	backend *backend
	server  *control.Server
	console *logs.Console
	trimmer *trim.Timer
}

func (d *daemon) ready(line string) {
	if d.Ready != nil {
		io.WriteString(d.Ready, line)
		d.Ready.Close()
		d.Ready = nil
	}
}

// show begins to show workers' lines on standard output and error, in the foreground.
func (d *daemon) show() {
	if !d.Foreground {
		return
	}
	var err error
	if d.console, err = d.world.logs.Console(1, 2); err != nil {
		d.log.Print(err)
	}
}

// showNoMore shows what was read, and ends that.
func (d *daemon) showNoMore() {
	if d.console != nil {
		d.console.Close()
		d.console = nil
	}
}

func (d *daemon) finish() { d.ending.Do(func() { close(d.end) }) }

// run obeys signals until it is told to end, then stops everything.
func (d *daemon) run() int {
	d.log.Printf("supervisor %s, pid %d, %s", d.Version, os.Getpid(), d.home)
	first, over := make(chan int, 1), make(chan int, 1)
	if d.Request != nil {
		d.backend.work.Go(func() { first <- d.first(*d.Request) }) // ends with the request, or with ctx
	}
	exit := state.ExitOK
	for done := false; !done; {
		select {
		case sig := <-d.signals:
			done = d.obey(sig)
		case <-d.end:
			done = true
		case code := <-first:
			if code == state.ExitUsage {
				exit, done = code, true
			} else if d.endsByItself() {
				go d.awaitOver(over) // ends with what it waits for, or with the loop
			}
		case exit = <-over:
			d.log.Printf("everything has ended by itself: exit code %d", exit)
			done = true
		case <-d.replaced:
			return d.stepBack()
		case <-d.lost:
			return state.ExitFailed // as if we had crashed
		}
	}
	if !d.endsItself() {
		unix.PidfdSendSignal(d.next, unix.SIGTERM, nil, 0)
		return d.stepBack()
	}
	d.shutdown()
	d.store.Say(fmt.Sprintf("X_END=%d", exit))
	return exit
}

// first carries out the request of start --no-daemon. A file that can't be used
// ends the daemon; an app that does not come up does not.
func (d *daemon) first(req state.Request) int {
	defer d.upward.Busy()()
	if d.restored && !d.halfway() {
		d.backend.startedAs(req, d.log.Printf)
		d.begun()
		return state.ExitOK
	}
	d.world.journal.note(func(h *head) { h.Starting = true })
	result := d.backend.Do(d.ctx, req)
	<-d.world.journal.change(func(h *head) { h.Starting = false })
	for _, a := range result.Started {
		if !a.OK {
			d.unstarted = append(d.unstarted, a.Name)
		}
	}
	for _, m := range result.Messages {
		d.log.Print(m)
	}
	unusable := result.Error != nil && result.Error.Code == state.ExitUsage
	if !unusable || d.restored {
		d.begun()
	}
	if result.Error == nil {
		return state.ExitOK
	}
	d.log.Print(result.Error.Message)
	for _, line := range result.Error.Details {
		d.log.Print("  " + line)
	}
	d.logSkipped(result)
	if unusable && d.restored {
		return state.ExitOK // what ran goes on
	}
	return result.Error.Code
}

// halfway reports whether the daemon before this one died, or was replaced, while it
// started what it was started with.
func (d *daemon) halfway() (is bool) {
	d.world.journal.note(func(h *head) { is = h.Starting })
	return is
}

// logSkipped names the apps that another's failure kept from their turn.
func (d *daemon) logSkipped(result state.Result) {
	for _, a := range result.Started {
		if a.Action == state.Skipped {
			d.log.Printf("%s: skipped: %s", a.Name, a.Reason)
		}
	}
}

// obey reports whether a signal ends the daemon.
func (d *daemon) obey(sig os.Signal) bool {
	switch sig {
	case unix.SIGHUP:
		d.log.Print("SIGHUP: reload")
		d.backend.work.Go(d.hangUp) // ends with the reload, or with ctx
	case unix.SIGUSR1:
		d.log.Print("SIGUSR1: log files are opened again")
		if err := d.world.logs.Reopen(); err != nil {
			d.log.Print(err)
		}
		d.reopen()
	case unix.SIGUSR2:
		d.log.Print("SIGUSR2: upgrade")
		go d.upgrade(d.ctx, "") // ends with the upgrade, and logs how
	default:
		d.log.Printf("%s: stopping everything", sig)
		return true
	}
	return false
}

// reopen opens the daemon's own log again, which a background daemon has as its
// stdout and stderr.
func (d *daemon) reopen() {
	if d.Foreground {
		return
	}
	fd, err := unix.Open(d.home.log(), unix.O_WRONLY|unix.O_CREAT|unix.O_APPEND|unix.O_CLOEXEC, 0o600)
	if err != nil {
		d.log.Printf("cannot open %s again: %v", d.home.log(), err)
		return
	}
	unix.Dup3(fd, 1, 0)
	unix.Dup3(fd, 2, 0)
	unix.Close(fd)
}

// closeState says that everything was stopped on purpose: the last word of a daemon.
func (d *daemon) closeState() {
	d.world.journal.close(d.loop.LastID())
	d.world.working.Wait()
	if !d.managed() {
		os.Remove(d.home.path("state", socketsFile))
	}
}

// answerTimeout is how long the requests in work may take to see their answer sent.
const answerTimeout = 5 * time.Second

// shutdown stops every app, answers who waits, and leaves nothing. Nothing may be
// started meanwhile: nobody would stop it.
func (d *daemon) shutdown() {
	d.sayStopping()
	if d.managed() {
		d.world.table.Keep()
	}
	<-d.world.journal.change(func(h *head) { h.Stopping = true })
	d.loop.Close()
	d.backend.Do(d.ctx, state.Request{Verb: state.VerbStop})
	ctx, cancel := context.WithTimeout(context.Background(), answerTimeout)
	defer cancel()
	if err := d.server.Close(ctx); err != nil {
		d.log.Print(err)
	}
	d.backend.meters.end()
	d.cancel()
	<-d.loopDone
	d.backend.work.Wait()
	d.world.working.Wait()
	if d.managed() {
		d.bequeath()
	}
	d.closeState()
	d.world.table.Close()
	d.showNoMore()
	d.world.logs.Close()
	d.trimmer.End()
	signal.Stop(d.signals)
	if !d.managed() { // else it is kept for the next start
		os.Remove(d.home.socket())
	}
	os.Remove(d.home.pidFile())
	d.log.Print("ended")
	d.letGo()
}

// letGo closes what is open beside the hands, the lock last.
func (d *daemon) letGo() {
	for _, fd := range []int{d.control, d.exe} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
	if d.world != nil && d.world.hands != nil {
		d.world.hands.Close()
	}
	if d.lock != nil {
		d.lock.Close()
	}
}
