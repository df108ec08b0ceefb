package state

// State is where one worker's machine is. The words shown to users are pm2's
// (Shown); the table of transitions is in package worker.
type State uint8

const (
	Stopped  State = iota // wanted down, is down
	Starting              // being spawned, or spawned and not ready
	Online                // ready
	Leaving               // out of accept, pre_drain runs, no signal sent yet
	Stopping              // stop signal sent, kill_timeout runs
	Killing               // SIGKILL sent to the group, not reaped yet
	Backoff               // the restart delay runs
	Exited                // ended, and the policy leaves it
	Errored               // gave up after max_restarts unstable starts
)

// States lists every State, in the order of the table in DESIGN section 3.
var States = [...]State{Stopped, Starting, Online, Leaving, Stopping, Killing, Backoff, Exited, Errored}

// String returns the state's own name, as in the state diagram.
func (s State) String() string {
	switch s {
	case Stopped:
		return "Stopped"
	case Starting:
		return "Starting"
	case Online:
		return "Online"
	case Leaving:
		return "Leaving"
	case Stopping:
		return "Stopping"
	case Killing:
		return "Killing"
	case Backoff:
		return "Backoff"
	case Exited:
		return "Exited"
	case Errored:
		return "Errored"
	}
	return "State(?)"
}

// Shown returns the word users know from pm2 for the state.
func (s State) Shown() string {
	switch s {
	case Starting:
		return "launching"
	case Online:
		return "online"
	case Leaving, Stopping, Killing:
		return "stopping"
	case Backoff:
		return "waiting restart"
	case Errored:
		return "errored"
	}
	return "stopped"
}

// Alive reports whether a process (or what is left of its group) exists, or is
// being made, in this state.
func (s State) Alive() bool {
	switch s {
	case Starting, Online, Leaving, Stopping, Killing:
		return true
	}
	return false
}

// Going reports whether the worker has been told to end and has not ended yet.
func (s State) Going() bool { return s == Leaving || s == Stopping || s == Killing }

// Want is what the operator wants of a worker, apart from what it is.
type Want uint8

const (
	Down Want = iota
	Up
)

// String returns "up" or "down".
func (w Want) String() string {
	if w == Up {
		return "up"
	}
	return "down"
}

// Status of an app, as `list` shows it.
const (
	AppOnline    = "online"    // as many workers online as instances
	AppDegraded  = "degraded"  // some online, not all
	AppLaunching = "launching" // none online yet, some on their way
	AppReloading = "reloading" // a rollout runs
	AppStopping  = "stopping"  // wanted down, some still alive
	AppStopped   = "stopped"   // wanted down (or exited), none alive
	AppErrored   = "errored"   // no worker online, one gave up
)
