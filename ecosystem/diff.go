package ecosystem

import (
	"fmt"
	"slices"

	"supervisor/supervisor/state"
)

// Actions of a plan.
const (
	ActionStart     = "start"
	ActionReload    = "reload"
	ActionScale     = "scale"
	ActionDelete    = "delete"
	ActionReplace   = "replace"   // a reload of what has not changed
	ActionUnchanged = "unchanged" // nothing is done
)

// Running is an app as the daemon has it.
type Running struct {
	Spec    state.Spec // as its file said; a count that was scaled by hand does not go in here
	Stopped bool       // wanted down, or exited by its policy
	Errored bool       // gave up
}

// Diff plans what brings the apps that one file owns to what it says now. For
// state.VerbStart what is new, stopped or errored is started and what has not
// changed is left alone; for state.VerbReload a stopped app stays stopped and
// the unchanged are replaced too. The plan is in the file's order, what is to
// be deleted at its end.
func Diff(running []Running, wanted []state.Spec, verb state.Verb) state.Plan {
	var plan state.Plan
	for _, spec := range wanted {
		i := slices.IndexFunc(running, func(r Running) bool { return r.Spec.Name == spec.Name })
		if i >= 0 {
			plan.Apps = append(plan.Apps, change(running[i], spec, verb))
			continue
		}
		added := state.PlanApp{Name: spec.Name, Action: ActionStart, Why: "new"}
		if !spec.AutoStart {
			added.Why = "new, stopped (autostart: false)"
		}
		plan.Apps = append(plan.Apps, added)
	}
	for _, r := range running {
		if !slices.ContainsFunc(wanted, func(s state.Spec) bool { return s.Name == r.Spec.Name }) {
			plan.Apps = append(plan.Apps, state.PlanApp{Name: r.Spec.Name, Action: ActionDelete, Why: "not in the file any more"})
		}
	}
	return plan
}

// change plans for an app that is there already.
func change(r Running, spec state.Spec, verb state.Verb) state.PlanApp {
	app := state.PlanApp{Name: spec.Name, Changed: state.Diff(r.Spec, spec)}
	switch {
	case r.Stopped && verb != state.VerbStart:
		app.Action, app.Why = ActionUnchanged, "stopped"
	case r.Stopped:
		app.Action, app.Why = ActionStart, "stopped"
	case r.Errored:
		app.Action, app.Why = ActionStart, "errored"
	case len(app.Changed) == 0 && verb != state.VerbStart:
		app.Action = ActionReplace
	case verb == state.VerbStart && slices.Equal(app.Changed, []string{"depends_on"}):
		app.Action, app.Why = ActionUnchanged, "depends_on is no worker's business"
	case len(app.Changed) == 0:
		app.Action = ActionUnchanged
	case verb == state.VerbStart && slices.Equal(app.Changed, []string{"instances"}):
		app.Action, app.Why = ActionScale, fmt.Sprintf("instances %d -> %d", r.Spec.Instances, spec.Instances)
	default:
		app.Action = ActionReload
	}
	return app
}
