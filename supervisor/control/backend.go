package control

import (
	"context"
	"encoding/json"
	"time"

	"supervisor/supervisor/state"
)

// Backend is what the server answers from; the daemon implements it. All
// methods may be called at the same time from many goroutines.
type Backend interface {
	// Do carries the request out and returns when it is done or ctx has ended;
	// in the latter case the work goes on.
	Do(ctx context.Context, req state.Request) state.Result

	// List returns everything at one instant, with usage figures.
	List(ctx context.Context) (state.Snapshot, error)

	// Describe returns one app in full, or all of them for "".
	Describe(ctx context.Context, name string) ([]state.Describe, error)

	// Events subscribes to what happens from now on. The channel is bounded: for
	// a slow reader events are dropped and an EventLost tells how many. cancel
	// may be called more than once; the channel may be closed by the daemon.
	Events() (ch <-chan state.Event, cancel func())

	// History returns the last n receipts of an app ("" = of all), oldest first.
	History(ctx context.Context, name string, n int) ([]json.RawMessage, error)

	// Logs returns the last lines, then with Follow those that come, until ctx
	// ends; the Backend closes the channel. For a slow reader lines are dropped
	// and counted in the next line's Lost.
	Logs(ctx context.Context, q LogQuery) (<-chan LogLine, error)

	// Version is the daemon's.
	Version() string
}

// LogQuery says which log lines are wanted.
type LogQuery struct {
	Names    []string // apps; none = all
	N        int      // how many of the last lines
	Follow   bool     // then go on with those that come
	Out, Err bool     // which streams
}

// LogLine is one line of a worker.
type LogLine struct {
	App    string    `json:"app"`
	Slot   int       `json:"slot"`
	Stream string    `json:"stream"` // "out" or "err"
	Text   string    `json:"text"`   // without its newline
	Time   time.Time `json:"time,omitzero"`
	Lost   int       `json:"lost,omitempty"` // lines dropped before this one
}

// Pong is the answer to a ping.
type Pong struct {
	PID     int    `json:"pid"`
	Version string `json:"version"`
}
