package daemon

import (
	"context"
	"fmt"
	"os"
	"os/signal"

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

// begin takes the home, and takes over what a daemon before this one has left of it, up to
// the control socket. An error leaves nothing behind, and what was there as it was.
func (d *daemon) begin() (err error) {
	os.WriteFile("/proc/self/comm", []byte("supervisor"), 0) // ours is a number, when we are started by a descriptor
	signal.Ignore(unix.SIGPIPE, unix.SIGXFSZ)
	d.signals = make(chan os.Signal, 16)
	signal.Notify(d.signals, unix.SIGHUP, unix.SIGINT, unix.SIGTERM, unix.SIGUSR1, unix.SIGUSR2)
	d.end, d.loopDone = make(chan struct{}), make(chan struct{})
	d.turn, d.replaced, d.lost = make(chan struct{}, 1), make(chan struct{}), make(chan struct{})
	d.ctx, d.cancel = context.WithCancel(context.Background())
	d.handing, d.callOff = context.WithCancel(d.ctx)
	d.binary = binaryOnRecord()
	defer func() {
		if err != nil {
			d.cancel()
			signal.Stop(d.signals)
			d.letGo()
		}
	}()
	from, err := d.inherit()
	if err != nil {
		return err
	}
	d.speakUp(from.upgrade)
	defer d.upward.Busy()() // what an earlier daemon has left may take long to end
	left, err := d.readLeftovers(d.records, d.boot, from.final)
	if err != nil {
		return err
	}
	w, err := d.newWorld(left)
	if err != nil {
		return err
	}
	if d.listener == nil {
		d.listener, err = d.home.listen()
	}
	if err == nil {
		if err = d.home.writePID(); err != nil && left.head.Loop != nil {
			d.log.Print(err) // what runs is more than who runs it
			err = nil
		}
	}
	if err == nil {
		err = d.restore(left, from.upgrade)
	}
	if err != nil {
		if d.listener != nil {
			d.listener.Close()
		}
		w.table.Close()
		w.logs.Close()
		return err
	}
	d.serve()
	return nil
}

// newWorld makes the hands, and gives the table the sockets that it had.
func (d *daemon) newWorld(left leftovers) (*world, error) {
	w := &world{
		home: d.home, ctx: d.ctx, say: d.log.Printf, store: d.store,
		records: d.records, history: history.Dir(d.home.path("history")), boot: d.boot,
		apps: map[string]*lane{}, attendants: map[uint64]*attendant{},
		forking: make(chan struct{}, perCPU*usableCPUs()),
		looks:   looks{counting: make(chan struct{}, perCPU*usableCPUs())},
		room:    newRoom(), exits: handover.NewExits(d.take(handover.ExitsName)),
	}
	d.world = w
	w.tell = w.facts.tell
	w.journal = newJournal(d.records, d.boot, d.log.Printf, w.recordAgain, &w.working)
	w.journal.head.Files, w.journal.head.Begun = left.head.Files, left.head.Begun
	w.tracer = d.tracer
	w.journal.head.Aims = left.head.Aims
	if left.head.Loop != nil {
		w.journal.head.Starting, w.journal.head.Own = left.head.Starting, left.head.Own
	}
	var err error
	if w.logs, err = logs.New(logs.Config{Facts: w.wrote, Opened: w.opened}); err != nil {
		return nil, fmt.Errorf("cannot capture logs: %w", err)
	}
	if w.hands, err = listener.NewHands(d.take(handsName)); err != nil {
		w.logs.Close()
		return nil, err
	}
	w.table = listener.New(listener.Config{Store: socketStore{w.store}, Holder: d.keeperPID, Facts: w.heard, Hands: w.hands, Record: w.listed})
	w.adoptSockets(left)
	return w, nil
}

// restore makes the loop what it was when its state was kept, or a new one, and gives
// it the processes that are still there.
func (d *daemon) restore(left leftovers, upgraded bool) error {
	w := d.world
	info := state.DaemonInfo{PID: os.Getpid(), Version: d.Version}
	if left.before != nil {
		if left.head.Stopping {
			d.log.Print("the supervisor before this one died while it stopped everything: that goes on")
			d.finish()
		}
		if err := d.restoreLoop(info, left, upgraded); err != nil {
			return err
		}
	} else {
		d.endRecorded(left)
		w.clearBuilds("", nil) // of an earlier daemon
		d.loop = supervisor.New(info, max(left.lastID, left.head.LastID), sinceBoot)
	}
	w.record = func(f supervisor.Fact) { d.loop.TellKept(f) } // of an ended loop nothing is recorded any more
	d.backend = &backend{
		loop: d.loop, world: w, history: w.history, logs: w.logs, sampler: &usage.Sampler{},
		upward: d.upward, meters: newMeters(d.loop, w, func() { d.trimmer.Touched() }),
		files: files{with: left.head.with(), keep: w.keepFiles}, version: d.Version, env: os.Environ(),
		end: d.finish, ctx: d.ctx, upgrade: d.upgrade, keeper: d.keeperPID, unit: d.unit(),
	}
	return nil
}

// serve tells whoever holds our descriptors that we are there, lets the workers speak,
// and answers.
func (d *daemon) serve() {
	w := d.world
	d.takeMain() // nothing that is said or stored meanwhile would be heard
	d.upward.Speak()
	d.keepControl()
	d.keepExe()
	if _, stored := d.store.Held()[handsName]; !stored {
		if err := d.store.Push(handsName, w.hands.FD()); err != nil {
			d.log.Print(err)
		}
	}
	w.table.Sweep()
	for _, err := range w.table.Give(d.given) {
		d.log.Print(err)
	}
	for _, name := range d.store.Sweep() {
		d.log.Printf("state: %s was held for nobody", name)
	}
	d.trimmer = trim.New()
	w.touched, d.backend.touched = d.trimmer.Touched, d.trimmer.Touched
	listen := attendLater(d.adopted)
	go func() { // ends with ctx
		defer close(d.loopDone)
		d.loop.Run(d.ctx, w)
	}()
	w.facts.begin(d.loop)
	d.sayReady()
	d.guardKeeper() // before it is another program for a moment, and looks like none
	if d.successor != nil && d.keeperPID() != 0 {
		if err := d.store.Say("KEEPER_REEXEC=1"); err != nil { // it becomes what we are
			d.log.Print(err)
		}
	}
	d.show() // before anything is read: it may have no other log
	listen()
	d.measure(d.backend.files.with)
	d.server = control.Serve(d.listener, d.backend)
	d.succeedInstalled()
}
