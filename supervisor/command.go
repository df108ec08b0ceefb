package supervisor

import "supervisor/supervisor/state"

// Command is one order to the loop about one app: the sealed types below. Several
// apps are the caller's sequence.
type Command interface{ app() string }

type (
	// Put makes an app what its spec says: unknown, stopped or errored apps are
	// started; a running one is reloaded if it differs, or in any case with Replace.
	// With Replace a stopped app takes the spec and stays stopped.
	Put struct {
		Spec    state.Spec
		Env     []string // the caller's environment; nil: what the app has
		EnvName string
		Replace bool
	}
	// StartApp starts what is down of a known app, counters reset.
	StartApp struct{ Name string }
	// ReloadApp replaces every worker from the saved spec (an app with no file).
	ReloadApp struct {
		Name string
		Env  []string
	}
	// RestartApp replaces every worker slot by slot, stopped then started.
	RestartApp struct{ Name string }
	// StopApp returns when every group is gone; DeleteApp also forgets the app.
	StopApp   struct{ Name string }
	DeleteApp struct{ Name string }
	// ScaleApp sets the number of workers.
	ScaleApp struct {
		Name string
		To   int
	}
	// SignalApp sends any signal to the main process of each worker.
	SignalApp struct {
		Name   string
		Signal int
	}
	// Await returns when nothing of what was asked of the app is under way any more, by
	// whomever it was asked, in this life of the supervisor or an earlier one: what a
	// client that lost its answer waits for. Its Receipt is that of the last rollout that
	// ended, its Err a worker's that did not come up, of the slots from From on.
	Await struct {
		Name string
		From int
	}
	// ResetApp sets the restart counters to 0.
	ResetApp struct{ Name string }
)

func (c Put) app() string        { return c.Spec.Name }
func (c StartApp) app() string   { return c.Name }
func (c ReloadApp) app() string  { return c.Name }
func (c RestartApp) app() string { return c.Name }
func (c StopApp) app() string    { return c.Name }
func (c DeleteApp) app() string  { return c.Name }
func (c ScaleApp) app() string   { return c.Name }
func (c SignalApp) app() string  { return c.Name }
func (c Await) app() string      { return c.Name }
func (c ResetApp) app() string   { return c.Name }

// What a command came to (Outcome.Action).
const (
	Started    = "started"
	Reloaded   = "reloaded"
	Restarted  = "restarted"
	Scaled     = "scaled"
	Unchanged  = "unchanged"
	Registered = "registered" // known, not started
	WasStopped = "stopped"
	Deleted    = "deleted"
	Signalled  = "signalled"
	WasReset   = "reset"
	Settled    = "settled" // what was awaited is over
)

// Outcome is how a Command ended. Err is nil when it was done.
type Outcome struct {
	Action  string
	Err     error
	Slot    *int // that Err is about; nil: it is about no single worker
	Details []string
	Receipt *state.Receipt // of a reload or restart; Await: of the last, nil for none
	Earlier *state.Receipt // of the reload that this command's own was superseded by
}
