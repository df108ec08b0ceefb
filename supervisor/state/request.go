package state

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
	Slot    *int     `json:"slot,omitempty"` // the slot that failed
	Details []string `json:"details,omitempty"`
}
