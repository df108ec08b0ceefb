package daemon

import (
	"cmp"
	"slices"

	"supervisor/supervisor/state"
)

// endsByItself reports whether this daemon ends when all that it ran has: one in the
// foreground is the process of whoever waits for it (a container, a script), but systemd
// would start it again, and with it what has ended.
func (d *daemon) endsByItself() bool { return d.Foreground && d.unit() == "" }

// awaitOver gives over the exit code when everything has ended by itself.
func (d *daemon) awaitOver(over chan<- int) {
	events, leave := d.backend.Events()
	defer leave()
	lacking := d.unstarted
	for {
		snap, err := d.loop.Snapshot(d.ctx)
		if err != nil {
			return
		}
		lacking = slices.DeleteFunc(lacking, func(name string) bool {
			return slices.ContainsFunc(snap.Apps, func(a state.App) bool { return a.Name == name })
		})
		if code, is := outcome(snap.Apps, len(lacking) > 0); is {
			over <- code
			return
		}
		if !awaitEnd(events) {
			return
		}
	}
}

// awaitEnd waits for an event that may be the last thing to happen; false when none will
// come any more. What has come with it is looked at together.
func awaitEnd(events <-chan state.Event) bool {
	for e := range events {
		if !mayBeLast(e) {
			continue
		}
		for len(events) > 0 {
			<-events
		}
		return true
	}
	return false
}

func mayBeLast(e state.Event) bool {
	switch e.Kind {
	case state.EventWorker:
		return e.What != state.WhatSpawned && e.What != state.WhatReady
	case state.EventApp, state.EventReload, state.EventLost:
		return true
	}
	return false
}

// outcome is what all apps have come to when each has ended by itself, for good: the first
// exit code in the order of their file that is not 0, else 1 if others could not even be
// begun (lacking). An app that was never started counts for nothing; one that a command
// has stopped waits for another command.
func outcome(apps []state.App, lacking bool) (code int, over bool) {
	apps = slices.Clone(apps)
	slices.SortStableFunc(apps, func(a, b state.App) int { return cmp.Compare(a.Spec.Place, b.Spec.Place) })
	for _, a := range apps {
		if a.Want == state.Down && len(a.Workers) == 0 {
			continue
		}
		status, ended := ending(a)
		if !ended {
			return 0, false
		}
		over, code = true, cmp.Or(code, status)
	}
	if lacking {
		return cmp.Or(code, state.ExitFailed), true
	}
	return code, over
}

// ending is the first exit code of an app's workers that is not 0, if all of them have
// ended and nobody will start them again (autorestart: false, stop_exit_codes).
func ending(a state.App) (code int, ended bool) {
	if a.Status == state.AppLaunching || a.Status == state.AppReloading {
		return 0, false
	}
	for _, w := range a.Workers {
		if w.Exact != state.Exited {
			return 0, false
		}
		code = cmp.Or(code, w.ExitCode)
	}
	return code, len(a.Workers) > 0
}
