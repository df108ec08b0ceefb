package daemon

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"supervisor/ecosystem"
	"supervisor/supervisor"
	"supervisor/supervisor/control"
	"supervisor/supervisor/history"
	"supervisor/supervisor/logs"
	"supervisor/supervisor/state"
	"supervisor/supervisor/systemd"
	"supervisor/supervisor/usage"
)

// backend answers the control server. It has no state of its own but what files
// were started with, and the last cpu samples.
type backend struct {
	loop    *supervisor.Loop
	world   *world
	history history.Dir
	logs    *logs.Set
	sampler *usage.Sampler
	files   files
	meters  *meters
	version string
	env     []string        // the daemon's own, for requests that bring none
	end     func()          // ends the daemon after the answer
	ctx     context.Context // of the daemon: work goes on when a client leaves
	work    sync.WaitGroup
	touched func() // somebody asks

	mu    sync.Mutex          // only the journal's is taken within it
	calls map[string]*working // requests in work, by their ids

	upward  *systemd.Upward
	upgrade func(ctx context.Context, binary string) error // nil: this process is replaced
	unit    string                                         // of systemd that restarts us, "" for none
	keeper  func() int
}

var (
	_ control.Backend    = (*backend)(nil)
	_ control.Introducer = (*backend)(nil)
)

// Do carries out a request; it goes on when the client has left.
func (b *backend) Do(ctx context.Context, req state.Request) state.Result {
	b.touched()
	done := make(chan state.Result, 1)
	b.work.Add(1)
	go func() { // ends with the work, or with the loop
		defer b.work.Done()
		defer b.touched()
		done <- b.answer(b.ctx, req)
	}()
	select {
	case r := <-done:
		return r
	case <-ctx.Done():
		b.left(req)
		return failure(state.ExitFailed, "the client has left; the work goes on")
	}
}

// answer does a request, or what is left to be done of one that was sent before.
func (b *backend) answer(ctx context.Context, req state.Request) state.Result {
	if req.Env == nil {
		req.Env = b.env
	}
	if req.ID == "" {
		return b.do(ctx, req)
	}
	first, mine := b.join(req.ID)
	if !mine {
		<-first.over
		return first.result
	}
	if req.Resume {
		first.result = b.resume(ctx, req)
	} else {
		b.begin(req.ID)
		first.result = b.do(ctx, req)
	}
	b.leave(req.ID)
	return first.result
}

func (b *backend) do(ctx context.Context, req state.Request) state.Result {
	switch req.Verb {
	case state.VerbStart:
		return b.start(ctx, req, nil)
	case state.VerbReload:
		if !req.DryRun {
			defer b.upward.Reloading()()
		}
		return b.reload(ctx, req, nil)
	case state.VerbRestart:
		return b.restart(ctx, req, nil)
	case state.VerbScale:
		return b.scale(ctx, req)
	case state.VerbStop:
		return b.takeDown(ctx, req, func(name string) supervisor.Command { return supervisor.StopApp{Name: name} })
	case state.VerbDelete:
		defer b.disown(ctx)
		apps, missing := b.chosen(ctx, req.Names)
		if missing == nil && len(req.Names) == 0 {
			b.aimAt(req.ID, aim{Names: namesOf(apps)})
		}
		return b.takeDown(ctx, req, func(name string) supervisor.Command { return supervisor.DeleteApp{Name: name} })
	case state.VerbReset:
		return b.each(ctx, req, func(name string) supervisor.Command { return supervisor.ResetApp{Name: name} })
	case state.VerbSignal:
		return b.signal(ctx, req)
	case state.VerbFlush:
		return b.flush(ctx, req)
	case state.VerbUpgrade:
		if err := b.upgrade(ctx, req.Binary); err != nil {
			return failure(state.ExitFailed, "%v", err)
		}
		return state.Result{}
	case state.VerbKill:
		if b.unit != "" {
			return failure(state.ExitFailed, "systemd would start it again: systemctl stop %s", b.unit)
		}
		b.loop.Close()
		result := b.takeDown(ctx, state.Request{}, func(name string) supervisor.Command { return supervisor.StopApp{Name: name} })
		<-b.world.journal.change(func(h *head) { h.Stopping = true }) // whoever dies after the answer has a successor that ends
		b.end()
		return result
	}
	return failure(state.ExitUsage, "cannot %q: no such request", req.Verb)
}

func failure(code int, format string, args ...any) state.Result {
	return state.Result{Error: &state.Error{Code: code, Message: fmt.Sprintf(format, args...)}}
}

// chosen returns the apps that a request names, all of them for none, in the order
// of their first start; an unknown name is an error.
func (b *backend) chosen(ctx context.Context, names []string) ([]state.App, *state.Error) {
	snap, err := b.loop.Snapshot(ctx)
	if err != nil {
		return nil, &state.Error{Code: state.ExitFailed, Message: err.Error()}
	}
	if len(names) == 0 {
		return snap.Apps, nil
	}
	var apps []state.App
	for _, name := range names {
		i := slices.IndexFunc(snap.Apps, func(a state.App) bool { return a.Name == name })
		if i < 0 {
			return nil, unknown(name, snap.Apps)
		}
		apps = append(apps, snap.Apps[i])
	}
	return apps, nil
}

func unknown(name string, apps []state.App) *state.Error {
	var known []string
	for _, a := range apps {
		known = append(known, a.Name)
	}
	text := "no app is known here"
	if len(known) > 0 {
		text = "known are " + strings.Join(known, ", ")
	}
	return &state.Error{Code: state.ExitFailed, Message: fmt.Sprintf("cannot find app %q: %s", name, text)}
}

// each gives every chosen app one command, all at once, and waits for all.
func (b *backend) each(ctx context.Context, req state.Request, command func(name string) supervisor.Command) state.Result {
	apps, missing := b.chosen(ctx, req.Names)
	if missing != nil {
		return state.Result{Error: missing}
	}
	return b.order(ctx, apps, make([][]int, len(apps)), command)
}

// takeDown is each, but for an app that others depend on: it comes after them.
func (b *backend) takeDown(ctx context.Context, req state.Request, command func(name string) supervisor.Command) state.Result {
	apps, missing := b.chosen(ctx, req.Names)
	if missing != nil {
		return state.Result{Error: missing}
	}
	return b.order(ctx, apps, reversed(ecosystem.Dependencies(specsOf(apps))), command)
}

func (b *backend) order(ctx context.Context, apps []state.App, after [][]int, command func(name string) supervisor.Command) state.Result {
	outcomes := make([]supervisor.Outcome, len(apps))
	inTurn(after, func(i int) { outcomes[i] = b.tell(ctx, command(apps[i].Name)) })
	var result state.Result
	for i, a := range apps {
		result.Touched = append(result.Touched, a.Name)
		result.Error = add(result.Error, outcomes[i])
	}
	return result
}

// tell gives the loop a command; an end of the daemon is a failed outcome.
func (b *backend) tell(ctx context.Context, cmd supervisor.Command) supervisor.Outcome {
	out, err := b.loop.Do(ctx, cmd)
	if err != nil {
		out.Err = err
	}
	return out
}

// add joins a failed outcome to the error of a result: the first is the message,
// the others and every last line are details.
func add(to *state.Error, out supervisor.Outcome) *state.Error {
	if out.Err == nil {
		return to
	}
	if to == nil {
		return &state.Error{Code: state.ExitFailed, Message: out.Err.Error(), Details: slices.Clone(out.Details)}
	}
	to.Details = append(append(to.Details, out.Err.Error()), out.Details...)
	return to
}

func (b *backend) signal(ctx context.Context, req state.Request) state.Result {
	sig, err := parseSignal(req.Signal)
	if err != nil {
		return failure(state.ExitUsage, "cannot send signal: %v", err)
	}
	return b.each(ctx, req, func(name string) supervisor.Command { return supervisor.SignalApp{Name: name, Signal: sig} })
}

func (b *backend) flush(ctx context.Context, req state.Request) state.Result {
	apps, missing := b.chosen(ctx, req.Names)
	if missing != nil {
		return state.Result{Error: missing}
	}
	var result state.Result
	var paths []string
	for _, a := range apps {
		result.Touched = append(result.Touched, a.Name)
		paths = append(paths, b.world.pathsOf(a)...)
	}
	if len(paths) > 0 {
		if err := b.logs.Flush(paths...); err != nil {
			result.Error = &state.Error{Code: state.ExitFailed, Message: fmt.Sprintf("cannot flush: %v", err)}
		}
	}
	return result
}

// pathsOf are the log files of an app, each once.
func (w *world) pathsOf(a state.App) []string {
	var paths []string
	for slot := range a.Instances {
		out, err := w.logPaths(a.Spec, slot)
		for _, path := range []string{out, err} {
			if path != "" && !slices.Contains(paths, path) {
				paths = append(paths, path)
			}
		}
	}
	return paths
}

func (b *backend) scale(ctx context.Context, req state.Request) state.Result {
	apps, missing := b.chosen(ctx, req.Names)
	if missing != nil {
		return state.Result{Error: missing}
	}
	goal := aim{}
	for _, a := range apps {
		to, err := scaled(req.Count, a.Instances)
		if err != nil {
			return failure(state.ExitUsage, "cannot scale %s: %v", a.Name, err)
		}
		goal.Scale = append(goal.Scale, scaling{a.Name, a.Instances, to})
	}
	b.aimAt(req.ID, goal)
	return b.scaleTo(ctx, goal.Scale, func(s scaling) supervisor.Outcome {
		return b.tell(ctx, supervisor.ScaleApp{Name: s.App, To: s.To})
	})
}

// scaleTo scales apps one after another.
func (b *backend) scaleTo(ctx context.Context, apps []scaling, scale func(scaling) supervisor.Outcome) state.Result {
	var result state.Result
	for _, s := range apps {
		out := scale(s)
		result.Touched = append(result.Touched, s.App)
		result.Started = append(result.Started, started(s.App, out))
		result.Error = add(result.Error, out)
	}
	b.show(ctx, &result)
	return result
}

// restart restarts the apps one after another, but for those of which it is known what
// came of it.
func (b *backend) restart(ctx context.Context, req state.Request, done map[string]supervisor.Outcome) state.Result {
	apps, missing := b.chosen(ctx, req.Names)
	if missing != nil {
		return state.Result{Error: missing}
	}
	var result state.Result
	for _, a := range dependable(apps) {
		result.Touched = append(result.Touched, a.Name)
		if result.Error != nil { // the first failure ends it
			result.Started = append(result.Started, state.StartedApp{Name: a.Name, Action: state.Skipped})
			continue
		}
		out, ok := done[a.Name]
		if !ok {
			out = b.tell(ctx, supervisor.RestartApp{Name: a.Name})
		}
		result.Started = append(result.Started, started(a.Name, out))
		result.Error = add(result.Error, out)
	}
	b.show(ctx, &result)
	return result
}

func started(name string, out supervisor.Outcome) state.StartedApp {
	s := state.StartedApp{Name: name, Action: out.Action, OK: out.Err == nil, Details: out.Details}
	if out.Err != nil {
		s.Reason, s.Slot = out.Err.Error(), out.Slot
	}
	return s
}

// show puts the table that a person wants to see next into the result.
func (b *backend) show(ctx context.Context, result *state.Result) {
	if result.Plan != nil { // nothing has changed
		return
	}
	if snap, err := b.List(ctx); err == nil {
		result.Snapshot = &snap
	}
}

// Events subscribes to what happens.
func (b *backend) Events() (<-chan state.Event, func()) { return b.loop.Events() }

// Version is the daemon's.
func (b *backend) Version() string { return b.version }

// Introduce says who holds our descriptors and starts us again.
func (b *backend) Introduce(p *control.Pong) { p.KeeperPID, p.Unit = b.keeper(), b.unit }

// History returns the last n receipts of an app, or of all, oldest first.
func (b *backend) History(ctx context.Context, name string, n int) ([]json.RawMessage, error) {
	names := []string{name}
	if name == "" {
		apps, missing := b.chosen(ctx, nil)
		if missing != nil {
			return nil, missing
		}
		names = nil
		for _, a := range apps {
			names = append(names, a.Name)
		}
	}
	var all []json.RawMessage
	for _, name := range names {
		receipts, err := b.history.Read(name, n)
		if err != nil {
			return nil, err
		}
		if len(names) == 1 && len(receipts) == 0 {
			if _, missing := b.chosen(ctx, names); missing != nil {
				return nil, missing
			}
		}
		all = append(all, receipts...)
	}
	return newest(all, n), nil
}

// newest are the last n receipts of several apps by the time at which they began,
// oldest first; all of them for n 0.
func newest(receipts []json.RawMessage, n int) []json.RawMessage {
	type dated struct {
		began time.Time
		raw   json.RawMessage
	}
	all := make([]dated, 0, len(receipts))
	for _, raw := range receipts {
		var r state.Receipt
		if json.Unmarshal(raw, &r) == nil {
			all = append(all, dated{r.StartedAt, raw})
		}
	}
	slices.SortStableFunc(all, func(a, b dated) int { return a.began.Compare(b.began) })
	if n > 0 {
		all = all[max(0, len(all)-n):]
	}
	last := make([]json.RawMessage, 0, len(all))
	for _, d := range all {
		last = append(last, d.raw)
	}
	return last
}
