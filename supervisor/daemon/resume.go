package daemon

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"supervisor/supervisor"
	"supervisor/supervisor/state"
)

// maxBegun is how many requests are remembered to have been begun.
const maxBegun = 256

// begin notes that a request is begun, in the state that whatever it changes is kept
// with: who finds the one finds the other.
func (b *backend) begin(id string) {
	b.world.journal.note(func(h *head) {
		h.Begun = append(h.Begun, id)
		if len(h.Begun) > maxBegun {
			h.Begun = h.Begun[len(h.Begun)-maxBegun:]
			h.Aims = maps.Clone(h.Aims)
			maps.DeleteFunc(h.Aims, func(id string, _ aim) bool { return !slices.Contains(h.Begun, id) })
		}
	})
}

// aim is what a request comes to where that can't be found once some of it is done.
type aim struct {
	Names []string  `json:"names,omitempty"` // of the apps to be deleted
	Scale []scaling `json:"scale,omitempty"`
}

// scaling is how one app is to be scaled.
type scaling struct {
	App  string `json:"app"`
	From int    `json:"from"`
	To   int    `json:"to"`
}

// aimAt notes what a request comes to, as begin does, before any of it is done.
func (b *backend) aimAt(id string, a aim) {
	if id == "" {
		return
	}
	b.world.journal.note(func(h *head) {
		h.Aims = maps.Clone(h.Aims)
		if h.Aims == nil {
			h.Aims = map[string]aim{}
		}
		h.Aims[id] = a
	})
}

// aimOf is what aimAt has noted; nothing of the request is done where that is nothing.
func (b *backend) aimOf(id string) (a aim) {
	b.world.journal.note(func(h *head) { a = h.Aims[id] })
	return a
}

// working is a request in work.
type working struct {
	over   chan struct{} // closed when result is there
	result state.Result
}

// join returns the work for a request, and whether it is the caller's to do: an earlier
// sending may be in work here, where an upgrade was given up that had cut its answer off.
func (b *backend) join(id string) (w *working, mine bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if w := b.calls[id]; w != nil {
		return w, false
	}
	if b.calls == nil {
		b.calls = map[string]*working{}
	}
	w = &working{over: make(chan struct{})}
	b.calls[id] = w
	return w, true
}

// leave is for whoever has done the work.
func (b *backend) leave(id string) {
	b.mu.Lock()
	w := b.calls[id]
	delete(b.calls, id)
	b.mu.Unlock()
	close(w.over)
	is := func(o owned) bool { return o.Request.ID == id }
	isOwn := false
	b.world.journal.note(func(h *head) { isOwn = slices.ContainsFunc(h.Own, is) })
	if isOwn {
		<-b.world.journal.change(func(h *head) { h.Own = slices.DeleteFunc(slices.Clone(h.Own), is) })
	}
}

// begun reports whether this daemon, or one before it, has begun a request.
func (b *backend) begun(id string) (yes bool) {
	b.world.journal.note(func(h *head) { yes = slices.Contains(h.Begun, id) })
	return yes
}

// resume answers a request that was sent before, and whose answer was cut off (see
// state.Request).
func (b *backend) resume(ctx context.Context, req state.Request) state.Result {
	if !b.begun(req.ID) {
		b.begin(req.ID)
		return b.do(ctx, req)
	}
	switch req.Verb {
	case state.VerbDelete:
		return b.deleteRest(ctx, req)
	case state.VerbScale:
		return b.scaleRest(ctx, req)
	}
	apps, missing := b.concerned(ctx, req)
	if missing != nil {
		return state.Result{Error: missing}
	}
	if req.Repeatable() && req.Verb != state.VerbStart {
		return b.do(ctx, req)
	}
	outcomes := make([]supervisor.Outcome, len(apps))
	inTurn(make([][]int, len(apps)), func(i int) {
		outcomes[i] = b.tell(ctx, supervisor.Await{Name: apps[i].Name})
	})
	switch req.Verb {
	case state.VerbStart:
		return b.startRest(ctx, req, apps, outcomes)
	case state.VerbReload:
		return b.reloadRest(ctx, req, apps, outcomes)
	case state.VerbRestart:
		return b.restartRest(ctx, req, apps, outcomes)
	}
	result := state.Result{Error: unanswered(req)}
	for _, a := range apps {
		result.Touched = append(result.Touched, a.Name)
	}
	return result
}

// startRest starts again what is not as it is to be, but for what has failed since; what is
// as it is to be is so by this request, if it has become so since.
func (b *backend) startRest(ctx context.Context, req state.Request, apps []state.App, outcomes []supervisor.Outcome) state.Result {
	failed, reloaded := map[string]supervisor.Outcome{}, map[string]*state.Receipt{}
	for i, a := range apps {
		last := outcomes[i].Receipt
		switch {
		case !endedSince(last, req.Since):
		case last.Result == state.RolledBack || last.Result == state.Failed:
			failed[a.Name] = supervisor.Outcome{Action: supervisor.Reloaded, Receipt: last, Err: notComplete(state.VerbReload, last)}
		case last.Result == state.Complete:
			reloaded[a.Name] = last
		}
	}
	result := b.start(ctx, req, failed)
	if result.Snapshot == nil {
		return result
	}
	for i, s := range result.Started {
		if s.Action != supervisor.Unchanged || !s.OK {
			continue
		}
		if last := reloaded[s.Name]; last != nil {
			result.Started[i].Action = supervisor.Reloaded
			result.Receipts = append(result.Receipts, *last)
		} else if slices.ContainsFunc(result.Snapshot.Apps, func(a state.App) bool { return a.Name == s.Name && startedSince(a, req.Since) }) {
			result.Started[i].Action = supervisor.Started
		}
	}
	return result
}

// scaleRest scales the apps that are not scaled yet, and tells what came of the others.
func (b *backend) scaleRest(ctx context.Context, req state.Request) state.Result {
	goal := b.aimOf(req.ID)
	if len(goal.Scale) == 0 {
		return b.scale(ctx, req)
	}
	return b.scaleTo(ctx, goal.Scale, func(s scaling) supervisor.Outcome {
		out := b.tell(ctx, supervisor.Await{Name: s.App, From: s.From})
		apps, missing := b.chosen(ctx, []string{s.App})
		switch out.Action = supervisor.Scaled; {
		case missing != nil:
			out.Err = missing
		case apps[0].Instances == s.From && s.From != s.To:
			return b.tell(ctx, supervisor.ScaleApp{Name: s.App, To: s.To})
		case apps[0].Instances != s.To:
			out.Err = fmt.Errorf("cannot scale %s to %d: it was scaled to %d meanwhile", s.App, s.To, apps[0].Instances)
		case s.From == s.To:
			out.Action = supervisor.Unchanged
		}
		return out
	})
}

// notComplete is the error of a receipt that is not.
func notComplete(verb state.Verb, r *state.Receipt) error {
	return fmt.Errorf("cannot %s %s: %s (%s)", verb, r.Name, r.Reason, strings.ReplaceAll(r.Result, "_", " "))
}

// restartRest tells what became of the apps whose restart was begun, and if all of these
// came up restarts the rest. One that was stopped, and was only to be started, has no
// receipt.
func (b *backend) restartRest(ctx context.Context, req state.Request, apps []state.App, outcomes []supervisor.Outcome) state.Result {
	now, failed := b.chosen(ctx, nil)
	if failed != nil {
		return state.Result{Error: failed}
	}
	done := map[string]supervisor.Outcome{}
	for i, a := range apps {
		out := outcomes[i]
		out.Action = supervisor.Restarted
		last := out.Receipt
		switch {
		case endedSince(last, req.Since) && last.Result != state.Complete:
			out.Err = notComplete(state.VerbRestart, last)
		case endedSince(last, req.Since):
		case !slices.ContainsFunc(now, func(now state.App) bool { return now.Name == a.Name && startedSince(now, req.Since) }):
			continue
		}
		done[a.Name] = out
	}
	return b.restart(ctx, req, done)
}

// startedSince reports whether all that an app runs was started after an instant.
func startedSince(a state.App, instant time.Time) bool {
	return len(a.Workers) > 0 && !slices.ContainsFunc(a.Workers, func(w state.Worker) bool { return w.StartedAt.Before(instant) })
}

// newSince reports whether an app became known, and was started, after an instant.
func newSince(a state.App, instant time.Time) bool {
	return a.Generation == 1 && a.Restarts == 0 && startedSince(a, instant)
}

// reloadRest tells what became of the apps whose reload was begun, and if all of that is
// complete reloads the rest.
func (b *backend) reloadRest(ctx context.Context, req state.Request, apps []state.App, outcomes []supervisor.Outcome) state.Result {
	defer b.upward.Reloading()()
	var result state.Result
	var done []string
	var rest []state.App
	for i, a := range apps {
		last := outcomes[i].Receipt // the history may not have it yet
		began := endedSince(last, req.Since)
		if !began && !newSince(a, req.Since) {
			rest = append(rest, a)
			continue
		}
		done = append(done, a.Name)
		result.Touched = append(result.Touched, a.Name)
		if !began { // it was new in its file, and is not replaced for that
			out := outcomes[i]
			out.Action = supervisor.Started
			result.Started = append(result.Started, started(a.Name, out))
			result.Error = add(result.Error, out)
			continue
		}
		result.Receipts = append(result.Receipts, *last)
		if last.Result != state.Complete {
			result.Error = add(result.Error, supervisor.Outcome{Err: notComplete(state.VerbReload, last)})
		}
	}
	rest = append(rest, b.lacking(ctx, apps, req)...)
	switch {
	case len(rest) == 0:
	case result.Error == nil:
		join(&result, b.reload(ctx, req, done))
	default:
		for _, a := range rest {
			result.Receipts = append(result.Receipts, skipped(a, "an app before it failed"))
		}
	}
	return result
}

// endedSince reports whether a receipt, nil for none, is of a reload that ended at or after
// an instant.
func endedSince(r *state.Receipt, instant time.Time) bool {
	return r != nil && !r.StartedAt.Add(time.Duration(r.DurationMS+1)*time.Millisecond).Before(instant)
}

// deleteRest deletes what is still there of the apps that were all there at first.
func (b *backend) deleteRest(ctx context.Context, req state.Request) state.Result {
	known, failed := b.chosen(ctx, nil)
	if failed != nil {
		return state.Result{Error: failed}
	}
	asked := req.Names
	if len(asked) == 0 {
		asked = b.aimOf(req.ID).Names
	}
	req.Names = slices.DeleteFunc(slices.Clone(asked), func(name string) bool {
		return !slices.ContainsFunc(known, func(a state.App) bool { return a.Name == name })
	})
	if len(asked) > 0 && len(req.Names) == 0 {
		return state.Result{Touched: asked}
	}
	result := b.do(ctx, req)
	if len(asked) > 0 {
		result.Touched = asked
	}
	return result
}

// unanswered is for what is not done twice, and of which nobody knows whether it was
// done once.
func unanswered(req state.Request) *state.Error {
	return &state.Error{Code: state.ExitFailed, Message: fmt.Sprintf(
		"the supervisor died, or was replaced, while it was asked to %s: how much of that was done is not known", req.Verb)}
}

// lacking are the apps of the files that a reload is of that nobody knows: new ones, which
// are to be started. apps are those that it is known to be about.
func (b *backend) lacking(ctx context.Context, apps []state.App, req state.Request) (lacking []state.App) {
	known, failed := b.chosen(ctx, nil)
	if failed != nil || len(req.Names) > 0 {
		return nil
	}
	files := []string{req.File}
	if req.File == "" {
		files = nil
		for _, a := range apps {
			files = append(files, a.Spec.File)
		}
	}
	slices.Sort(files)
	for _, file := range slices.Compact(files) {
		if file == "" { // apps that were started as scripts
			continue
		}
		eco, broken := b.files.merged(file, req).read(file, req.Env)
		if broken != nil {
			continue // as it is now it has no apps
		}
		for _, spec := range eco.Apps {
			isKnown := slices.ContainsFunc(known, func(a state.App) bool { return a.Name == spec.Name })
			if !isKnown && (len(req.Only) == 0 || slices.Contains(req.Only, spec.Name)) {
				lacking = append(lacking, state.App{Name: spec.Name})
			}
		}
	}
	return lacking
}

// concerned are the known apps that a request is about.
func (b *backend) concerned(ctx context.Context, req state.Request) ([]state.App, *state.Error) {
	apps, missing := b.chosen(ctx, req.Names)
	if missing != nil {
		return nil, missing
	}
	return slices.DeleteFunc(slices.Clone(apps), func(a state.App) bool {
		return req.File != "" && a.Spec.File != req.File ||
			len(req.Only) > 0 && !slices.Contains(req.Only, a.Name)
	}), nil
}
