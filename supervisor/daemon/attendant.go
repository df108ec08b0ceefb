package daemon

import (
	"context"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"supervisor/ready/gate"
	"supervisor/supervisor"
	"supervisor/supervisor/fault"
	"supervisor/supervisor/probe"
	"supervisor/supervisor/process"
	"supervisor/supervisor/state"
)

// attendant attends to one process from its spawn until its group is gone. What it
// is told to do runs in its lane, so a stop that comes while it is still being
// spawned waits for the program, and a slow process delays nobody else.
type attendant struct {
	lane
	w     *world
	order supervisor.SpawnOrder

	child  *process.Child
	exit   *process.Exit // of an adopted one, if that was heard already
	gates  *gate.Gates
	prober *probe.Prober // nil: nothing is asked

	attending bool           // what it says is heard; the world's lock guards it
	held      bool           // whoever holds for us has held its descriptors
	hand      int            // its place in the memory for notifications, -1: none
	told      bool           // it was sent the message shutdown
	insisting bool           // and is watched for reading it
	stale     []int          // log files as another daemon had them open
	kept      map[string]int // its descriptors in the store, by suffix
	closed    bool           // all that it had was let go of
	unknown   bool           // the loop has forgotten it, and ends it

	acceptUntil time.Time   // steered: when its stop signal is due at the latest
	over        atomic.Bool // its main process has ended
}

// How long an attendant waits for what a worker may never do.
const (
	sendTimeout  = time.Second            // for the message shutdown to be taken
	drainTimeout = 2 * time.Second        // for the channels of an ended worker, which a grandchild may hold
	heldTimeout  = 100 * time.Millisecond // and of one that has left processes, which surely do
)

// speaksForWorker reports whether a process may say READY=1 for the worker: one of
// its group, or one that is gone already (systemd-notify ends at once) and had the
// worker's user; the socket's name is known to the worker alone.
func (p *attendant) speaksForWorker(pid int32, uid uint32) bool {
	if pid > 0 {
		pgid, err := unix.Getpgid(int(pid))
		if err == nil {
			return pgid == p.child.PID()
		}
	}
	want := uint32(os.Geteuid())
	if account, err := p.account(); err == nil && account != nil && account.Credential.UID >= 0 {
		want = uint32(account.Credential.UID)
	}
	return uid == want
}

// heard translates what the worker says on its channels.
func (p *attendant) heard(f gate.Fact) {
	id := p.order.ID
	switch f := f.(type) {
	case gate.Ready: // it is taken from its channel when it is on record
		p.w.record(supervisor.BecameReady{ID: id, Via: string(f.Via)})
	case gate.Status:
		p.w.tell(supervisor.Said{ID: id, Text: f.Text})
	case gate.ExtendTimeout:
		p.w.tell(supervisor.Extended{ID: id, By: f.D})
	case gate.Message:
		p.w.tell(supervisor.Messaged{ID: id, Data: f.JSON})
	case gate.Bad:
		p.w.note(p.order.App, id, fmt.Sprintf("%s: %s: %s", label(p.order.App, p.order.Slot), f.Channel, f.Why))
	}
}

// watch tells the process's end, then its group's.
func (p *attendant) watch() {
	defer p.w.working.Done()
	exit := p.ended()
	p.askNoMore()
	id := p.order.ID
	p.over.Store(true)
	if p.order.Spec.Steered() {
		p.w.table.Lost(id)
	}
	wait := drainTimeout
	if exit.Left > 0 {
		wait = heldTimeout // its successor waits for us
	}
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	p.gates.Drain(ctx)
	cancel()
	p.w.logs.Drain(id)
	fault.Point("exit.heard")
	p.w.tell(supervisor.Ended{
		ID: id, Code: exit.Status.Code, Signal: exit.Status.Signal, SignalName: signalName(exit.Status.Signal), Left: exit.Left,
		How: exit.Status.String(), LastLines: p.w.logs.LastLines(id, quotedLines),
	})
	<-p.child.Gone()
	closed := make(chan struct{})
	p.push(func() {
		p.close()
		close(closed)
	})
	<-closed
	p.w.record(supervisor.Gone{ID: id}) // what tells how it ended is there until then
	fault.Point("gone.recorded")
	p.child.Release()
	fault.Point("gone.released")
	p.w.records.Drop(id)
}

// ended waits for the end of the main process.
func (p *attendant) ended() process.Exit {
	if p.exit != nil {
		return *p.exit
	}
	return <-p.child.Exited()
}

// close lets go of all that a worker which is no more has had.
func (p *attendant) close() {
	id := p.order.ID
	p.closed = true
	for _, suffix := range []string{keptFile, keptErrs} {
		p.w.store.Remove(storeName(id, suffix))
	}
	for suffix := range p.kept {
		if suffix != keptPidFD {
			p.w.store.Remove(storeName(id, suffix))
		}
	}
	p.w.store.Remove(storeName(id, keptPidFD)) // as long as it is there, nothing was lost
	p.w.logs.Finish(id)
	if p.gates != nil {
		p.gates.Close()
	}
	p.w.table.Detach(id)
	p.w.hands.Free(p.hand)
	if fd, ok := p.kept[keptBinds]; ok {
		unix.Close(fd)
	}
}

// alone is for a worker whose predecessor is gone.
func (p *attendant) alone() {
	if p.gates == nil {
		return
	}
	if _, kept := p.kept[gate.SuffixFlipNames]; kept { // it is about to be closed
		delete(p.kept, gate.SuffixFlipNames)
		p.w.store.Remove(storeName(p.order.ID, gate.SuffixFlipNames))
	}
	p.gates.Alone()
}

// askNoMore ends the probe of a worker that is over, or told to be.
func (p *attendant) askNoMore() {
	if p.prober != nil {
		p.prober.Stop()
	}
}

func (p *attendant) stop(o supervisor.StopOrder) {
	if p.child == nil {
		return
	}
	p.askNoMore()
	if p.order.Spec.Steered() && p.letAccept(o) {
		return
	}
	p.count(false)
	if o.Message && p.told { // by another daemon, if nobody insists on it
		p.insist(o)
		return
	}
	if o.Message {
		ctx, cancel := context.WithTimeout(context.Background(), sendTimeout)
		err := p.gates.Send(ctx, "shutdown")
		cancel()
		if err == nil {
			p.told = true
			p.record()
			p.insist(o)
			return
		}
		p.w.note(p.order.App, p.order.ID, fmt.Sprintf("%s: the message shutdown can't be sent, it gets the signal: %v", label(p.order.App, p.order.Slot), err))
	}
	p.interrupt(o)
}

// insist sends the signal to a worker that has not read the message shutdown when half
// of its kill_timeout is over: it may not even know of the channel.
func (p *attendant) insist(o supervisor.StopOrder) {
	if p.insisting {
		return
	}
	p.insisting = true
	p.w.working.Add(1)
	go p.awaitReading(o) // ends with the worker, or at half its kill_timeout
}

func (p *attendant) awaitReading(o supervisor.StopOrder) {
	defer p.w.working.Done()
	t := time.NewTimer(p.order.Spec.KillTimeout / 2)
	defer t.Stop()
	select {
	case <-p.child.Gone():
		return
	case <-t.C:
	}
	p.push(func() {
		if p.gates.Unread() == 0 {
			return
		}
		p.w.note(p.order.App, p.order.ID, fmt.Sprintf("%s: it does not read the message shutdown, it gets the signal", label(p.order.App, p.order.Slot)))
		p.interrupt(o)
	})
}

// interrupt sends the stop signal.
func (p *attendant) interrupt(o supervisor.StopOrder) {
	mode := map[state.TreeKill]process.TreeMode{
		state.TreeAuto: process.TreeAuto, state.TreeAll: process.TreeAll, state.TreeMain: process.TreeMain,
	}[o.Tree]
	fault.Point("stop.ordered")
	if _, err := p.child.Stop(unix.Signal(o.Signal), mode, o.Pids); err != nil {
		p.w.note(p.order.App, p.order.ID, err.Error())
	}
	fault.Point("stop.sent")
	p.record()
}

// kill freezes the group first, so that what is counted is what is cut.
func (p *attendant) kill() {
	if p.child == nil {
		return
	}
	p.child.Signal(unix.SIGSTOP, process.TreeAll, nil)
	p.count(true)
	if err := p.child.Kill(); err != nil {
		p.w.note(p.order.App, p.order.ID, err.Error())
	}
}

func (p *attendant) signal(sig unix.Signal) {
	if p.child == nil {
		return
	}
	if _, err := p.child.Signal(sig, process.TreeMain, nil); err != nil {
		p.w.note(p.order.App, p.order.ID, err.Error())
	}
}

// count tells how many connections are open, where that can be known.
func (p *attendant) count(killed bool) {
	locals := p.w.locals(p.order.App)
	if len(locals) == 0 {
		return
	}
	if n, err := p.w.looks.connections(p.child.PID(), locals); err == nil {
		p.w.tell(supervisor.Cut{ID: p.order.ID, Open: n, Killed: killed})
	}
}
