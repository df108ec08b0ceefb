package metrics

import (
	"slices"
	"strings"
	"testing"
	"time"

	"supervisor/supervisor/state"
)

var noon = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)

// at is an event of a worker some milliseconds after noon.
func at(ms int, worker uint64, what string) state.Event {
	return state.Event{Time: noon.Add(time.Duration(ms) * time.Millisecond), Kind: state.EventWorker, App: "web", Worker: worker, What: what}
}

func wantSamples(t *testing.T, text string, want ...string) {
	t.Helper()
	lines := strings.Split(text, "\n")
	for _, w := range want {
		if !slices.Contains(lines, w) {
			t.Errorf("no %q in\n%s", w, text)
		}
	}
}

func TestEventsAreCounted(t *testing.T) {
	c := NewCounts()
	for _, e := range []state.Event{
		at(0, 1, state.WhatSpawned), at(40, 1, state.WhatReady),
		at(50, 2, state.WhatSpawned), at(60, 1, state.WhatDraining), at(7000, 2, state.WhatReady),
		at(8000, 1, state.WhatKilled), at(8060, 1, state.WhatGone),
		at(8100, 3, state.WhatSpawned), at(8200, 3, state.WhatBackoff), at(8300, 3, state.WhatReady), // of nothing that is known
		{Kind: state.EventReload, App: "web", What: "begun"},
		{Kind: state.EventReload, App: "web", What: state.Complete, Receipt: &state.Receipt{Result: state.Complete, DurationMS: 1200, ConnectionsCut: 3}},
		{Kind: state.EventReload, App: "web", What: state.RolledBack, Receipt: &state.Receipt{Result: state.RolledBack, DurationMS: 80}},
		{Kind: state.EventNote, App: "web"},
	} {
		c.Learn(e)
	}
	text := string(Now{Counts: c}.Write())
	wantSamples(t, text,
		`supervisor_worker_kills_total{app="web"} 1`,
		`supervisor_worker_ready_seconds_bucket{app="web",le="0.025"} 0`,
		`supervisor_worker_ready_seconds_bucket{app="web",le="0.05"} 1`,
		`supervisor_worker_ready_seconds_bucket{app="web",le="10"} 2`,
		`supervisor_worker_ready_seconds_bucket{app="web",le="+Inf"} 2`,
		`supervisor_worker_ready_seconds_sum{app="web"} 6.99`,
		`supervisor_worker_ready_seconds_count{app="web"} 2`,
		`supervisor_worker_drain_seconds_sum{app="web"} 8`,
		`supervisor_reloads_total{app="web",result="complete"} 1`,
		`supervisor_reloads_total{app="web",result="rolled_back"} 1`,
		`supervisor_reloads_total{app="web",result="failed"} 0`,
		`supervisor_reload_seconds_sum{app="web"} 1.28`,
		`supervisor_reload_connections_cut_total{app="web"} 3`,
	)
	if len(c.started)+len(c.leaving) > 0 {
		t.Errorf("remembered for ever: %v %v", c.started, c.leaving)
	}
}

// What a deleted app was counted for goes with it, and what lost events were about is
// not guessed.
func TestNothingIsKeptForEver(t *testing.T) {
	c := NewCounts()
	c.Learn(at(0, 1, state.WhatSpawned))
	c.Learn(at(0, 2, state.WhatKilled))
	c.Learn(state.Event{Kind: state.EventLost, Lost: 7})
	c.Learn(at(900, 1, state.WhatReady))
	wantSamples(t, string(Now{Counts: c}.Write()), "supervisor_events_lost_total 7", `supervisor_worker_ready_seconds_count{app="web"} 0`)
	c.Learn(state.Event{Kind: state.EventApp, App: "web", Text: Deleted})
	if len(c.apps) > 0 {
		t.Error("the app is still there")
	}
}

func TestASnapshotIsWritten(t *testing.T) {
	three, max, drops := 3, 128, int64(9)
	n := Now{
		Snapshot: state.Snapshot{
			Daemon: state.DaemonInfo{Version: "1.2", UptimeMS: 1500},
			Apps: []state.App{
				{Name: "web", Want: state.Up, Instances: 2, Generation: 4, Restarts: 5, Workers: []state.Worker{{State: "online"}, {State: "online"}, {State: "stopping"}}},
				{Name: `a"b\c`, Want: state.Down, Instances: 2},
			},
		},
		Counts: NewCounts(), Go: "go1.26",
		Listeners: []Listener{{App: "web", Addr: "tcp://[::]:80", Queue: &three, Max: &max, Drops: &drops}, {App: "web", Addr: "unix:/run/x"}},
	}
	text := string(n.Write())
	wantSamples(t, text,
		`supervisor_build_info{version="1.2",goversion="go1.26"} 1`,
		`supervisor_uptime_seconds 1.5`,
		`supervisor_app_instances{app="web"} 2`,
		`supervisor_app_instances{app="a\"b\\c"} 0`,
		`supervisor_app_generation{app="web"} 4`,
		`supervisor_workers{app="web",state="online"} 2`,
		`supervisor_workers{app="web",state="stopping"} 1`,
		`supervisor_workers{app="web",state="errored"} 0`,
		`supervisor_worker_restarts_total{app="web"} 5`,
		`supervisor_worker_kills_total{app="web"} 0`,
		`supervisor_listener_queue_length{app="web",address="tcp://[::]:80"} 3`,
		`supervisor_listener_queue_max{app="web",address="tcp://[::]:80"} 128`,
		`supervisor_listener_drops_total{app="web",address="tcp://[::]:80"} 9`,
	)
	if strings.Contains(text, "unix:") {
		t.Error("a figure of a socket that has none")
	}
}

// Every word for a state is one that is counted.
func TestEveryStateIsWritten(t *testing.T) {
	for _, s := range state.States {
		if !slices.Contains(states[:], s.Shown()) {
			t.Errorf("%s is shown as %q, which is not counted", s, s.Shown())
		}
	}
}

func TestMissingAppsAreNamed(t *testing.T) {
	ready := []state.Worker{{Ready: true}}
	s := state.Snapshot{Apps: []state.App{
		{Name: "up", Want: state.Up, Status: state.AppOnline},
		{Name: "some", Want: state.Up, Status: state.AppDegraded, Workers: ready},
		{Name: "reloads", Want: state.Up, Status: state.AppReloading, Workers: ready},
		{Name: "reloads in vain", Want: state.Up, Status: state.AppReloading},
		{Name: "begins", Want: state.Up, Status: state.AppLaunching},
		{Name: "stopped", Want: state.Down, Status: state.AppStopped},
		{Name: "done", Want: state.Up, Status: state.AppStopped},
		{Name: "gave up", Want: state.Up, Status: state.AppErrored},
	}}
	if got := Missing(s); !slices.Equal(got, []string{"some", "reloads in vain", "begins", "gave up"}) {
		t.Error(got)
	}
}
