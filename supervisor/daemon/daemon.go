package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"supervisor/supervisor"
	"supervisor/supervisor/control"
	"supervisor/supervisor/handover"
	"supervisor/supervisor/history"
	"supervisor/supervisor/listener"
	"supervisor/supervisor/logs"
	"supervisor/supervisor/state"
	"supervisor/supervisor/trim"
	"supervisor/supervisor/usage"
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

// Main is the daemon. It returns its exit code when it was told to end: 0 after a
// stop that was asked for, 1 when it could not begin, 2 when Request's file could
// not be used.
func Main(o Options) int {
	own := newLogWriter(o.Stderr)
	defer own.end()
	d := &daemon{Options: o, home: home(o.Home), log: log.New(own, "", log.LstdFlags|log.LUTC)}
	if o.Foreground {
		d.log.SetPrefix("supervisor: ")
		d.log.SetFlags(log.Lmsgprefix)
	}
	err := d.begin()
	if err != nil {
		var held errHeld
		if errors.As(err, &held) && o.Ready != nil {
			d.ready(readyRunning)
			return state.ExitOK
		}
		d.log.Print(err)
		d.ready(fmt.Sprintf(readyError, err))
		return state.ExitFailed
	}
	d.ready(readyOK)
	return d.run()
}

// daemon is one run of Main.
type daemon struct {
	Options
	home home
	log  *log.Logger

	lock    *os.File
	signals chan os.Signal
	end     chan struct{} // closed when a client asked for the end
	ending  sync.Once

	ctx      context.Context // of the work: ends when everything is stopped
	cancel   context.CancelFunc
	loop     *supervisor.Loop
	loopDone chan struct{}
	world    *world
	backend  *backend
	server   *control.Server
	console  *logs.Console
	trimmer  *trim.Timer
}

func (d *daemon) ready(line string) {
	if d.Ready != nil {
		io.WriteString(d.Ready, line)
		d.Ready.Close()
		d.Ready = nil
	}
}

// begin takes the home and gets everything up to the control socket ready. An error
// leaves nothing behind.
func (d *daemon) begin() (err error) {
	if d.lock, err = d.home.prepare(); err != nil {
		return err
	}
	signal.Ignore(unix.SIGPIPE, unix.SIGXFSZ)
	d.signals = make(chan os.Signal, 16)
	signal.Notify(d.signals, unix.SIGHUP, unix.SIGINT, unix.SIGTERM, unix.SIGUSR1, unix.SIGUSR2)
	d.end, d.loopDone = make(chan struct{}), make(chan struct{})
	d.ctx, d.cancel = context.WithCancel(context.Background())
	defer func() {
		if err != nil {
			d.cancel()
			signal.Stop(d.signals)
			d.lock.Close()
		}
	}()

	boot := handover.Boot()
	records := handover.Dir(d.home.path("state"))
	lastID := d.endRecorded(records, boot)
	d.loop = supervisor.New(state.DaemonInfo{PID: os.Getpid(), Version: d.Version}, lastID, nil)
	w := &world{
		home: d.home, ctx: d.ctx, tell: d.loop.Tell, say: d.log.Printf, store: handover.None{},
		records: records, history: history.Dir(d.home.path("history")), boot: boot,
		apps: map[string]*lane{}, attendants: map[uint64]*attendant{},
		forking: make(chan struct{}, perCPU*usableCPUs()),
		looks:   looks{counting: make(chan struct{}, perCPU*usableCPUs())},
		room:    newRoom(),
	}
	w.clearBuilds("", nil) // of an earlier daemon
	if w.logs, err = logs.New(logs.Config{Facts: w.wrote}); err != nil {
		return fmt.Errorf("cannot capture logs: %w", err)
	}
	w.table = listener.New(listener.Config{Store: w.store, Facts: w.heard})
	d.world = w
	d.backend = &backend{
		loop: d.loop, world: w, history: w.history, logs: w.logs, sampler: &usage.Sampler{},
		files: files{with: map[string]overrides{}}, version: d.Version, env: os.Environ(),
		end: d.finish, ctx: d.ctx,
	}
	ln, err := d.home.listen()
	if err == nil {
		if err = d.home.writePID(); err != nil {
			ln.Close()
		}
	}
	if err != nil {
		w.table.Close()
		w.logs.Close()
		return err
	}
	d.trimmer = trim.New()
	w.touched, d.backend.touched = d.trimmer.Touched, d.trimmer.Touched
	go func() { // ends with ctx
		defer close(d.loopDone)
		d.loop.Run(d.ctx, w)
	}()
	d.server = control.Serve(ln, d.backend)
	return nil
}

// endRecorded ends the workers that an earlier daemon has left, by the stop ladder:
// nobody can adopt them yet. It returns the largest id that was ever on record.
func (d *daemon) endRecorded(records handover.Dir, boot string) uint64 {
	left, last, bad := records.Read(boot)
	for _, path := range bad {
		d.log.Printf("state: moved aside what can't be read: %s", path)
	}
	var all sync.WaitGroup
	for _, r := range left {
		all.Go(func() { d.endOne(r) })
	}
	all.Wait()
	for _, r := range left {
		records.Drop(r.ID)
	}
	return last
}

func (d *daemon) finish() { d.ending.Do(func() { close(d.end) }) }

// run obeys signals until it is told to end, then stops everything.
func (d *daemon) run() int {
	d.log.Printf("supervisor %s, pid %d, %s", d.Version, os.Getpid(), d.home)
	if d.Foreground {
		var err error
		if d.console, err = d.world.logs.Console(1, 2); err != nil {
			d.log.Print(err)
		}
	}
	code := make(chan int, 1)
	if d.Request != nil {
		go func() { code <- d.first(*d.Request) }() // ends with the request
	}
	exit := state.ExitOK
	for done := false; !done; {
		select {
		case sig := <-d.signals:
			done = d.obey(sig)
		case <-d.end:
			done = true
		case exit = <-code:
			done = exit == state.ExitUsage
		}
	}
	if exit != state.ExitUsage {
		exit = state.ExitOK
	}
	d.shutdown()
	return exit
}

// first carries out the request of start --no-daemon. A file that can't be used
// ends the daemon; an app that does not come up does not.
func (d *daemon) first(req state.Request) int {
	result := d.backend.Do(d.ctx, req)
	for _, m := range result.Messages {
		d.log.Print(m)
	}
	if result.Error == nil {
		return state.ExitOK
	}
	d.log.Print(result.Error.Message)
	for _, line := range result.Error.Details {
		d.log.Print("  " + line)
	}
	d.logSkipped(result)
	return result.Error.Code
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
		go func() { // ends with the reload
			result := d.backend.Do(d.ctx, state.Request{Verb: state.VerbReload})
			if result.Error != nil {
				d.log.Print(result.Error.Message)
				d.logSkipped(result)
			}
		}()
	case unix.SIGUSR1:
		d.log.Print("SIGUSR1: log files are opened again")
		if err := d.world.logs.Reopen(); err != nil {
			d.log.Print(err)
		}
		d.reopen()
	case unix.SIGUSR2:
		d.log.Print("SIGUSR2: upgrade is not supported yet")
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

// answerTimeout is how long the requests in work may take to see their answer sent.
const answerTimeout = 5 * time.Second

// shutdown stops every app, answers who waits, and leaves nothing. Nothing may be
// started meanwhile: nobody would stop it.
func (d *daemon) shutdown() {
	d.loop.Close()
	d.backend.Do(d.ctx, state.Request{Verb: state.VerbStop})
	ctx, cancel := context.WithTimeout(context.Background(), answerTimeout)
	defer cancel()
	if err := d.server.Close(ctx); err != nil {
		d.log.Print(err)
	}
	d.cancel()
	<-d.loopDone
	d.backend.work.Wait()
	d.world.working.Wait()
	d.world.table.Close()
	if d.console != nil {
		d.console.Close()
	}
	d.world.logs.Close()
	d.trimmer.End()
	signal.Stop(d.signals)
	os.Remove(d.home.socket())
	os.Remove(d.home.pidFile())
	d.log.Print("ended")
	d.lock.Close()
}
