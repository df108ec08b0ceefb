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
	// in the latter case the work goes on. What a request that was sent before
	// comes to is written at state.Request's Resume. An upgrade returns when the
	// successor is committed, or with the reason why nothing changed; the process
	// that asked for it ends only after its answer is out (Server.Close waits).
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
	//
	// A Backend that gives its lines cursors begins a followed answer with a Mark of
	// each source that is there already (after that source's last lines, if any
	// were asked for), so that a line written between two daemons is not lost
	// either when it is its source's first.
	Logs(ctx context.Context, q LogQuery) (<-chan LogLine, error)

	// Version is the daemon's.
	Version() string
}

// Introducer is a Backend that knows more of its process than the server does.
type Introducer interface {
	// Introduce completes a Pong whose PID, Version and Binary are filled in.
	Introduce(p *Pong)
}

// LogQuery says which log lines are wanted.
type LogQuery struct {
	Names    []string // apps; none = all
	N        int      // how many of the last lines
	Follow   bool     // then go on with those that come
	Out, Err bool     // which streams

	// Cursors say where an earlier answer broke off: of each source (an app's slot's
	// stream) the last one that came, in the order in which they came; where two
	// are of one source the later counts. The answer goes on right after them, whatever
	// N says: no line twice, none left out. A source that none of them is of began
	// since, and is wanted from its first line.
	Cursors []string
}

// LogLine is one line of a worker.
type LogLine struct {
	App    string    `json:"app"`
	Slot   int       `json:"slot"`
	Stream string    `json:"stream"` // "out" or "err"
	Text   string    `json:"text"`   // without its newline
	Time   time.Time `json:"time,omitzero"`
	Lost   int       `json:"lost,omitempty"` // lines dropped before this one

	// Cursor is the Backend's word for where its source goes on after this line; it
	// outlives the daemon, and says by itself which source it is of. What stands before
	// "=" is the same for all cursors in one file. "": none.
	Cursor string `json:"cursor,omitempty"`

	// Mark says that this is no line: it only brings a source's Cursor.
	Mark bool `json:"mark,omitempty"`
}

// Pong is the answer to a ping.
type Pong struct {
	PID       int    `json:"pid"`
	Version   string `json:"version"`
	Binary    string `json:"binary,omitempty"`     // what /proc/self/exe says (proc_pid_exe(5)): " (deleted)" at its end if it was
	KeeperPID int    `json:"keeper_pid,omitempty"` // of the process that holds for the daemon; 0: none of ours does
	Unit      string `json:"unit,omitempty"`       // of systemd, which holds for it and starts it; "": none
}
