package daemon

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"supervisor/ecosystem"
	"supervisor/supervisor"
	"supervisor/supervisor/state"
)

// step is one app's part of a request.
type step struct {
	app   string
	cmd   supervisor.Command
	fresh bool // nothing runs that a failure could take down: all such at once

	to    state.Spec // what the app is from now on
	was   state.Spec // and was before; without a name: it is new
	drops bool       // it takes the app away

	known *supervisor.Outcome // what came of it already; nil: it is to be done
}

// done is what a step came to.
type done struct {
	outcome *supervisor.Outcome // nil: it was skipped
	why     string              // it was
}

func (d done) failed() bool { return d.outcome == nil || d.outcome.Err != nil }

// carryOut does the steps, each when those it comes after are done: what starts from
// nothing all at once, reloads one after another (or --parallel of them). The first
// failed reload skips the reloads after it, any failure the steps that depend on it.
// With --dry-run it does none of it, and says what it would do.
func (b *backend) carryOut(ctx context.Context, steps []step, req state.Request, result *state.Result) {
	if req.DryRun {
		b.plan(ctx, steps, req.Verb, result)
		return
	}
	after := afterwards(steps)
	results := make([]done, len(steps))
	over := make([]chan struct{}, len(steps))
	for i := range over {
		over[i] = make(chan struct{})
	}
	do := func(i int) {
		defer close(over[i])
		for _, j := range after[i] {
			if <-over[j]; results[j].failed() {
				results[i].why = steps[i].because(steps[j])
				return
			}
		}
		if results[i].outcome = steps[i].known; steps[i].known == nil {
			out := b.tell(ctx, steps[i].cmd)
			results[i].outcome = &out
		}
	}
	var beginning, lanes sync.WaitGroup
	queue := make(chan int, len(steps))
	for i, s := range steps {
		if s.fresh {
			beginning.Go(func() { do(i) })
		} else {
			queue <- i
		}
	}
	close(queue)
	failed := make(chan struct{})
	var once sync.Once
	for range max(1, req.Parallel) {
		lanes.Go(func() {
			for i := range queue {
				select {
				case <-failed:
					results[i].why = "an app before it failed"
					close(over[i])
					continue
				default:
				}
				if do(i); results[i].failed() {
					once.Do(func() { close(failed) })
				}
			}
		})
	}
	beginning.Wait()
	lanes.Wait()
	for i, s := range steps {
		b.report(ctx, s, results[i], result)
	}
}

func (s step) because(failed step) string {
	if s.drops {
		return fmt.Sprintf("%s may still depend on it", failed.app)
	}
	return fmt.Sprintf("it depends on %s, which failed", failed.app)
}

// inOrder sorts the steps as they are to be begun: apps after those they depend on,
// else as they are. What takes apps away comes first.
func inOrder(steps []step) []step {
	var ordered []step
	var specs []state.Spec
	for _, s := range steps {
		if s.drops {
			ordered = append(ordered, s)
			continue
		}
		specs = append(specs, s.to)
	}
	for _, level := range ecosystem.Levels(specs) {
		for _, spec := range level {
			i := slices.IndexFunc(steps, func(s step) bool { return !s.drops && s.app == spec.Name })
			ordered = append(ordered, steps[i])
		}
	}
	return ordered
}

// afterwards returns for each step the indexes of those it waits for: an app is
// brought up after the apps it depends on, and taken away after those that depended
// on it. Of steps inOrder none that is queued waits for one behind it.
func afterwards(steps []step) [][]int {
	after := make([][]int, len(steps))
	var ups, downs []int
	var to, was []state.Spec
	for i, s := range steps {
		if s.drops {
			downs, was = append(downs, i), append(was, s.was)
		} else {
			ups, to = append(ups, i), append(to, s.to)
		}
	}
	for i, needs := range ecosystem.Dependencies(to) {
		for _, j := range needs {
			after[ups[i]] = append(after[ups[i]], ups[j])
		}
	}
	for i, needed := range reversed(ecosystem.Dependencies(was)) {
		for _, j := range needed {
			after[downs[i]] = append(after[downs[i]], downs[j])
		}
	}
	for _, down := range downs {
		for _, up := range ups {
			s := steps[up]
			if s.was.File == steps[down].was.File && slices.Contains(s.was.DependsOn, steps[down].app) {
				after[down] = append(after[down], up)
			}
		}
	}
	return after
}

// reversed turns what each depends on into what depends on each.
func reversed(needs [][]int) [][]int {
	by := make([][]int, len(needs))
	for i, on := range needs {
		for _, j := range on {
			by[j] = append(by[j], i)
		}
	}
	return by
}

// inTurn does something for each of several apps at once, but for one that comes
// after others when those are done.
func inTurn(after [][]int, do func(i int)) {
	over := make([]chan struct{}, len(after))
	for i := range over {
		over[i] = make(chan struct{})
	}
	var all sync.WaitGroup
	for i := range after {
		all.Go(func() {
			defer close(over[i])
			for _, j := range after[i] {
				<-over[j]
			}
			do(i)
		})
	}
	all.Wait()
}

// namesOf are the names of known apps.
func namesOf(apps []state.App) []string {
	names := make([]string, len(apps))
	for i, a := range apps {
		names[i] = a.Name
	}
	return names
}

// specsOf are the specs of known apps.
func specsOf(apps []state.App) []state.Spec {
	specs := make([]state.Spec, len(apps))
	for i, a := range apps {
		specs[i] = a.Spec
	}
	return specs
}

// dependable sorts known apps so that each comes after those it depends on.
func dependable(apps []state.App) []state.App {
	sorted := make([]state.App, 0, len(apps))
	for _, level := range ecosystem.Levels(specsOf(apps)) {
		for _, spec := range level {
			i := slices.IndexFunc(apps, func(a state.App) bool { return a.Name == spec.Name })
			sorted = append(sorted, apps[i])
		}
	}
	return sorted
}
