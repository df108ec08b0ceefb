package daemon

import (
	"context"
	"fmt"
	"slices"
	"time"

	"supervisor/supervisor"
	"supervisor/supervisor/state"
)

// maxBegun is how many requests are remembered to have been begun.
const maxBegun = 256

// begin notes that a request is begun, in the state that whatever it changes is kept
// with: who finds the one finds the other.
func (b *backend) begin(id string) {
	if id == "" {
		return
	}
	b.world.journal.note(func(h *head) {
		h.Begun = append(h.Begun, id)
		if len(h.Begun) > maxBegun {
			h.Begun = h.Begun[len(h.Begun)-maxBegun:]
		}
	})
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
	if req.Verb == state.VerbDelete {
		return b.deleteRest(ctx, req)
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
	if req.Repeatable() {
		return b.do(ctx, req)
	}
	switch req.Verb {
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
			out.Err = fmt.Errorf("cannot restart %s: %s (%s)", a.Name, last.Reason, last.Result)
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

// reloadRest tells what became of the apps whose reload was begun, and if all of that is
// complete reloads the rest.
func (b *backend) reloadRest(ctx context.Context, req state.Request, apps []state.App, outcomes []supervisor.Outcome) state.Result {
	defer b.upward.Reloading()()
	var result state.Result
	var done []string
	var rest []state.App
	for i, a := range apps {
		last := outcomes[i].Receipt // the history may not have it yet
		if !endedSince(last, req.Since) {
			rest = append(rest, a)
			continue
		}
		done = append(done, a.Name)
		result.Touched = append(result.Touched, a.Name)
		result.Receipts = append(result.Receipts, *last)
		if last.Result != state.Complete {
			result.Error = add(result.Error, supervisor.Outcome{Err: fmt.Errorf("cannot reload %s: %s (%s)", a.Name, last.Reason, last.Result)})
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
