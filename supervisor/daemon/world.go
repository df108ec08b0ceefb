package daemon

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"supervisor/supervisor"
	"supervisor/supervisor/handover"
	"supervisor/supervisor/history"
	"supervisor/supervisor/listener"
	"supervisor/supervisor/logs"
	"supervisor/supervisor/process"
	"supervisor/supervisor/state"
	"supervisor/supervisor/usage"
)

// world carries out what the loop orders, with the hands. It implements
// supervisor.World: every method only pushes into a lane.
type world struct {
	home    home
	ctx     context.Context // ends builds
	early   early
	tell    func(supervisor.Fact)            // early's
	record  func(supervisor.Fact)            // tell, and wait until what came of it is on disk
	say     func(format string, args ...any) // the daemon's own log
	store   *handover.Holder
	records handover.Dir
	journal *journal
	history history.Dir
	table   *listener.Table
	logs    *logs.Set
	hands   *listener.Hands // the memory for notifications
	exits   *handover.Exits // of processes that the keeper has reaped
	tracer  func() int      // who may look into the workers after us (PR_SET_PTRACER), 0: nobody
	boot    string
	touched func() // something happens

	kept   <-chan struct{} // closed when what the loop gave last is on disk; the loop's goroutine has it
	lastID uint64          // of a spawn; the loop's goroutine has it

	forking chan struct{} // as many as may be forked at once
	looks   looks
	room    *room

	refused listener.Refused // the last that was told; the table's goroutine has it

	unrecorded atomic.Bool // a state file could not be written

	mu         sync.Mutex
	apps       map[string]*lane
	attendants map[uint64]*attendant
	working    sync.WaitGroup
}

var _ supervisor.World = (*world)(nil)

func (w *world) app(name string) *lane {
	w.mu.Lock()
	defer w.mu.Unlock()
	l := w.apps[name]
	if l == nil {
		l = &lane{all: &w.working}
		w.apps[name] = l
	}
	return l
}

// hear makes what has to be on record known to a loop; the rest it hears when it runs (early).
func (w *world) hear(l *supervisor.Loop) {
	w.record = func(f supervisor.Fact) { l.TellKept(f) } // of an ended loop nothing is recorded any more
}

// Record keeps what the loop knows. What it orders from now on is done when that is on
// disk: whoever comes after us knows of every act that was done.
func (w *world) Record(parts [][]byte) <-chan struct{} {
	w.kept = w.journal.record(parts)
	return w.kept
}

// recordAgain writes the state files anew after some could not be written: there is room
// again.
func (w *world) recordAgain() {
	if !w.unrecorded.Swap(false) {
		return
	}
	for _, p := range w.all() {
		p.push(p.record)
	}
}

// later pushes what the loop has ordered.
func (w *world) later(l *lane, job func()) {
	kept := w.kept
	l.push(func() {
		if kept != nil {
			<-kept
		}
		job()
	})
}

func (w *world) attendant(id uint64) *attendant {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.attendants[id]
}

// Prepare resolves a generation, then opens its declared sockets.
func (w *world) Prepare(o supervisor.PrepareOrder) {
	w.later(w.app(o.App), func() {
		answer := supervisor.Prepared{App: o.App, Gen: o.Gen, Token: o.Token}
		builds, err := w.runDir(o.Spec.User != "")
		if err != nil {
			answer.Stage, answer.Err = "build "+o.Spec.Script, err
			w.tell(answer)
			return
		}
		r := resolver{spec: o.Spec, env: baseEnv(o.Env, o.Spec.FilterEnv), builds: builds, gen: o.Gen}
		launch, failed := r.resolve(w.ctx)
		if failed != nil {
			answer.Stage, answer.Err, answer.Lines = failed.stage, failed.err, failed.lines
		} else if err := w.table.Open(o.App, declared(o.Spec.Listen)); err != nil {
			answer.Stage, answer.Err = "listen for "+o.App, err
		}
		answer.Launch = launch
		w.tell(answer)
	})
}

// Spawn starts a process and whoever attends to it until it is gone.
func (w *world) Spawn(o supervisor.SpawnOrder) {
	w.touched()
	w.lastID = max(w.lastID, o.ID)
	p := &attendant{w: w, order: o, lane: lane{all: &w.working}, hand: -1, kept: map[string]int{}}
	w.mu.Lock()
	w.attendants[o.ID] = p
	w.mu.Unlock()
	if o.Spec.Mode == state.Fork { // the sockets of a cluster before it are closed first
		closed := make(chan struct{})
		w.app(o.App).push(func() { close(closed) })
		p.push(func() { <-closed })
	}
	w.later(&p.lane, p.start)
}

// Admit lets a worker get new connections.
func (w *world) Admit(id uint64) {
	if p := w.attendant(id); p != nil {
		w.later(&p.lane, func() { w.table.Admit(id) })
	}
}

// Withdraw keeps new connections from a worker.
func (w *world) Withdraw(id uint64) {
	if p := w.attendant(id); p != nil {
		w.later(&p.lane, func() { w.table.Withdraw(id) })
	}
}

// perCPU is how many shims may come up at once for each processor. What they do is
// cpu time alone: a thousand at once come up no sooner, and the last of them late
// enough to be taken for one that hangs.
const perCPU = 2

// fork is process.Start, when it is its turn. The program's own start, which may wait
// for a disk, delays nobody.
func (w *world) fork(spec process.Spec) (*process.Child, error) {
	w.forking <- struct{}{}
	defer func() { <-w.forking }()
	return process.Start(spec)
}

// Stop sends the stop signal or message.
func (w *world) Stop(o supervisor.StopOrder) {
	if p := w.attendant(o.ID); p != nil {
		w.later(&p.lane, func() { p.stop(o) })
	}
}

// Alone tells a worker that its predecessor is gone.
func (w *world) Alone(id uint64) {
	if p := w.attendant(id); p != nil {
		w.later(&p.lane, p.alone)
	}
}

// Kill sends SIGKILL to the group.
func (w *world) Kill(id uint64) {
	if p := w.attendant(id); p != nil {
		w.later(&p.lane, p.kill)
	}
}

// Signal sends any signal to the main process.
func (w *world) Signal(id uint64, signal int) {
	if p := w.attendant(id); p != nil {
		w.later(&p.lane, func() { p.signal(unix.Signal(signal)) })
	}
}

// Forget drops what is kept about a process that is gone.
func (w *world) Forget(id uint64) {
	w.touched()
	w.mu.Lock()
	delete(w.attendants, id)
	w.mu.Unlock()
	w.logs.Forget(id)
}

// Retain closes the sockets that nobody needs after a rollout, and removes what was
// built for generations that are no more.
func (w *world) Retain(app string, listen []state.Listen, ids []uint64, gens []int) {
	w.later(w.app(app), func() {
		w.table.Retain(app, declared(listen), ids)
		w.clearBuilds(app, gens)
	})
}

// Release closes all sockets of an app, and removes what was built for it: nothing
// of it runs, and a start builds anew.
func (w *world) Release(app string) {
	w.later(w.app(app), func() {
		w.table.Release(app)
		w.clearBuilds(app, nil)
	})
}

// Drops sums the accept-queue drops of an app's listeners.
func (w *world) Drops(app string) {
	w.later(w.app(app), func() {
		var sum int64
		known := false
		w.table.Each(app, func(fd int) {
			if n, err := usage.Drops(fd); err == nil {
				sum, known = sum+int64(n), true
			}
		})
		answer := supervisor.Dropped{App: app}
		if known {
			answer.Count = &sum
		}
		w.tell(answer)
	})
}

// Keep writes a receipt to the history.
func (w *world) Keep(r state.Receipt) {
	w.later(w.app(r.Name), func() {
		if !w.isKept(r) {
			if err := w.history.Append(r.Name, r); err != nil {
				w.note(r.Name, 0, fmt.Sprintf("the receipt of this reload is lost: %v", err))
			}
		}
		w.tell(supervisor.Kept{App: r.Name, StartedAt: r.StartedAt})
	})
}

// isKept reports whether a daemon before us has written a receipt, and died before it
// knew. One that can't be read is not.
func (w *world) isKept(r state.Receipt) bool {
	kept, err := w.history.Read(r.Name, 0)
	return err == nil && slices.ContainsFunc(kept, func(line json.RawMessage) bool {
		var was state.Receipt
		return json.Unmarshal(line, &was) == nil && was.StartedAt.Equal(r.StartedAt)
	})
}

func (w *world) note(app string, id uint64, text string) {
	w.say("%s: %s", app, text)
	w.tell(supervisor.Noted{App: app, ID: id, Text: text})
}

// heard translates what the table of sockets tells.
func (w *world) heard(f listener.Fact) {
	switch f := f.(type) {
	case listener.Listening:
		w.tell(supervisor.Listening{ID: f.Worker, PID: f.PID, Addr: f.Addr})
	case listener.Refused:
		if f == w.refused { // Go asks once for MPTCP and once for TCP
			return
		}
		w.refused = f
		holder := f.Holder
		if holder == "" {
			holder = "somebody"
		}
		w.note(f.App, f.Worker, fmt.Sprintf("a worker can't have %s: %s has it (%v)", f.Addr, holder, f.Err))
	case listener.Hung:
		text := fmt.Sprintf("a worker called shutdown(2) on %s, which stops it for all; it listens again", f.Addr)
		if f.Err != nil {
			text = fmt.Sprintf("a worker called shutdown(2) on %s, and listening again failed: %v", f.Addr, f.Err)
		}
		w.note(f.App, f.Worker, text)
	case listener.Abandoned:
		w.note(f.App, 0, fmt.Sprintf("%d connections waited at %s for a worker that has left, and were reset", f.Count, f.Addr))
	case listener.Unavailable:
		w.unseen(f.App, f.Reason+"; "+f.Remedy)
	}
}

func (w *world) unseen(app, why string) {
	text := "listeners can't be shared unseen: " + why
	w.say("%s: %s", app, text)
	w.tell(supervisor.Unseen{App: app, Note: text})
}

// wrote translates what the log capture tells.
func (w *world) wrote(f logs.Fact) {
	switch f := f.(type) {
	case logs.Failed:
		w.say("log %s: %v; the workers go on", f.Path, f.Err)
	case logs.Dropped:
		w.say("log %s: %d bytes (%d lines) lost", f.Path, f.Bytes, f.Lines)
	case logs.Resumed:
		w.say("log %s: written again", f.Path)
	case logs.Copied:
		w.say("log %s: %v: lines are copied through memory", f.Path, f.Err)
	}
}

// locals are the addresses that an app's connections come in by.
func (w *world) locals(app string) []usage.Local {
	var locals []usage.Local
	for _, s := range w.table.Sockets(app) {
		if path, ok := strings.CutPrefix(s.Addr, "unix:"); ok {
			locals = append(locals, usage.Local{Path: path})
		} else if addr, err := netip.ParseAddrPort(strings.TrimPrefix(s.Addr, "tcp://")); err == nil {
			locals = append(locals, usage.Local{Addr: addr})
		}
	}
	return locals
}

// opened stores the file that a stream goes to: whoever holds our descriptors writes the
// worker's output there while no daemon does.
func (w *world) opened(worker uint64, stream logs.Stream, fd int) {
	suffix := keptFile
	if stream == logs.Stderr {
		suffix = keptErrs
	}
	if fd < 0 {
		w.store.Remove(storeName(worker, suffix))
	} else if err := w.store.Push(storeName(worker, suffix), fd); err != nil {
		w.say("%v", err)
	}
}

// listed keeps what the table of sockets knows.
func (w *world) listed(records []listener.Record) <-chan struct{} {
	data, err := json.Marshal(records)
	if err != nil { // it is strings and numbers
		panic(err)
	}
	return w.journal.sockets(data)
}

// keepFiles keeps what files are read with.
func (w *world) keepFiles(with map[string]overrides) {
	<-w.journal.change(func(h *head) { h.Files = with })
}

func declared(listen []state.Listen) []listener.Declared {
	var d []listener.Declared
	for _, l := range listen {
		d = append(d, listener.Declared{Network: l.Network, Address: l.Address, Name: l.Name})
	}
	return d
}

// logPaths are the files of one worker's streams. A given file is used as written
// with one instance, with -SLOT before the extension with more (DESIGN section 10).
func (w *world) logPaths(s state.Spec, slot int) (out, err string) {
	return w.logPath(s, s.OutFile, "out", slot), w.logPath(s, s.ErrorFile, "error", slot)
}

func (w *world) logPath(s state.Spec, given, stream string, slot int) string {
	switch {
	case given == "/dev/null":
		return ""
	case given == "" && s.MergeLogs:
		return w.home.path("logs", fmt.Sprintf("%s-%s.log", safeName(s.Name), stream))
	case given == "":
		return w.home.path("logs", fmt.Sprintf("%s-%s-%d.log", safeName(s.Name), stream, slot))
	case s.Instances > 1 && !s.MergeLogs && !strings.HasPrefix(given, "/dev/"):
		ext := filepath.Ext(given)
		return fmt.Sprintf("%s-%d%s", strings.TrimSuffix(given, ext), slot, ext)
	}
	return given
}
