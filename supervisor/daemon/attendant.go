package daemon

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"supervisor/ready/gate"
	"supervisor/supervisor"
	"supervisor/supervisor/handover"
	"supervisor/supervisor/listener"
	"supervisor/supervisor/logs"
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
	gates  *gate.Gates
	prober *probe.Prober // nil: nothing is asked

	acceptUntil time.Time   // steered: when its stop signal is due at the latest
	over        atomic.Bool // its main process has ended
}

// How long an attendant waits for what a worker may never do.
const (
	sendTimeout  = time.Second            // for the message shutdown to be taken
	drainTimeout = 2 * time.Second        // for the channels of an ended worker, which a grandchild may hold
	heldTimeout  = 100 * time.Millisecond // and of one that has left processes, which surely do
)

// start is the spawn: channels, shim, state file, go.
func (p *attendant) start() {
	stage, err := p.spawn()
	if err == nil {
		return
	}
	if p.gates != nil {
		p.gates.Close()
	}
	p.w.logs.Finish(p.order.ID)
	p.w.table.Detach(p.order.ID)
	p.w.records.Drop(p.order.ID)
	p.w.tell(supervisor.SpawnFailed{ID: p.order.ID, Stage: stage, Err: err})
}

func (p *attendant) spawn() (stage string, err error) {
	if err := p.w.room.take(); err != nil {
		return "descriptors", err
	}
	defer p.w.room.giveBack()
	o, s := p.order, p.order.Spec
	account, err := p.account()
	if err != nil {
		return "user", err
	}
	ends, err := p.w.logs.Open(p.logWorker(account))
	if err != nil {
		return "logs", err
	}
	defer ends.Close()
	channels := channelsOf(s, o.Launch)
	channels.Worker, channels.Allow = o.ID, p.speaksForWorker
	files, err := p.w.table.Files(p.listens(0), declared(s.Listen))
	if err != nil {
		return "listen", err
	}
	if channels.Tableflip != nil {
		channels.Tableflip.Listeners = tableflipListeners(s.Listen, files)
	}
	gates, inherited, err := gate.Open(channels, p.heard)
	if err != nil {
		return "channels", err
	}
	p.gates = gates
	defer gates.CloseChild()
	spec := p.spec(account, ends, inherited, files)
	prober, err := p.newProber(spec)
	if err != nil {
		return "ready", err
	}
	child, err := p.w.fork(spec)
	if err != nil {
		return stageOf(err), err
	}
	p.child = child
	if err := p.record(); err != nil {
		p.w.note(o.App, o.ID, fmt.Sprintf("%v; after a crash of the supervisor this worker is not known", err))
	}
	p.watchListeners(child)
	if err := child.Go(); err != nil {
		return stageOf(err), err
	}
	p.w.tell(supervisor.Spawned{ID: o.ID, PID: child.PID()})
	gates.Start()
	p.w.logs.Start(o.ID)
	if p.prober = prober; prober != nil {
		prober.Start()
	}
	p.w.working.Add(1)
	go p.watch() // ends when the group is gone
	return "", nil
}

// account is the user that the worker runs as; nil: as the supervisor.
func (p *attendant) account() (*process.Account, error) {
	if p.order.Spec.User == "" && p.order.Spec.Group == "" {
		return nil, nil
	}
	return process.LookupAccount(p.order.Spec.User, p.order.Spec.Group)
}

func (p *attendant) logWorker(account *process.Account) logs.Worker {
	s := p.order.Spec
	out, errs := p.w.logPaths(s, p.order.Slot)
	file := func(path string) logs.FileConfig {
		return logs.FileConfig{
			Path: path, MaxSize: s.Log.MaxSize, MaxFiles: s.Log.MaxFiles, Compress: s.Log.Compress,
			Format: logs.Format{DateFormat: s.LogDateFormat, JSON: s.LogType == state.LogJSON},
			Merged: s.MergeLogs,
		}
	}
	worker := logs.Worker{
		ID: p.order.ID, Label: label(s.Name, p.order.Slot), App: s.Name, Slot: p.order.Slot, Out: file(out), Err: file(errs),
	}
	if account != nil {
		worker.UID, worker.GID = max(0, account.Credential.UID), max(0, account.Credential.GID)
	}
	return worker
}

// label names a worker in its log lines.
func label(app string, slot int) string { return fmt.Sprintf("%s:%d", app, slot) }

// channelsOf says by which channels a worker may say that it is ready.
func channelsOf(s state.Spec, launch state.Launch) gate.Config {
	switch s.Protocol {
	case state.ProtocolNone:
		return gate.Config{}
	case state.ProtocolSystemd:
		return gate.Config{Notify: true}
	case state.ProtocolNode:
		return gate.Config{Node: true}
	case state.ProtocolTableflip:
		return gate.Config{Tableflip: &gate.Tableflip{}}
	}
	return gate.Config{FD: true, Notify: true, Node: launch.Node}
}

// tableflipListeners are the declared sockets that a tableflip program may inherit:
// those of unix would lose their files (tableflip, fds.go), and come by interception.
func tableflipListeners(listen []state.Listen, files []listener.File) (passed []gate.Listener) {
	for i, l := range listen {
		if l.Network == "tcp" {
			passed = append(passed, gate.Listener{FD: files[i].FD, Address: l.Address})
		}
	}
	return passed
}

// spec is everything the shim needs: the listeners from 3 up in the file's order,
// then the channels.
func (p *attendant) spec(account *process.Account, ends logs.Ends, inherited gate.Child, files []listener.File) process.Spec {
	o, s := p.order, p.order.Spec
	spec := process.Spec{
		Path: o.Launch.Path, Argv: o.Launch.Argv, Dir: o.Launch.Dir,
		Stdin: -1, Stdout: ends.Stdout, Stderr: ends.Stderr,
		Umask: s.Umask, Nice: s.Nice,
	}
	env := merge(workerEnv(s, o.Launch.BaseEnv), o.Launch.Env)
	set := identity(s, env, o.Slot, o.Gen, o.ID)
	if account != nil {
		spec.Credential = &account.Credential
		for name, value := range map[string]string{"HOME": account.Home, "USER": account.Name, "LOGNAME": account.Name} {
			if _, given := s.Env[name]; !given && value != "" {
				set[name] = value
			}
		}
	}
	if len(s.Listen) > 0 && (s.Protocol == state.ProtocolAuto || s.Protocol == state.ProtocolSystemd) {
		var names []string
		for _, f := range files {
			spec.Files, names = append(spec.Files, f.FD), append(names, f.Name)
		}
		set["LISTEN_FDS"], set["LISTEN_FDNAMES"] = fmt.Sprint(len(names)), strings.Join(names, ":")
		spec.ListenPID = true
	}
	maps.Copy(set, p.drainEnv(env))
	spec.Env = append(merge(env, set), inherited.Env(3+len(spec.Files))...)
	spec.Files = append(spec.Files, inherited.Files...)
	for _, l := range s.Limits {
		spec.Limits = append(spec.Limits, process.Limit{Resource: l.Resource, Soft: l.Soft, Hard: l.Hard})
	}
	if s.Mode == state.Cluster && s.Intercept {
		spec.Filter = process.FilterListen
		if slices.ContainsFunc(s.Listen, func(l state.Listen) bool { return l.Network == "unix" }) {
			spec.Filter = process.FilterUnlink
		}
		spec.Deserted = p.deserted
	}
	return spec
}

// deserted tells, when it is known, that no process of the worker is left.
func (p *attendant) deserted() bool { return p.w.table.Deserted(p.order.ID) }

// record writes the state file, before the go byte.
func (p *attendant) record() error {
	o := p.order
	return p.w.records.Put(handover.Record{
		ID: o.ID, App: o.App, Slot: o.Slot, Generation: o.Gen,
		PID: p.child.PID(), PGID: p.child.PID(), StartTime: p.child.StartTime(), Boot: p.w.boot,
		KillSignal: o.Spec.KillSignal, KillAfter: o.Spec.KillTimeout,
	})
}

// watchListeners gives the worker's bind and listen calls to the table, or says why
// they can't be seen.
func (p *attendant) watchListeners(child *process.Child) {
	o := p.order
	if err := child.FilterErr(); err != nil {
		p.w.unseen(o.App, fmt.Sprintf("%v; declare the sockets with listen: and take them by LISTEN_FDS", err))
		return
	}
	fd := child.TakeNotifyFD()
	if fd < 0 {
		return
	}
	if err := p.w.table.Attach(p.listens(child.PID()), fd); err != nil {
		p.w.unseen(o.App, err.Error())
	}
}

// listens is the worker as the table of sockets knows it.
func (p *attendant) listens(pid int) listener.Worker {
	o := p.order
	return listener.Worker{ID: o.ID, App: o.App, Slot: o.Slot, PID: pid, Even: o.Spec.Steered()}
}

func stageOf(err error) string {
	if staged, ok := errors.AsType[*process.StageError](err); ok {
		return string(staged.Stage)
	}
	return "spawn"
}

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
	case gate.Ready:
		p.w.tell(supervisor.BecameReady{ID: id, Via: string(f.Via)})
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
	exit := <-p.child.Exited()
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
	p.w.tell(supervisor.Ended{
		ID: id, Code: exit.Status.Code, Signal: exit.Status.Signal, SignalName: signalName(exit.Status.Signal), Left: exit.Left,
		How: exit.Status.String(), LastLines: p.w.logs.LastLines(id, quotedLines),
	})
	<-p.child.Gone()
	p.push(func() {
		p.w.logs.Finish(id)
		p.gates.Close()
		p.w.table.Detach(id)
		p.w.records.Drop(id)
		p.w.tell(supervisor.Gone{ID: id})
	})
}

// alone is for a worker whose predecessor is gone.
func (p *attendant) alone() {
	if p.gates != nil {
		p.gates.Alone()
	}
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
	if o.Message {
		ctx, cancel := context.WithTimeout(context.Background(), sendTimeout)
		err := p.gates.Send(ctx, "shutdown")
		cancel()
		if err == nil {
			p.w.working.Add(1)
			go p.insist(o) // ends with the worker, or at half its kill_timeout
			return
		}
		p.w.note(p.order.App, p.order.ID, fmt.Sprintf("%s: the message shutdown can't be sent, it gets the signal: %v", label(p.order.App, p.order.Slot), err))
	}
	p.interrupt(o)
}

// insist sends the signal to a worker that has not read the message shutdown when half
// of its kill_timeout is over: it may not even know of the channel.
func (p *attendant) insist(o supervisor.StopOrder) {
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
	if _, err := p.child.Stop(unix.Signal(o.Signal), mode, o.Pids); err != nil {
		p.w.note(p.order.App, p.order.ID, err.Error())
	}
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
