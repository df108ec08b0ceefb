package daemon

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"supervisor/ready/gate"
	"supervisor/supervisor"
	"supervisor/supervisor/handover"
	"supervisor/supervisor/listener"
	"supervisor/supervisor/logs"
	"supervisor/supervisor/process"
	"supervisor/supervisor/state"
)

// leftovers are what an earlier daemon has left on disk.
type leftovers struct {
	head    head
	sockets []listener.Record
	records map[uint64]handover.Record // of this boot, by spawn
	lastID  uint64                     // the largest that is known to be used
}

// readLeftovers reads HOME/state. final is what daemon.json says where an upgrade has
// handed it over; nil reads the file. What can't be understood is moved aside and named;
// what only a newer supervisor understands is an error, and stays.
func (d *daemon) readLeftovers(records handover.Dir, boot string, final []byte) (leftovers, error) {
	var l leftovers
	found, last, bad := records.Read(boot)
	for _, path := range bad {
		d.log.Printf("state: moved aside what can't be read: %s", path)
	}
	l.records, l.lastID = map[uint64]handover.Record{}, last
	for _, r := range found {
		l.records[r.ID] = r
	}
	data, err := final, error(nil)
	if data == nil {
		data, err = records.Load(daemonFile)
	}
	if err == nil {
		l.head, err = readHead(data, boot)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case errors.As(err, new(errNewer)):
		return l, err
	case err != nil:
		d.setAside(records, daemonFile, err)
	}
	if l.head.Stopping && d.managed() {
		// It died while it stopped everything. That is done first, and what the file says
		// comes after it: systemd has no other way to start us.
		l.head.Loop, l.head.Files = nil, nil
	}
	if l.head.Loop == nil && !d.managed() {
		return l, nil
	}
	data, err = records.Load(socketsFile)
	if err == nil {
		err = json.Unmarshal(data, &l.sockets)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		d.setAside(records, socketsFile, err)
	}
	return l, nil
}

func (d *daemon) setAside(records handover.Dir, name string, why error) {
	if path := records.Aside(name); path != "" {
		d.log.Printf("state: moved aside what can't be read: %s (%v)", path, why)
		return
	}
	d.log.Printf("state: %s can't be read (%v), nor moved aside", name, why)
}

// adopt finds the processes of the spawns that are on record. What it gives begins to
// attend when the loop is there. begun are those of which a program may have run.
func (w *world) adopt(l leftovers) (adopted map[uint64]*attendant, begun map[uint64]bool) {
	adopted, begun = map[uint64]*attendant{}, map[uint64]bool{}
	for id, r := range l.records {
		p, err := w.adoptOne(r)
		switch {
		case err != nil:
			w.say("%s: cannot take over pid %d: %v", label(r.App, r.Slot), r.PID, err)
		case p.unbegun():
			w.store.Remove(storeName(id, keptPidFD))
			p.child.Release()
			w.records.Drop(id)
			continue
		default:
			adopted[id] = p
		}
		begun[id] = true
	}
	return adopted, begun
}

func (w *world) adoptOne(r handover.Record) (*attendant, error) {
	pidfd := -1
	if fd, ok := w.store.Take(storeName(r.ID, keptPidFD)); ok {
		pidfd = fd
	}
	p := &attendant{w: w, lane: lane{all: &w.working}, hand: r.Hand, told: r.Told, kept: map[string]int{}}
	p.order = supervisor.SpawnOrder{ID: r.ID, App: r.App, Slot: r.Slot, Gen: r.Generation}
	child, err := process.Adopt(process.Adoption{
		Recorded: recorded(r), PidFD: pidfd, Signalled: identities(r.Signalled),
		Reported: w.reported(r), Deserted: p.deserted,
	})
	if err != nil {
		return nil, err
	}
	p.child = child
	switch {
	case child.PidFD() != pidfd:
		if pidfd >= 0 {
			w.store.Remove(storeName(r.ID, keptPidFD))
		}
		p.keep(keptPidFD, child.PidFD())
	case pidfd >= 0:
		p.kept[keptPidFD], p.held = pidfd, true
	}
	return p, nil
}

// shimEnd is how long a shim that waited for its go byte may take to see that nobody is
// there to give it.
const shimEnd = 2 * time.Second

// unbegun reports whether a spawn came no further than its shim, which ends when the
// daemon that it waited for has died.
func (p *attendant) unbegun() bool {
	cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.child.PID()))
	alive := err == nil && len(cmdline) > 0 // a zombie has none
	if alive && !process.IsShim(strings.Split(string(cmdline), "\x00")) {
		return false
	}
	t := time.NewTimer(shimEnd)
	defer t.Stop()
	select {
	case exit := <-p.child.Exited():
		p.exit = &exit
		return exit.Status.Code == process.ShimExit
	case <-t.C:
		return false
	}
}

// reported tells how a process ended, if the keeper has reaped it.
func (w *world) reported(r handover.Record) func(int) (process.Status, bool) {
	return func(int) (process.Status, bool) {
		ws, ok := w.exits.Reported(handover.Proc{PID: r.PID, Start: r.StartTime})
		if ws.Signaled() {
			return process.Status{Signal: int(ws.Signal()), Core: ws.CoreDump()}, ok
		}
		return process.Status{Code: ws.ExitStatus()}, ok
	}
}

// recorded is what package process needs to know a process again.
func recorded(r handover.Record) process.Recorded {
	return process.Recorded{PID: r.PID, StartTime: r.StartTime, Mark: mark(r.ID)}
}

// resume makes an adopted attendant go on with an order of the loop. What of it can't be
// had any more is said.
func (p *attendant) resume(order supervisor.SpawnOrder, isReady bool, r handover.Record) {
	p.order = order
	var lost []string
	take := func(suffix string) int {
		fd, ok := p.w.store.Take(storeName(order.ID, suffix))
		switch {
		case ok:
			p.kept[suffix] = fd
			return fd
		case r.Inodes[suffix] == 0:
			return -1
		}
		if fd := regainPipe(r.PID, r.Inodes[suffix]); fd >= 0 {
			p.keep(suffix, fd)
			return fd
		}
		lost = append(lost, suffix)
		return -1
	}
	p.stale = []int{take(keptFile), take(keptErrs)}
	p.resumeLogs(take)
	p.resumeGates(take, isReady)
	p.resumeBinds(take(keptBinds), r.PID)
	if !isReady {
		p.resumeProbe()
	}
	if len(lost) > 0 && order.Spec.Name != "" { // else it is ended, or over
		p.w.note(order.App, order.ID, fmt.Sprintf("%s: lost with whoever held them for the supervisor: %s",
			label(order.App, order.Slot), strings.Join(inWords(lost), ", ")))
	}
}

// resumeBinds lets the table answer the worker's calls, if they can still be heard.
func (p *attendant) resumeBinds(kept, pid int) {
	fd, err := -1, error(nil)
	if kept >= 0 {
		if fd, err = unix.FcntlInt(uintptr(kept), unix.F_DUPFD_CLOEXEC, 0); err == nil {
			err = p.w.hands.Use(p.hand)
		}
	}
	switch {
	case kept < 0:
		p.w.table.Claim(p.listens(pid))
		return
	case err == nil:
		err = p.w.table.Attach(p.listens(pid), fd)
	}
	if err != nil {
		p.w.unseen(p.order.App, err.Error())
	}
}

func (p *attendant) resumeLogs(take func(string) int) {
	account, err := p.account()
	if err == nil {
		err = p.w.logs.Adopt(p.logWorker(account), logs.Pipes{
			Out: take(keptOut), Err: take(keptErr), SpoolOut: take(keptSpool), SpoolErr: take(keptTray),
		})
	}
	if err != nil {
		p.w.note(p.order.App, p.order.ID, fmt.Sprintf("its output is not captured any more: %v", err))
		return
	}
	made, _ := p.w.logs.Pipes(p.order.ID)
	for suffix, fd := range map[string]int{keptSpool: made.SpoolOut, keptTray: made.SpoolErr} {
		if _, kept := p.kept[suffix]; !kept { // it was lost, and is a new one
			p.keep(suffix, fd)
		}
	}
}

// resumeProbe asks on whether the worker is ready.
func (p *attendant) resumeProbe() {
	account, err := p.account()
	if err == nil {
		p.prober, err = p.newProber(p.spec(account, logs.Ends{Stdout: -1, Stderr: -1}, gate.Child{}, nil))
	}
	if err != nil {
		p.w.note(p.order.App, p.order.ID, fmt.Sprintf("it is not asked any more whether it is ready: %v", err))
	}
}

// channelSuffixes are those of package gate.
var channelSuffixes = [...]string{gate.SuffixFD, gate.SuffixNotify, gate.SuffixNode, gate.SuffixFlip, gate.SuffixFlipNames}

func (p *attendant) resumeGates(take func(string) int, isReady bool) {
	channels := channelsOf(p.order.Spec, p.order.Launch)
	channels.Worker, channels.Allow = p.order.ID, p.speaksForWorker
	held := map[string]int{}
	for _, suffix := range channelSuffixes {
		if fd := take(suffix); fd >= 0 {
			held[suffix] = fd
		}
	}
	gates, err := gate.Adopt(channels, held, isReady, p.heard)
	if err != nil {
		p.w.note(p.order.App, p.order.ID, fmt.Sprintf("its channels are lost: %v", err))
		gates, _, _ = gate.Open(gate.Config{Worker: p.order.ID}, p.heard)
	}
	p.gates = gates
}

// inWords names descriptors for a person.
func inWords(suffixes []string) []string {
	words := make([]string, len(suffixes))
	for i, suffix := range suffixes {
		switch suffix {
		case keptOut, keptErr:
			words[i] = "its output"
		case keptBinds:
			words[i] = "its calls of bind and listen (they fail with ENOSYS; restart it)"
		case gate.SuffixNode:
			words[i] = "its Node channel"
		case gate.SuffixNotify:
			words[i] = "its NOTIFY_SOCKET"
		case gate.SuffixFD:
			words[i] = "its READY_FD"
		default:
			words[i] = "its channel to tableflip"
		}
	}
	slices.Sort(words)
	return slices.Compact(words)
}

// startedAs is how a file that the daemon is started with relates to what it took over:
// what runs is not changed, and that it differs is said.
func (b *backend) startedAs(req state.Request, warn func(format string, args ...any)) {
	if req.File == "" {
		return
	}
	with := b.files.merged(req.File, req)
	eco, broken := with.read(req.File, req.Env)
	if broken != nil {
		warn("%s; what ran goes on", broken.Message)
		return
	}
	apps, failed := b.chosen(b.ctx, nil)
	if failed != nil {
		return
	}
	for _, spec := range eco.Apps {
		i := slices.IndexFunc(apps, func(a state.App) bool { return a.Name == spec.Name && a.Spec.File == req.File })
		switch {
		case i < 0:
			warn("%s: %s is not running: start the file", req.File, spec.Name)
		case len(state.Diff(apps[i].Spec, spec)) > 0:
			warn("%s: %s has changed since generation %d (%s): run reload", req.File, spec.Name,
				apps[i].Generation, strings.Join(state.Diff(apps[i].Spec, spec), ", "))
		}
	}
}

// findUnrecorded adds the workers that the loop knows and whose state files could not be
// written, for want of room: by their pid, and the number in their environment.
func (w *world) findUnrecorded(l leftovers, known []supervisor.Recorded) {
	for _, k := range known {
		o := k.Order
		if _, recorded := l.records[o.ID]; recorded || k.PID == 0 {
			continue
		}
		env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", k.PID))
		if err != nil || !slices.Contains(strings.Split(string(env), "\x00"), mark(o.ID)) {
			continue
		}
		if start, err := process.StartTime(k.PID); err == nil {
			l.records[o.ID] = handover.Record{
				ID: o.ID, App: o.App, Slot: o.Slot, Generation: o.Gen, PID: k.PID, PGID: k.PID, StartTime: start, Boot: w.boot,
				KillSignal: o.Spec.KillSignal, KillAfter: o.Spec.KillTimeout, Hand: -1,
			}
		}
	}
}

// mark is what no other process has in its environment than a worker and what it starts.
func mark(id uint64) string { return fmt.Sprintf("SUPERVISOR_WORKER=%d", id) }

// adoptSockets gives the table the sockets that it had.
func (w *world) adoptSockets(l leftovers) {
	if len(l.sockets) == 0 {
		return
	}
	lost, err := w.table.Adopt(l.sockets, func(name string) (int, bool) {
		if fd, ok := w.store.Take(name); ok {
			return fd, true
		}
		return w.regainSocket(l, name)
	})
	if err != nil {
		w.say("state: %v", err)
	}
	if l.head.Loop == nil {
		w.table.Bequeath() // what an earlier daemon has left for whoever asks for it
		return
	}
	for _, r := range lost {
		w.say("%s: %s is lost with whoever held it for the supervisor", r.App, r.Addr)
	}
}

// restoreLoop makes the loop what it was, with the processes that are still there. An error
// says that what is kept of it can't be understood.
func (d *daemon) restoreLoop(info state.DaemonInfo, left leftovers, upgraded bool) error {
	before, err := supervisor.Restore(info, left.head.Loop, nil, supervisor.RestoreOptions{})
	if err != nil {
		return err // before any process is touched
	}
	w := d.world
	w.findUnrecorded(left, before.Recorded())
	adopted, begun := w.adopt(left)
	found := map[uint64]supervisor.Found{}
	for id, p := range adopted {
		found[id] = supervisor.Found{PID: p.child.PID(), App: p.order.App, Slot: p.order.Slot}
	}
	loop, err := supervisor.Restore(info, left.head.Loop, found, supervisor.RestoreOptions{Crash: !upgraded, Begun: begun, Clock: sinceBoot})
	if err != nil {
		return err
	}
	d.loop, d.restored = loop, true
	w.hear(loop)
	known := map[uint64]supervisor.Recorded{}
	for _, r := range loop.Recorded() {
		known[r.Order.ID] = r
	}
	for id, p := range adopted {
		r := known[id]
		if r.Order.ID == 0 { // nobody knows it, and it is about to be ended
			r.Order = p.order
		}
		p.resume(r.Order, r.Ready, left.records[id])
		w.attendants[id] = p
		d.adopted = append(d.adopted, p)
	}
	return nil
}
