package daemon

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"supervisor/ready/gate"
	"supervisor/supervisor"
	"supervisor/supervisor/fault"
	"supervisor/supervisor/listener"
	"supervisor/supervisor/logs"
	"supervisor/supervisor/process"
	"supervisor/supervisor/state"
)

// start is the spawn: channels, shim, state file, go.
func (p *attendant) start() {
	stage, err := p.spawn()
	if err == nil {
		return
	}
	p.close()
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
	p.keepChannels(ends.Pipes)
	spec := p.spec(account, ends, inherited, files)
	prober, err := p.newProber(spec)
	if err != nil {
		return "ready", err
	}
	child, err := p.w.fork(spec)
	if err != nil {
		return stageOf(err), err
	}
	p.child, p.prober = child, prober
	p.watchListeners(child)
	p.keep(keptPidFD, child.PidFD())
	fault.Point("spawn.stored")
	p.record()
	fault.Point("spawn.recorded")
	if err := child.Go(); err != nil {
		return stageOf(err), err
	}
	fault.Point("spawn.begun")
	p.w.tell(supervisor.Spawned{ID: o.ID, PID: child.PID()})
	p.attend()
	return "", nil
}

// attend begins to hear what the worker says and how it ends.
func (p *attendant) attend() {
	p.w.mu.Lock()
	p.attending = true
	p.w.mu.Unlock()
	p.gates.Start()
	p.w.logs.Start(p.order.ID)
	for _, fd := range p.stale {
		unix.Close(fd) // a new one is stored in its place
	}
	p.stale = nil
	if p.prober != nil {
		p.prober.Start()
	}
	p.w.working.Add(1)
	go p.watch() // ends when the group is gone
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
		Umask: s.Umask, Nice: s.Nice, HoldZombie: true, Tracer: p.w.tracer(),
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
	p.hand = p.w.hands.Take()
	if kept, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0); err == nil {
		p.keep(keptBinds, kept) // the table closes its own when it likes
	}
	if err := p.w.table.Attach(p.listens(child.PID()), fd); err != nil {
		p.w.unseen(o.App, err.Error())
	}
}

// listens is the worker as the table of sockets knows it.
func (p *attendant) listens(pid int) listener.Worker {
	o := p.order
	return listener.Worker{ID: o.ID, App: o.App, Slot: o.Slot, PID: pid, Even: o.Spec.Steered(), Hand: p.hand}
}

func stageOf(err error) string {
	if staged, ok := errors.AsType[*process.StageError](err); ok {
		return string(staged.Stage)
	}
	return "spawn"
}
