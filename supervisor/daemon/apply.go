package daemon

import (
	"context"
	"fmt"
	"slices"

	"supervisor/ecosystem"
	"supervisor/supervisor"
	"supervisor/supervisor/state"
)

// start brings apps up: those of a file, a script, or known ones by name. What came of
// those in known is known.
func (b *backend) start(ctx context.Context, req state.Request, known map[string]supervisor.Outcome) state.Result {
	switch {
	case req.File != "":
		return b.apply(ctx, req.File, req, applying{known: known})
	case req.Script != nil:
		return b.startScript(ctx, req)
	}
	result := state.Result{}
	apps, missing := b.chosen(ctx, req.Names)
	if missing != nil {
		return state.Result{Error: missing}
	}
	var steps []step
	for _, a := range apps {
		steps = append(steps, step{app: a.Name, cmd: supervisor.StartApp{Name: a.Name}, to: a.Spec, was: a.Spec, fresh: true})
	}
	b.carryOut(ctx, inOrder(steps), req, &result)
	b.show(ctx, &result)
	return result
}

func (b *backend) startScript(ctx context.Context, req state.Request) state.Result {
	spec, err := ecosystem.FromScript(*req.Script, ecosystem.Options{
		File: req.Script.Cwd, Instances: req.Instances, Rename: req.Rename,
		CPUs: usableCPUs(), Disk: disk(), Path: lookEnv(req.Env, "PATH"),
	})
	if err != nil {
		return failure(state.ExitUsage, "%v", err) // it names the script
	}
	apps, failed := b.chosen(ctx, nil)
	if failed != nil {
		return state.Result{Error: failed}
	}
	if conflict := taken(apps, spec.Name, ""); conflict != nil {
		return state.Result{Error: conflict}
	}
	var result state.Result
	b.carryOut(ctx, []step{put(apps, spec, req, overrides{}, false)}, req, &result)
	b.show(ctx, &result)
	return result
}

// reload replaces the workers of every app of a file, of the named apps, or of all, but
// for those that are done.
func (b *backend) reload(ctx context.Context, req state.Request, done []string) state.Result {
	if req.File != "" {
		return b.apply(ctx, req.File, req, applying{replace: true, done: done})
	}
	apps, missing := b.chosen(ctx, req.Names)
	if missing != nil {
		return state.Result{Error: missing}
	}
	if len(req.Names) > 0 {
		return b.reloadNamed(ctx, slices.DeleteFunc(apps, func(a state.App) bool { return slices.Contains(done, a.Name) }), req)
	}
	var result state.Result
	var files []string
	for _, a := range apps {
		switch isDone := slices.Contains(done, a.Name); {
		case isDone && (a.Spec.File == "" || result.Error != nil):
		case result.Error != nil:
			result.Receipts = append(result.Receipts, skipped(a, "an app before it failed"))
		case a.Spec.File == "":
			b.carryOut(ctx, []step{reloadSaved(a, req)}, req, &result)
		case !slices.Contains(files, a.Spec.File):
			files = append(files, a.Spec.File)
			join(&result, b.apply(ctx, a.Spec.File, req, applying{replace: true, done: done}))
		}
	}
	return result
}

// reloadNamed re-reads the file of each named app, validates all of it, and touches
// the named apps alone.
func (b *backend) reloadNamed(ctx context.Context, apps []state.App, req state.Request) state.Result {
	var result state.Result
	var steps []step
	for _, a := range apps {
		if a.Spec.File == "" {
			steps = append(steps, reloadSaved(a, req))
			continue
		}
		with := b.files.merged(a.Spec.File, req)
		eco, broken := with.read(a.Spec.File, req.Env)
		if broken != nil {
			return state.Result{Error: broken}
		}
		i := slices.IndexFunc(eco.Apps, func(s state.Spec) bool { return s.Name == a.Name })
		if i < 0 {
			return failure(state.ExitUsage, "cannot reload %s: %s has no app of that name any more (supervisor delete %s, or reload the file); nothing was changed", a.Name, a.Spec.File, a.Name)
		}
		warn(&result, eco.Warnings)
		with.Metrics = eco.Metrics
		b.remember(a.Spec.File, with, req, &result)
		steps = append(steps, put(apps, eco.Apps[i], req, with, true))
	}
	b.carryOut(ctx, inOrder(steps), req, &result)
	return result
}

func reloadSaved(a state.App, req state.Request) step {
	cmd := supervisor.ReloadApp{Name: a.Name}
	if req.UpdateEnv {
		cmd.Env = req.Env
	}
	return step{app: a.Name, cmd: cmd, to: a.Spec, was: a.Spec}
}

// applying is how a file is applied.
type applying struct {
	replace bool                          // the unchanged are replaced, too
	done    []string                      // apps that are left as they are, and not told of
	known   map[string]supervisor.Outcome // what came of others that are left as they are
}

// apply brings what runs to what a file says.
func (b *backend) apply(ctx context.Context, path string, req state.Request, how applying) state.Result {
	with := b.files.merged(path, req)
	eco, broken := with.read(path, req.Env)
	if broken != nil {
		return state.Result{Error: broken}
	}
	var result state.Result
	warn(&result, eco.Warnings)
	running, failed := b.chosen(ctx, nil)
	if failed != nil {
		return state.Result{Error: failed}
	}
	wanted, problem := only(eco.Apps, req.Only, path)
	if problem != nil {
		return state.Result{Error: problem}
	}
	var steps []step
	for _, spec := range wanted {
		if conflict := taken(running, spec.Name, path); conflict != nil {
			return state.Result{Error: conflict}
		}
		if slices.Contains(how.done, spec.Name) {
			continue
		}
		s := put(running, spec, req, with, how.replace)
		if out, ok := how.known[spec.Name]; ok {
			s.known = &out
		}
		steps = append(steps, s)
	}
	var removed []step
	for _, a := range running {
		gone := a.Spec.File == path && len(req.Only) == 0 &&
			!slices.ContainsFunc(wanted, func(s state.Spec) bool { return s.Name == a.Name })
		if gone {
			removed = append(removed, step{app: a.Name, cmd: supervisor.DeleteApp{Name: a.Name}, was: a.Spec, drops: true, fresh: true})
		}
	}
	with.Metrics = eco.Metrics
	b.remember(path, with, req, &result)
	b.carryOut(ctx, append(removed, inOrder(steps)...), req, &result)
	if !how.replace {
		b.show(ctx, &result)
	}
	return result
}

// only leaves the apps that --only names.
func only(apps []state.Spec, names []string, path string) ([]state.Spec, *state.Error) {
	if len(names) == 0 {
		return apps, nil
	}
	var left []state.Spec
	for _, name := range names {
		i := slices.IndexFunc(apps, func(s state.Spec) bool { return s.Name == name })
		if i < 0 {
			return nil, &state.Error{Code: state.ExitUsage, Message: fmt.Sprintf("cannot use --only %s: %s has no such app", name, path)}
		}
		left = append(left, apps[i])
	}
	return left, nil
}

// taken is the error of a name that another file, or a script, has already.
func taken(running []state.App, name, path string) *state.Error {
	for _, a := range running {
		if a.Name == name && a.Spec.File != path {
			holder := a.Spec.File
			if holder == "" {
				holder = "an app that was started as a script"
			}
			return &state.Error{Code: state.ExitUsage, Message: fmt.Sprintf(
				"cannot use the name %s: %s has it (supervisor delete %s frees it); nothing was changed", name, holder, name)}
		}
	}
	return nil
}

func warn(result *state.Result, warnings ecosystem.Complaints) {
	for _, line := range warnings.Lines() {
		result.Messages = append(result.Messages, "warning: "+line)
	}
}

// put is the step that makes an app what its spec says. The environment of a known
// app stays what it is unless the request says otherwise.
func put(running []state.App, spec state.Spec, req state.Request, with overrides, replace bool) step {
	cmd := supervisor.Put{Spec: spec, EnvName: with.name(), Replace: replace, Env: req.Env}
	fresh, was := true, state.Spec{}
	for _, a := range running {
		if a.Name == spec.Name {
			was = a.Spec
			if !req.UpdateEnv {
				cmd.Env = nil
			}
			fresh = a.Want == state.Down
		}
	}
	return step{app: spec.Name, cmd: cmd, to: spec, was: was, fresh: fresh}
}

// report adds what one step came to to the result.
func (b *backend) report(ctx context.Context, s step, d done, result *state.Result) {
	out := d.outcome
	if out == nil {
		a := state.App{Name: s.app}
		if known, missing := b.chosen(ctx, []string{s.app}); missing == nil {
			a = known[0]
		}
		result.Receipts = append(result.Receipts, skipped(a, d.why))
		result.Started = append(result.Started, state.StartedApp{Name: s.app, Action: state.Skipped, Reason: d.why})
		return
	}
	result.Touched = append(result.Touched, s.app)
	result.Started = append(result.Started, started(s.app, *out))
	result.Error = add(result.Error, *out)
	switch {
	case out.Earlier != nil:
		superseded := *out.Earlier
		if out.Receipt != nil {
			superseded.Reason = "a newer reload took over: " + out.Receipt.Result
		}
		result.Receipts = append(result.Receipts, superseded)
	case out.Receipt != nil:
		result.Receipts = append(result.Receipts, *out.Receipt)
	case out.Action == supervisor.WasStopped:
		result.Receipts = append(result.Receipts, skipped(state.App{Name: s.app}, "it is stopped"))
	}
}

func skipped(a state.App, why string) state.Receipt {
	return state.Receipt{Name: a.Name, Result: state.Skipped, FromGeneration: a.Generation, ToGeneration: a.Generation,
		Reason: why, Workers: []state.WorkerReceipt{}}
}

// join adds what another file's apps came to.
func join(to *state.Result, from state.Result) {
	to.Messages = append(to.Messages, from.Messages...)
	to.Receipts = append(to.Receipts, from.Receipts...)
	to.Started = append(to.Started, from.Started...)
	to.Touched = append(to.Touched, from.Touched...)
	if from.Plan != nil {
		if to.Plan == nil {
			to.Plan = &state.Plan{}
		}
		to.Plan.Apps = append(to.Plan.Apps, from.Plan.Apps...)
	}
	if to.Error == nil {
		to.Error = from.Error
	}
}

// plan adds what the steps would do to the result of a --dry-run.
func (b *backend) plan(ctx context.Context, steps []step, verb state.Verb, result *state.Result) {
	running, failed := b.chosen(ctx, nil)
	if failed != nil {
		result.Error = failed
		return
	}
	var now []ecosystem.Running
	var then []state.Spec
	for _, s := range steps {
		if !s.drops {
			then = append(then, s.to)
		}
		for _, a := range running {
			if a.Name == s.app {
				now = append(now, ecosystem.Running{Spec: a.Spec, Stopped: a.Want == state.Down, Errored: a.Status == state.AppErrored})
			}
		}
	}
	plan := ecosystem.Diff(now, then, verb)
	join(result, state.Result{Plan: &plan})
}
