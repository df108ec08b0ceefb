package cli

import (
	"fmt"
	"strings"

	"supervisor/supervisor/state"
)

// printReceipt tells one reload of one app: a line for the app, one per slot,
// and when it failed why, with the last words of what failed, and what to do.
func (p *printer) printReceipt(r state.Receipt) {
	p.linef("%s", receiptHead(r))
	for _, w := range r.Workers {
		p.linef("  slot %d: %s", w.Slot, slotText(r, w))
		for _, line := range w.LastLines {
			p.linef("      | %s", line)
		}
	}
	if next := nextStep(r); next != "" {
		p.linef("  %s", next)
	}
}

func receiptHead(r state.Receipt) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s", r.Name, strings.ReplaceAll(r.Result, "_", " "))
	switch {
	case r.Result == state.Skipped:
		if r.Reason != "" {
			fmt.Fprintf(&b, ", %s", r.Reason)
		}
		return b.String()
	case r.Result == state.RolledBack:
		fmt.Fprintf(&b, ", generation %d stays", r.FromGeneration)
	case r.FromGeneration == 0:
		fmt.Fprintf(&b, ", generation %d", r.ToGeneration)
	default:
		fmt.Fprintf(&b, ", generation %d -> %d", r.FromGeneration, r.ToGeneration)
	}
	fmt.Fprintf(&b, " in %s, %s cut", span(r.DurationMS), plural(r.ConnectionsCut, "connection"))
	if r.QueueDrops != nil && *r.QueueDrops > 0 {
		fmt.Fprintf(&b, ", %s dropped by a full accept queue", plural(int(*r.QueueDrops), "connection"))
	}
	if r.Reason != "" && r.Result != state.Complete {
		fmt.Fprintf(&b, ": %s", r.Reason)
	}
	return b.String()
}

// slotText is one slot: the pids, how the new one became ready, how the old one
// went, how the new one failed.
func slotText(r state.Receipt, w state.WorkerReceipt) string {
	var parts []string
	failure := newFailure(w)
	stays := r.Result != state.Complete && w.SlotRuns == r.FromGeneration
	switch {
	case w.OldPID != 0 && failure != "" && stays:
		parts = append(parts, fmt.Sprintf("pid %d stays", w.OldPID))
	case w.OldPID != 0 && w.NewPID != 0 && stays && w.DrainMS == nil:
		parts = append(parts, fmt.Sprintf("pid %d stays, new pid %d stopped", w.OldPID, w.NewPID))
	case w.OldPID != 0 && w.NewPID != 0:
		parts = append(parts, fmt.Sprintf("pid %d -> %d", w.OldPID, w.NewPID))
	case w.OldPID != 0 && stays:
		parts = append(parts, fmt.Sprintf("pid %d untouched", w.OldPID))
	case w.OldPID != 0:
		parts = append(parts, fmt.Sprintf("pid %d", w.OldPID))
	case w.NewPID != 0 && failure == "":
		parts = append(parts, fmt.Sprintf("pid %d, new", w.NewPID))
	}
	if w.ReadyMS != nil {
		ready := "ready in " + span(*w.ReadyMS)
		if w.ReadyBy != "" {
			ready += " by " + w.ReadyBy
		}
		parts = append(parts, ready)
	}
	if failure != "" {
		parts = append(parts, failure)
	}
	if w.DrainMS != nil {
		parts = append(parts, "drained in "+span(*w.DrainMS))
	}
	if w.Killed {
		killed := "the old one killed at kill_timeout"
		if w.OpenAtKill != nil {
			killed += " with " + plural(*w.OpenAtKill, "connection") + " open"
		}
		parts = append(parts, killed)
	} else if w.ExitCode != nil && *w.ExitCode != 0 {
		parts = append(parts, fmt.Sprintf("the old one ended with exit code %d", *w.ExitCode))
	}
	if r.Result != state.Complete && w.SlotRuns != 0 {
		parts = append(parts, fmt.Sprintf("runs generation %d", w.SlotRuns))
	}
	if len(parts) == 0 {
		return "untouched"
	}
	return strings.Join(parts, ", ")
}

// newFailure says how the new worker of a slot failed, "" if it didn't.
func newFailure(w state.WorkerReceipt) string {
	how := ""
	switch {
	case w.NewSignal != "":
		how = "by " + w.NewSignal
	case w.NewExitCode != nil:
		how = fmt.Sprintf("with exit code %d", *w.NewExitCode)
	}
	where := ""
	switch w.Stage {
	case "":
	case "ready":
		where = " before it was ready"
	case "soak":
		where = " within its soak"
	case "run":
		where = " after it was ready"
	default:
		where = " at " + w.Stage
	}
	who := "the new one"
	if w.NewPID != 0 {
		who = fmt.Sprintf("new pid %d", w.NewPID)
	}
	switch {
	case how != "":
		return who + " ended " + how + where
	case where != "":
		return who + " failed" + where
	}
	return ""
}

// nextStep says what to do after a reload that wasn't complete.
func nextStep(r state.Receipt) string {
	switch r.Result {
	case state.RolledBack:
		return fmt.Sprintf("what ran still runs; mend it, then `supervisor reload %s`", r.Name)
	case state.Failed:
		return fmt.Sprintf("the slots run what is written above; mend it, then `supervisor reload %s`; see also `supervisor logs %s --err`", r.Name, r.Name)
	case state.Interrupted:
		return fmt.Sprintf("the supervisor ended in the middle and settled it; `supervisor reload %s` does it again", r.Name)
	}
	return ""
}

// printPlan is --dry-run.
func (p *printer) printPlan(plan state.Plan) {
	if len(plan.Apps) == 0 {
		p.linef("nothing to do")
		return
	}
	for _, a := range plan.Apps {
		line := a.Name + ": " + a.Action
		if len(a.Changed) > 0 {
			line += ", changed: " + strings.Join(a.Changed, ", ")
		}
		if a.Why != "" {
			line += " (" + a.Why + ")"
		}
		p.linef("%s", line)
	}
}
