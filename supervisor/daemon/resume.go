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
	var result state.Result
	for i, a := range apps {
		result.Touched = append(result.Touched, a.Name)
		switch req.Verb {
		case state.VerbReload:
			b.became(a, req.Since, outcomes[i].Receipt, &result)
		case state.VerbRestart:
			result.Started = append(result.Started, started(a.Name, outcomes[i]))
			result.Error = add(result.Error, outcomes[i])
		default:
			result.Error = unanswered(req)
		}
	}
	switch {
	case req.Verb == state.VerbReload:
		b.lacking(ctx, apps, req, &result)
	case req.Verb == state.VerbRestart && result.Error == nil:
		result.Error = unanswered(req)
	}
	return result
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
		"the supervisor died while it was asked to %s: how much of that was done is not known", req.Verb)}
}

// became adds the receipt of the reload that a request was for: the last of the app, nil
// if it has none. The history may not have it yet.
func (b *backend) became(a state.App, since time.Time, last *state.Receipt, result *state.Result) {
	if last == nil || last.StartedAt.Add(time.Duration(last.DurationMS)*time.Millisecond).Before(since.Add(-time.Millisecond)) {
		unbegun(a, result)
		return
	}
	result.Receipts = append(result.Receipts, *last)
	if last.Result != state.Complete {
		result.Error = add(result.Error, supervisor.Outcome{Err: fmt.Errorf("cannot reload %s: %s (%s)", a.Name, last.Reason, last.Result)})
	}
}

func unbegun(a state.App, result *state.Result) {
	const why = "the supervisor died before it was begun"
	result.Receipts = append(result.Receipts, skipped(a, why))
	result.Error = add(result.Error, supervisor.Outcome{Err: fmt.Errorf("cannot reload %s: %s", a.Name, why)})
}

// lacking adds the apps of the reloaded files that nobody knows: new ones, which were to be
// started. apps are those that the request is known to be about.
func (b *backend) lacking(ctx context.Context, apps []state.App, req state.Request, result *state.Result) {
	known, failed := b.chosen(ctx, nil)
	if failed != nil || len(req.Names) > 0 {
		return
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
				unbegun(state.App{Name: spec.Name}, result)
			}
		}
	}
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
