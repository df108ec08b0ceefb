package daemon

import (
	"testing"

	"supervisor/supervisor/state"
)

func TestWhatEverythingHasComeTo(t *testing.T) {
	ended := func(place int, codes ...int) state.App {
		a := state.App{Status: state.AppStopped, Want: state.Up, Spec: state.Spec{Place: place}}
		for _, code := range codes {
			a.Workers = append(a.Workers, state.Worker{Exact: state.Exited, ExitCode: code})
		}
		return a
	}
	with := func(status string, want state.Want, workers ...state.State) state.App {
		a := state.App{Status: status, Want: want}
		for _, s := range workers {
			a.Workers = append(a.Workers, state.Worker{Exact: s})
		}
		return a
	}
	registered := with(state.AppStopped, state.Down)
	for _, c := range []struct {
		name    string
		apps    []state.App
		lacking bool
		code    int
		over    bool
	}{
		{name: "nothing is there"},
		{name: "one is registered alone", apps: []state.App{registered}},
		{name: "one could not be begun", lacking: true, code: 1, over: true},
		{name: "one has ended well", apps: []state.App{ended(0, 0)}, over: true},
		{name: "by a signal, beside one that is registered", apps: []state.App{registered, ended(1, 143)}, code: 143, over: true},
		{name: "in the file's order", apps: []state.App{ended(2, 9), ended(1, 0, 7, 8), ended(0, 0)}, code: 7, over: true},
		{name: "well, and one could not be begun", apps: []state.App{ended(0, 0)}, lacking: true, code: 1, over: true},
		{name: "a worker runs", apps: []state.App{ended(0, 7), with(state.AppDegraded, state.Up, state.Exited, state.Online)}},
		{name: "one runs, and one could not be begun", apps: []state.App{with(state.AppOnline, state.Up, state.Online)}, lacking: true},
		{name: "one waits for its restart", apps: []state.App{with(state.AppLaunching, state.Up, state.Backoff)}},
		{name: "one is started again", apps: []state.App{with(state.AppLaunching, state.Up, state.Exited)}},
		{name: "one is reloaded", apps: []state.App{with(state.AppReloading, state.Up, state.Exited)}},
		{name: "one is prepared for the first time", apps: []state.App{with(state.AppLaunching, state.Up)}},
		{name: "a command has stopped one", apps: []state.App{ended(0, 0), with(state.AppStopped, state.Down, state.Stopped)}},
		{name: "one has given up", apps: []state.App{ended(0, 0), with(state.AppErrored, state.Up, state.Errored)}},
	} {
		if code, over := outcome(c.apps, c.lacking); code != c.code || over != c.over {
			t.Errorf("%s: %d, %v, want %d, %v", c.name, code, over, c.code, c.over)
		}
	}
}
