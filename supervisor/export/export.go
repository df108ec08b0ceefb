// Package export turns the apps of an ecosystem file into documents of a cluster:
// Kubernetes (YAML) and Nomad (HCL). It is pure.
//
// Invariants:
//   - the same apps give the same bytes: what has no order is sorted;
//   - every key of the ecosystem file has a fate (fateOf): it is carried over, or a
//     warning says why it is not; a test holds the table against the parser's;
//   - a text of the file is that text in the cluster too: what YAML, HCL and the
//     expansion of variables by the cluster would make of it is escaped. Where Nomad
//     has no escape (its client expands ${...} again) a warning says so;
//   - a duration is rounded up to the cluster's unit, never down.
package export

import (
	"fmt"
	"slices"
	"time"

	"supervisor/supervisor/state"
)

// App is one app, and what its spec does not tell.
type App struct {
	Spec    state.Spec
	Command []string // the program and its arguments, as an image or a task would run it
	Built   bool     // Command[0] is built from Go source before it runs

	// Written has the keys that the file writes for this app, by their own names, with
	// the text of those that are one. The others have their defaults.
	Written map[string]string
}

// Warning says what of an app is not carried over.
type Warning struct {
	App int    // its index
	Key string // of the file; "" for the app as a whole
	Why string
}

// Waits that a cluster has and one machine has not.
const (
	// placing is how long it may take until a program runs at all: a place is found
	// and the image pulled. The file's listen_timeout begins after it.
	placing = time.Minute
	// deregistering is how long a worker goes on serving before its stop signal: until
	// every proxy of the cluster has taken its address out. Nobody holds the socket
	// meanwhile, as the supervisor does.
	deregistering = 5 * time.Second
)

// report collects the warnings about one app after the other.
type report struct {
	app  int
	list []Warning
}

func (r *report) warn(key, format string, args ...any) {
	r.list = append(r.list, Warning{r.app, key, fmt.Sprintf(format, args...)})
}

// lost warns of the written keys that a target does not carry over.
func (r *report) lost(a App, why func(fate) string) {
	for key := range a.Written {
		f, _ := fateOf(key)
		if text := why(f); text != "" {
			r.warn(key, "%s", text)
		}
	}
}

// sorted returns the warnings in an order that does not depend on chance: by app, then
// by key.
func (r *report) sorted() []Warning {
	slices.SortStableFunc(r.list, func(a, b Warning) int {
		switch {
		case a.App != b.App:
			return a.App - b.App
		case a.Key < b.Key:
			return -1
		case a.Key > b.Key:
			return 1
		}
		return 0
	})
	return r.list
}

// seconds rounds a duration up.
func seconds(d time.Duration) int {
	return int((d + time.Second - 1) / time.Second)
}

// steady is how long a new worker has to be well before it counts: soak, and where
// nothing tells that it is ready min_uptime.
func (a App) steady(probed bool) time.Duration {
	switch {
	case a.Spec.Soak != nil:
		return *a.Spec.Soak
	case probed:
		return 0
	}
	return a.Spec.MinUptime
}

// linger is how long a worker goes on after its successor has taken over, before its
// stop signal.
func (a App) linger(served bool) time.Duration {
	if !served {
		return a.Spec.PreDrain
	}
	return max(a.Spec.PreDrain, deregistering)
}

// count is how many workers are wanted now.
func (a App) count() int {
	if !a.Spec.AutoStart {
		return 0
	}
	return a.Spec.Instances
}

// common warns of what neither target can do.
func (r *report) common(a App) {
	s := a.Spec
	switch text, written := a.Written["instances"]; {
	case !written:
	case text == "max", text == "0", len(text) > 0 && text[0] == '-':
		r.warn("instances", "%s is %d on this machine: choose the number for the cluster", text, s.Instances)
	}
	if a.Built {
		r.warn("script", "it is built where the supervisor runs, elsewhere it has to be there: build it into %s", a.Command[0])
	}
	if s.ShutdownWithMessage {
		r.warn("shutdown_with_message", "there is no Node channel: the program has to stop at its signal")
	}
	if _, written := a.Written["min_uptime"]; written && (s.Soak != nil || probed(a)) {
		r.warn("min_uptime", "what is ready is asked for, and restarts are the cluster's: it has no effect")
	}
	if s.WaitReady {
		r.warn("wait_ready", "nobody hears the ready message: %s", readyBy(a))
	}
	if _, written := a.Written["reload"]; written && s.Reload.Force {
		r.warn("reload", "on_timeout: force has no counterpart: a worker that is not ready in time is not used")
	}
	if s.NodeDrain && s.Mode == state.Cluster && len(a.Command) > 0 && base(a.Command[0]) == "node" {
		r.warn("node_drain", "nobody helps a Node program to drain: it has to stop accepting, and answer Connection: close, at its signal")
	}
}
