package daemon

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"

	"supervisor/supervisor"
	"supervisor/supervisor/handover"
	"supervisor/supervisor/listener"
	"supervisor/supervisor/process"
	"supervisor/supervisor/state"
)

// leftovers are what an earlier daemon has left on disk.
type leftovers struct {
	head    head
	before  *supervisor.Loop // as head.Loop has it; nil for none
	sockets []listener.Record
	records map[uint64]handover.Record // of this boot, by spawn
	lastID  uint64                     // the largest that is known to be used
}

// readLeftovers reads HOME/state. final is what daemon.json says where an upgrade has
// handed it over; nil reads the file. What can't be understood is moved aside and named;
// what only a newer supervisor understands is an error, and stays.
func (d *daemon) readLeftovers(records handover.Dir, boot string, final []byte) (leftovers, error) {
	var l leftovers
	data, err := final, error(nil)
	if data == nil {
		data, err = records.Load(daemonFile)
	}
	if err == nil {
		l.head, l.before, err = readState(data, boot)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case errors.As(err, new(supervisor.ErrNewer)):
		return l, err // before anything is moved: what else is there is that one's too
	case err != nil:
		d.setAside(records, daemonFile, err)
	}
	found, last, bad := records.Read(boot)
	for _, path := range bad {
		d.log.Printf("state: moved aside what can't be read: %s", path)
	}
	l.records, l.lastID = map[uint64]handover.Record{}, last
	for _, r := range found {
		l.records[r.ID] = r
	}
	if l.head.Stopping && d.managed() {
		// It died while it stopped everything. That is done first, and what the file says
		// comes after it: systemd has no other way to start us.
		l.head.Loop, l.head.Files, l.before = nil, nil, nil
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

// readState reads daemon.json, and the loop in it. Where that can't be understood the rest
// of it still is.
func readState(data []byte, boot string) (h head, before *supervisor.Loop, err error) {
	h, err = readHead(data, boot)
	if err != nil || h.Loop == nil {
		return h, nil, err
	}
	if before, err = supervisor.Restore(state.DaemonInfo{}, h.Loop, nil, supervisor.RestoreOptions{}); err != nil {
		h.Loop = nil
	}
	return h, before, err
}

func (d *daemon) setAside(records handover.Dir, name string, why error) {
	if path := records.Aside(name); path != "" {
		d.log.Printf("state: moved aside what can't be read: %s (%v)", path, why)
		return
	}
	d.log.Printf("state: %s can't be read (%v), nor moved aside", name, why)
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

// adoptSockets gives the table the sockets that it had. Where a worker lives it has to
// know that it succeeds another, though nothing may be on record: that one may have died
// in the first call of all.
func (w *world) adoptSockets(l leftovers) {
	if len(l.sockets) == 0 && l.head.Loop == nil {
		return
	}
	recorded := map[string]listener.Record{}
	for _, r := range l.sockets {
		recorded[r.Name()] = r
	}
	lost, err := w.table.Adopt(l.sockets, func(name string) (int, bool) {
		if fd, ok := w.store.Take(name); ok {
			return fd, true
		}
		r, ok := recorded[name] // names behind the last on record are asked for, too
		if !ok {
			return -1, false
		}
		return w.regainSocket(l, r)
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

// restoreLoop makes the loop what it was, with the processes that are still there.
func (d *daemon) restoreLoop(info state.DaemonInfo, left leftovers, upgraded bool) error {
	w := d.world
	w.findUnrecorded(left, left.before.Recorded())
	adopted, begun := w.adopt(left, left.before.Recorded())
	found := map[uint64]supervisor.Found{}
	for id, p := range adopted {
		found[id] = supervisor.Found{PID: p.child.PID(), App: p.order.App, Slot: p.order.Slot}
	}
	loop, err := supervisor.Restore(info, left.head.Loop, found, supervisor.RestoreOptions{Crash: !upgraded, Begun: begun, Clock: sinceBoot})
	if err != nil {
		return err
	}
	d.loop, d.restored = loop, true
	known := map[uint64]supervisor.Recorded{}
	for _, r := range loop.Recorded() {
		known[r.Order.ID] = r
	}
	for id, p := range adopted {
		r := known[id]
		if r.Order.ID == 0 { // nobody knows it, and it is about to be ended
			p.unknown = true
			r.Order = p.order
			r.Order.Spec = logsOf(loop, p.order)
		}
		p.resume(r, left.records[id])
		w.attendants[id] = p
		d.adopted = append(d.adopted, p)
	}
	return nil
}

// logsOf is a spec that tells where the last words of a worker belong that the loop has
// forgotten: to its app's logs.
func logsOf(loop *supervisor.Loop, o supervisor.SpawnOrder) state.Spec {
	s, _ := loop.SpecOf(o.App, o.Gen)
	return state.Spec{
		Name: o.App, Instances: s.Instances, OutFile: s.OutFile, ErrorFile: s.ErrorFile,
		MergeLogs: s.MergeLogs, LogType: s.LogType, LogDateFormat: s.LogDateFormat, Log: s.Log,
	}
}

// attendLater makes sure that what the loop orders of these workers from now on comes after
// their attendants have begun to hear them, which they do when listen is called. It returns
// when all have.
func attendLater(adopted []*attendant) (listen func()) {
	begin := make(chan struct{})
	var all sync.WaitGroup
	for _, p := range adopted {
		all.Add(1)
		p.push(func() {
			defer all.Done()
			<-begin
			p.attend()
		})
	}
	return func() {
		close(begin)
		all.Wait()
	}
}
