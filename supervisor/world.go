package supervisor

import (
	"encoding/json"
	"time"

	"supervisor/supervisor/state"
)

// World is all that the loop may ask of the outside. No method blocks; what comes
// of it arrives as a Fact.
type World interface {
	// Prepare resolves a generation on disk (real paths, interpreter, build) and opens
	// its declared sockets. Answer: Prepared.
	Prepare(PrepareOrder)
	// Spawn starts one process. Answers: Spawned or SpawnFailed, and from then on
	// whatever happens to it, ending with Ended and Gone.
	Spawn(SpawnOrder)
	// Admit lets a worker get new connections, Withdraw keeps them from it; both are
	// asked for apps with balance: even alone.
	Admit(id uint64)
	Withdraw(id uint64)
	// Stop sends the stop signal (or message) to whoever of the spawn has not had it.
	Stop(StopOrder)
	// Alone says that of the processes of a spawn's slot it is the only one that lives:
	// its predecessor, if there was one, is gone. Once for a spawn, where its protocol
	// wants to know (tableflip).
	Alone(id uint64)
	// Kill counts the open connections (answer: Cut) and sends SIGKILL to the group.
	Kill(id uint64)
	// Signal sends any signal to the main process, as the operator asked.
	Signal(id uint64, signal int)
	// Forget drops what is kept about a spawn whose group is gone.
	Forget(id uint64)
	// Retain closes the sockets of an app that are neither declared nor listened on by
	// one of these spawns, and drops what was prepared for other generations than gens;
	// Release lets go of everything.
	Retain(app string, declared []state.Listen, ids []uint64, gens []int)
	Release(app string)
	// Drops reads the accept-queue drops of an app's listeners. Answer: Dropped.
	Drops(app string)
	// Keep writes a finished receipt to the history, unless it is there (by its app and
	// StartedAt): after a crash it is asked again. Answer: Kept.
	Keep(state.Receipt)
	// Record keeps the loop's whole state for a successor: one JSON document in pieces
	// that are never changed. It comes before the acts that led to it are ordered, which
	// should wait for it to be written; kept is closed when it is, nil says that it is
	// already. A later Record stands for the earlier ones.
	Record(parts [][]byte) (kept <-chan struct{})
}

// PrepareOrder asks for a generation.
type PrepareOrder struct {
	App   string
	Gen   int
	Token uint64 // comes back with the answer
	Spec  state.Spec
	Env   []string // the caller's environment, unfiltered
}

// SpawnOrder asks for one process.
type SpawnOrder struct {
	ID     uint64
	App    string
	Slot   int
	Gen    int
	Inc    int
	Spec   state.Spec
	Launch state.Launch
}

// StopOrder asks for the stop signal.
type StopOrder struct {
	ID      uint64
	Signal  int
	Tree    state.TreeKill
	Pids    []int // processes of the spawn that listen on a held socket
	Message bool  // the message `shutdown` instead, where the worker has a channel
}

// Fact is something that happened outside: the sealed types below.
type Fact interface{ fact() }

type (
	// Prepared answers Prepare; Err is nil when Launch can be spawned. Stage names what
	// failed: resolve, build, listen. Lines are the builder's last words.
	Prepared struct {
		App    string
		Gen    int
		Token  uint64
		Launch state.Launch
		Stage  string
		Err    error
		Lines  []string
	}
	// Spawned: the program runs.
	Spawned struct {
		ID  uint64
		PID int
	}
	// SpawnFailed: it could not be started, and nothing is left of it.
	SpawnFailed struct {
		ID    uint64
		Stage string
		Err   error
	}
	// BecameReady: its ready message came.
	BecameReady struct {
		ID  uint64
		Via string
	}
	// Probed: its probe (Spec.Ready) got an answer, a good one for a nil Err, which is
	// the last; Err reads as "URL said 503".
	Probed struct {
		ID  uint64
		Err error
	}
	// Listening: a process of the spawn listens on a socket that is held for its app.
	Listening struct {
		ID   uint64
		PID  int
		Addr string
	}
	// Unseen: for this app listening can't be seen, so readiness is inferred.
	Unseen struct {
		App  string
		Note string
	}
	// Said: STATUS= of sd_notify.
	Said struct {
		ID   uint64
		Text string
	}
	// Extended: EXTEND_TIMEOUT_USEC= of sd_notify, from now.
	Extended struct {
		ID uint64
		By time.Duration
	}
	// Messaged: a Node worker's process.send.
	Messaged struct {
		ID   uint64
		Data json.RawMessage
	}
	// Noted: something a person should know about an app or one spawn of it.
	Noted struct {
		App  string
		ID   uint64
		Text string
	}
	// Ended: the main process ended; Left of its group are alive.
	Ended struct {
		ID           uint64
		Code, Signal int    // Code is UnknownCode where nobody knows
		SignalName   string // of Signal, "" for 0
		Left         int
		How          string // for a person: "exit code 3", "killed by SIGSEGV"
		LastLines    []string
	}
	// Gone: the group is empty and reaped.
	Gone struct{ ID uint64 }
	// Cut: the connections that were open when the stop signal (or SIGKILL) was sent.
	Cut struct {
		ID     uint64
		Open   int
		Killed bool
	}
	// Dropped answers Drops; Count is nil where it can't be known.
	Dropped struct {
		App   string
		Count *int64
	}
	// Kept answers Keep: the receipt is in the history, or lost for good.
	Kept struct {
		App       string
		StartedAt time.Time
	}
)

// UnknownCode is the exit code of an end that nobody saw. It counts as a failure.
const UnknownCode = -1

func (Prepared) fact()    {}
func (Spawned) fact()     {}
func (SpawnFailed) fact() {}
func (BecameReady) fact() {}
func (Probed) fact()      {}
func (Listening) fact()   {}
func (Unseen) fact()      {}
func (Said) fact()        {}
func (Extended) fact()    {}
func (Messaged) fact()    {}
func (Noted) fact()       {}
func (Ended) fact()       {}
func (Gone) fact()        {}
func (Cut) fact()         {}
func (Dropped) fact()     {}
func (Kept) fact()        {}
