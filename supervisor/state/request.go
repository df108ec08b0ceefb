package state

import "time"

// Verb is what a client asks the daemon to do.
type Verb string

const (
	VerbStart   Verb = "start"
	VerbReload  Verb = "reload"
	VerbRestart Verb = "restart"
	VerbStop    Verb = "stop"
	VerbDelete  Verb = "delete"
	VerbScale   Verb = "scale"
	VerbSignal  Verb = "signal"
	VerbReset   Verb = "reset"
	VerbFlush   Verb = "flush"
	VerbKill    Verb = "kill"
	VerbUpgrade Verb = "upgrade"
)

// Request is one order of a client. Files are named, not sent: the daemon reads
// them, so that what it runs is what lies on the disk.
type Request struct {
	Verb   Verb     `json:"verb"`
	Names  []string `json:"names,omitempty"` // apps; none = all
	File   string   `json:"file,omitempty"`  // absolute path of an ecosystem
	Script *Script  `json:"script,omitempty"`

	Only      []string `json:"only,omitempty"`
	EnvName   *string  `json:"env_name,omitempty"`  // --env; nil: as before
	Instances *string  `json:"instances,omitempty"` // -i: n, max, -n
	Rename    *string  `json:"rename,omitempty"`    // --name, for a file or script with one app
	Env       []string `json:"env,omitempty"`       // the caller's environment
	UpdateEnv bool     `json:"update_env,omitempty"`
	DryRun    bool     `json:"dry_run,omitempty"`
	Parallel  int      `json:"parallel,omitempty"`
	Count     string   `json:"count,omitempty"`  // scale: N, +N, -N, max
	Signal    string   `json:"signal,omitempty"` // signal: a name or number
	Binary    string   `json:"binary,omitempty"` // upgrade: absolute path; none = the one on record

	// ID names the request through all its sendings; the client makes it at random.
	ID string `json:"id,omitempty"`

	// Since is when the client sent it first, by this machine's clock.
	Since time.Time `json:"since,omitzero"`

	// Resume says that this is a later sending: the connection of the one before
	// broke off unanswered, because the daemon died or was replaced. How much of it
	// was heard, begun or done the client can't know; ID and Since are set.
	//
	// A daemon whose records tell that nothing of ID was begun does the request as
	// a new one. Else, when it is Repeatable, it is done again from its beginning, and
	// says what it and its first sending came to:
	//
	//   - start first waits for what is under way in its apps, so that an app whose
	//     reload is being settled does not pass for unchanged. A reload of its that has
	//     failed is not tried again;
	//   - delete leaves out what is gone by now.
	//
	// What is not Repeatable is not done again; the daemon waits for what is under way
	// in the apps that the request is about, and answers what became of each:
	//
	//   - reload: the receipt that ended at or after Since, waited for if need be
	//     (Interrupted when the daemon's end cut it, whichever way it was settled,
	//     Complete when it was carried on to its end). An app that has none was not
	//     begun: if all the others are Complete it is reloaded now, else its receipt
	//     has the result Skipped and the reason;
	//   - restart: a StartedApp for each. An app that was not begun is restarted now, if
	//     all the others came up;
	//   - scale: an app that still has as many instances as when the request was
	//     begun is scaled to what that came to then, and one that has neither number was
	//     scaled by somebody else, which is an error;
	//   - signal: Touched alone.
	//
	// Result.Error is nil only if the daemon knows that all of it was done (reload:
	// every receipt is Complete); otherwise its code is ExitFailed and its message
	// says what is known.
	Resume bool `json:"resume,omitempty"`
}

// Repeatable reports whether doing the request twice comes to the same as doing
// it once, so that it may be done again when nobody knows how far it came.
func (r Request) Repeatable() bool {
	switch r.Verb {
	case VerbReload:
		return r.DryRun
	case VerbRestart, VerbScale, VerbSignal, VerbUpgrade:
		return false
	}
	return true
}

// Script is an app that has no ecosystem file.
type Script struct {
	Path string   `json:"path"` // as typed
	Args []string `json:"args,omitempty"`
	Cwd  string   `json:"cwd"` // the caller's
}

// Exit codes of the command line (DESIGN section 9).
const (
	ExitOK       = 0
	ExitFailed   = 1
	ExitUsage    = 2
	ExitNoDaemon = 3
)

// Error is a failed request: its exit code, what can't be done and why, and the
// complaints one by one (an ecosystem's, or a failed worker's last lines).
type Error struct {
	Code    int      `json:"code"`
	Message string   `json:"message"`
	Details []string `json:"details"`
}

// Error returns the message; the details are the printer's.
func (e *Error) Error() string { return e.Message }

// Result is how a request ended. Error is nil when it was done; the other parts
// are there whether it was or not.
type Result struct {
	Error    *Error       `json:"error,omitempty"`
	Messages []string     `json:"messages,omitempty"` // warnings and notes for a person
	Receipts []Receipt    `json:"receipts,omitempty"` // reload
	Plan     *Plan        `json:"plan,omitempty"`     // --dry-run
	Started  []StartedApp `json:"started,omitempty"`  // start, restart, scale
	Touched  []string     `json:"touched,omitempty"`  // apps that were acted on
	Snapshot *Snapshot    `json:"snapshot,omitempty"`
}

// StartedApp tells how an app's first start went.
type StartedApp struct {
	Name    string   `json:"name"`
	Action  string   `json:"action"` // started, reloaded, scaled, unchanged, deleted, registered
	OK      bool     `json:"ok"`
	Reason  string   `json:"reason,omitempty"`
	Slot    *int     `json:"slot,omitempty"` // the slot that failed; nil: it is no single one's failure
	Details []string `json:"details,omitempty"`
}
