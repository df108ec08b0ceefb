package daemon

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"supervisor/supervisor/handover"
	"supervisor/supervisor/logs"
	"supervisor/supervisor/process"
)

// A worker's descriptors are in the store under its id and one of these. Those of its
// channels are package gate's.
const (
	keptOut   = ".o" // the pipes of its output
	keptErr   = ".e"
	keptSpool = ".s" // the spools of formatted output
	keptTray  = ".t"
	keptFile  = ".f" // the files that the output goes to
	keptErrs  = ".g"
	keptBinds = ".n" // its calls of bind and listen
	keptPidFD = ".p"
)

// socketStore is the store as the table of sockets has it: what it has removed nobody
// holds any more, so that its address is free. Programs that look for a free port bind
// it again at once.
type socketStore struct{ *handover.Holder }

// removeWait is how long whoever holds for us may take to let go of a socket.
const removeWait = time.Second

// Remove returns when the holder has closed its copy.
func (s socketStore) Remove(name string) error {
	if err := s.Holder.Remove(name); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), removeWait)
	defer cancel()
	return s.Barrier(ctx)
}

// storeName is what a descriptor of a worker is called in the store.
func storeName(id uint64, suffix string) string {
	return "w" + strconv.FormatUint(id, 10) + suffix
}

// keep puts a descriptor of the worker into the store, where it is until close. That
// it can't be is said: it is lost when the supervisor dies.
func (p *attendant) keep(suffix string, fd int) {
	if fd < 0 {
		return
	}
	p.kept[suffix] = fd
	if err := p.w.store.Push(storeName(p.order.ID, suffix), fd); err != nil {
		p.w.note(p.order.App, p.order.ID, fmt.Sprintf("%s: %v; a supervisor that takes over could not go on with it",
			label(p.order.App, p.order.Slot), err))
	}
}

// keepChannels stores what exists before the worker does.
func (p *attendant) keepChannels(pipes logs.Pipes) {
	p.keep(keptOut, pipes.Out)
	p.keep(keptErr, pipes.Err)
	p.keep(keptSpool, pipes.SpoolOut)
	p.keep(keptTray, pipes.SpoolErr)
	for suffix, fd := range p.gates.Held() {
		p.keep(suffix, fd)
	}
}

// record writes the state file: before the go byte, and again when there is more that
// a successor has to know. A stop may come when it is over: its record is dropped, and
// must not come back.
func (p *attendant) record() {
	if p.closed {
		return
	}
	o := p.order
	r := handover.Record{
		ID: o.ID, App: o.App, Slot: o.Slot, Generation: o.Gen,
		PID: p.child.PID(), PGID: p.child.PID(), StartTime: p.child.StartTime(), Boot: p.w.boot,
		KillSignal: o.Spec.KillSignal, KillAfter: o.Spec.KillTimeout,
		Hand: p.hand, Told: p.told, Inodes: p.inodes(),
	}
	for _, one := range p.child.Signalled() {
		r.Signalled = append(r.Signalled, handover.Proc{PID: one.PID, Start: one.StartTime})
	}
	if err := p.w.records.Put(r); err != nil {
		p.w.unrecorded.Store(true)
		p.w.note(o.App, o.ID, fmt.Sprintf("%v; a supervisor that takes over would not know this worker", err))
	}
}

// identities are those who have had the stop signal.
func identities(procs []handover.Proc) []process.Identity {
	all := make([]process.Identity, len(procs))
	for i, one := range procs {
		all[i] = process.Identity{PID: one.PID, StartTime: one.Start}
	}
	return all
}

// inodes are by which descriptors that got lost can be found again.
func (p *attendant) inodes() map[string]uint64 {
	found := map[string]uint64{}
	for suffix, fd := range p.kept {
		if inode, err := inodeOf(fd); err == nil {
			found[suffix] = inode
		}
	}
	return found
}
