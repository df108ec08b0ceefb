package daemon

import (
	"testing"

	"supervisor/supervisor/state"
)

func TestStatusOf(t *testing.T) {
	app := func(name, status string, want state.Want, ready ...bool) state.App {
		a := state.App{Name: name, Status: status, Want: want}
		for _, r := range ready {
			a.Workers = append(a.Workers, state.Worker{Ready: r})
		}
		return a
	}
	for want, apps := range map[string][]state.App{
		"0 apps, 0 workers online": nil,
		"1 app, 1 worker online":   {app("a", state.AppOnline, state.Up, true)},
		"2 apps, 3 workers online; not online: b (degraded)": {
			app("a", state.AppReloading, state.Up, true, true, false), app("b", state.AppDegraded, state.Up, true, false), app("c", state.AppStopped, state.Down)},
	} {
		if got := statusOf(state.Snapshot{Apps: apps}); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestStored(t *testing.T) {
	for name, want := range map[string]bool{
		"ctl": true, "nmap": true, "exe": true, "exits": true, "l1": true, "w12.o": true, "w1.p": true,
		"": false, "l": false, "w": false, "w1": false, "l1.o": false, "lx": false, "web": false, "supervisor-shop.socket": false, "w1x.o": false, "-1": false, "unknown": false,
	} {
		if got := stored(name); got != want {
			t.Errorf("stored(%q) = %v", name, got)
		}
	}
}
