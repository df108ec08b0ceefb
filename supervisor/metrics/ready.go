package metrics

import "supervisor/supervisor/state"

// Missing are the apps that are wanted and not online, in their order. One that is
// being reloaded is online while any of its workers is ready; one whose workers have
// ended for good (autorestart: false, stop_exit_codes) is not missed.
func Missing(s state.Snapshot) []string {
	var names []string
	for _, a := range s.Apps {
		switch {
		case a.Want == state.Down, a.Status == state.AppOnline, a.Status == state.AppStopped:
		case a.Status == state.AppReloading && anyReady(a):
		default:
			names = append(names, a.Name)
		}
	}
	return names
}

func anyReady(a state.App) bool {
	for _, w := range a.Workers {
		if w.Ready {
			return true
		}
	}
	return false
}
