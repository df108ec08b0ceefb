package daemon

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"supervisor/ready/gate"
	"supervisor/supervisor"
	"supervisor/supervisor/handover"
	"supervisor/supervisor/logs"
	"supervisor/supervisor/process"
)

// adopt finds the processes of the spawns that are on record. What it gives begins to
// attend when the loop is there. begun are those of which a program may have run: for sure
// those of which the loop knew that it did, however they have ended.
func (w *world) adopt(l leftovers, known []supervisor.Recorded) (adopted map[uint64]*attendant, begun map[uint64]bool) {
	ran := map[uint64]bool{}
	for _, k := range known {
		ran[k.Order.ID] = k.PID != 0
	}
	adopted, begun = map[uint64]*attendant{}, map[uint64]bool{}
	for id, r := range l.records {
		p, err := w.adoptOne(r)
		switch {
		case err != nil:
			w.say("%s: cannot take over pid %d: %v", label(r.App, r.Slot), r.PID, err)
		case !ran[id] && p.unbegun():
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

// resume makes an adopted attendant go on with what the loop knows of it. What of it can't
// be had any more is said.
func (p *attendant) resume(known supervisor.Recorded, r handover.Record) {
	order := known.Order
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
	for _, suffix := range []string{keptFile, keptErrs} { // opened, and stored, anew
		if fd, ok := p.w.store.Take(storeName(order.ID, suffix)); ok {
			p.stale = append(p.stale, fd)
		}
	}
	p.resumeLogs(take)
	p.resumeGates(take, known.Ready)
	p.resumeBinds(take(keptBinds), r.PID)
	if !known.Proven {
		p.resumeProbe()
	}
	if len(lost) > 0 && !p.unknown && !p.held && p.runs() { // else it is ended, over, or was being closed
		p.w.note(order.App, order.ID, fmt.Sprintf("%s: lost with whoever held them for the supervisor: %s",
			label(order.App, order.Slot), strings.Join(inWords(lost), ", ")))
	}
}

// runs reports whether the process lives. What one that has ended had was let go of.
func (p *attendant) runs() bool {
	fd := p.child.PidFD()
	return fd >= 0 && !hasEnded(fd)
}

// resumeBinds lets the table answer the worker's calls, if they can still be heard.
func (p *attendant) resumeBinds(kept, pid int) {
	if kept < 0 {
		p.w.table.Claim(p.listens(pid))
		return
	}
	fd, err := unix.FcntlInt(uintptr(kept), unix.F_DUPFD_CLOEXEC, 0)
	if err == nil && p.hand >= 0 {
		if err = p.w.hands.Use(p.hand); err != nil {
			unix.Close(fd)
		}
	}
	if err == nil {
		err = p.w.table.Attach(p.listens(pid), fd)
	}
	if err != nil {
		p.w.unseen(p.order.App, err.Error())
		p.w.table.Claim(p.listens(pid)) // what it has is its own still
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
