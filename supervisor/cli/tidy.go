package cli

import (
	"slices"

	"supervisor/supervisor/state"
)

// The contract of --json says lists, never null; what came over the socket may
// have lost the difference.

func list[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

func tidySnapshot(s state.Snapshot) state.Snapshot {
	s.Apps = list(s.Apps)
	for i := range s.Apps {
		tidyApp(&s.Apps[i])
	}
	return s
}

func tidyApp(a *state.App) {
	a.Workers = list(a.Workers)
	for i := range a.Workers {
		a.Workers[i].Listeners = list(a.Workers[i].Listeners)
	}
}

func tidyReceipt(r *state.Receipt) {
	r.Workers = list(r.Workers)
	for i := range r.Workers {
		r.Workers[i].LastLines = list(r.Workers[i].LastLines)
	}
}

func tidyResult(r *state.Result) {
	r.Messages, r.Receipts = list(r.Messages), list(r.Receipts)
	r.Started, r.Touched = list(r.Started), list(r.Touched)
	for i := range r.Receipts {
		tidyReceipt(&r.Receipts[i])
	}
	if r.Plan != nil {
		r.Plan.Apps = list(r.Plan.Apps)
		for i := range r.Plan.Apps {
			r.Plan.Apps[i].Changed = list(r.Plan.Apps[i].Changed)
		}
	}
	if r.Snapshot != nil {
		*r.Snapshot = tidySnapshot(*r.Snapshot)
	}
	if r.Error != nil {
		r.Error.Details = list(r.Error.Details)
		if r.Error.Code == 0 {
			r.Error.Code = state.ExitFailed
		}
	}
}

func tidyDescribe(d *state.Describe) {
	tidyApp(&d.App)
	d.Command, d.Listening = list(d.Command), list(d.Listening)
	d.Notes, d.Logs, d.Details = list(d.Notes), list(d.Logs), list(d.Details)
	if d.Env == nil {
		d.Env = map[string]string{}
	}
	if d.Last != nil {
		tidyReceipt(d.Last)
	}
}

// onlyApps leaves out the apps that were not touched.
func onlyApps(s state.Snapshot, names []string) state.Snapshot {
	s.Apps = slices.DeleteFunc(slices.Clone(s.Apps), func(a state.App) bool { return !slices.Contains(names, a.Name) })
	return s
}
