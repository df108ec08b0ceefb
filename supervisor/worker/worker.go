// Package worker is the pure machine of one worker: one process after another in
// one slot, of one generation. Step takes an event and returns the machine that
// follows and what must be done. It has no clock and no OS.
//
// Invariants:
//
//   - the table state x event is total; an ignored pair is written as ignored;
//   - every timer and every fact of a process carries the incarnation (Inc) it
//     belongs to, and Step drops those of another one first: the SIGKILL timer of
//     a past stop can't hit the next process;
//   - a worker is Stopped, Exited, Errored or in Backoff only when its process is
//     gone, never because it was told to go;
//   - what is wanted (Want) is kept apart from what is (State);
//   - Step is deterministic: jitter comes in with the event.
package worker

import (
	"time"

	"supervisor/supervisor/state"
)

// Cause is why a worker is being stopped.
type Cause uint8

const (
	NoCause  Cause = iota
	Asked          // the operator, a reload, a scale
	NotReady       // listen_timeout passed
	Crashed        // the main process ended by itself, its group did not
)

// Kind names an event; the columns of the table.
type Kind uint8

const (
	Start       Kind = iota // it is wanted up
	Stop                    // it is wanted down
	Spawned                 // the program runs
	SpawnFailed             // it could not be started, and nothing is left of it
	Ready                   // it can serve
	Ended                   // the main process ended
	Gone                    // its process group is empty and reaped
	ReadyTimer              // listen_timeout passed
	InferTimer              // it lived long enough to be taken for ready
	SoakTimer               // it stayed up long enough after ready
	UptimeTimer             // min_uptime passed since ready
	DrainTimer              // pre_drain passed
	KillTimer               // kill_timeout passed
	DelayTimer              // the restart delay passed
	numKinds
)

// Kinds lists every Kind in the table's order.
var Kinds = [numKinds]Kind{Start, Stop, Spawned, SpawnFailed, Ready, Ended, Gone,
	ReadyTimer, InferTimer, SoakTimer, UptimeTimer, DrainTimer, KillTimer, DelayTimer}

// String returns the event's name as in the state diagram.
func (k Kind) String() string {
	return [numKinds]string{"start", "stop", "spawned", "spawn failed", "ready", "ended", "gone",
		"listen_timeout", "inferred", "soaked", "min_uptime", "pre_drain", "kill_timeout", "delay"}[k]
}

// Event is one fact or wish that reaches a machine.
type Event struct {
	Kind Kind
	Inc  int // of the process or timer; ignored for Start and Stop

	Inferred bool // Ready: by listening or living, not by a message

	Code   int // Ended: exit code, when Signal is 0
	Signal int // Ended: the signal that ended it
	Left   int // Ended: members of its group still alive

	Jitter float64 // Ended, Gone, SpawnFailed: -1 to 1
}

// Do names an Action.
type Do uint8

const (
	DoSpawn    Do = iota // start the program as incarnation Inc
	DoAdmit              // it may get new connections from now on
	DoWithdraw           // it gets no new connection any more
	DoSignal             // the stop signal, to whoever of the worker has not had it yet
	DoKill               // SIGKILL to the whole group
	DoArm                // start Timer, to fire After from now
	DoDisarm             // stop Timer
	DoShed               // what is left of the group is to be ended beside the successor
)

// Action is one thing the owner of a machine must do, in order.
type Action struct {
	Do    Do
	Timer Kind
	After time.Duration
}

// Policy is what a machine needs to know of its spec.
type Policy struct {
	ListenTimeout time.Duration
	InferAfter    time.Duration // > 0: alive for so long is ready
	Soak          *time.Duration
	PreDrain      time.Duration
	KillTimeout   time.Duration
	Force         bool // a listen_timeout counts as ready (on_timeout: force)
	Shed          bool // cluster: a successor starts beside what is left of the group
	Steered       bool // new connections are steered (balance: even): admit and withdraw

	AutoRestart   bool
	StopExitCodes []int
	MinUptime     time.Duration
	MaxRestarts   int
	RestartDelay  time.Duration
	ExpBackoff    time.Duration
}

// Machine is one worker. The zero value is a worker that is down and unwanted.
type Machine struct {
	Policy Policy

	State state.State
	Want  state.Want
	Inc   int // spawn count
	Cause Cause

	Trial    bool // ends before it has soaked: Failed, and the policy is not asked
	Failed   bool // a trial that ended before it had soaked
	Soaked   bool
	Stable   bool // was online for min_uptime
	Unstable int  // consecutive unstable ends
	Restarts int  // restarts by the policy, in all

	// Last end, kept while the group goes.
	endCode, endSignal int
	hasEnd             bool
}

// Step takes one event. The machine it is called on is not changed.
func (m Machine) Step(e Event) (Machine, []Action) {
	if e.Kind != Start && e.Kind != Stop && e.Inc != m.Inc {
		return m, nil
	}
	s := stepper{m: m, e: e}
	table[m.State][e.Kind].do(&s)
	return s.m, s.acts
}

// stepper is one Step in work.
type stepper struct {
	m    Machine
	e    Event
	acts []Action
}

func (s *stepper) do(d Do) { s.acts = append(s.acts, Action{Do: d}) }

func (s *stepper) arm(timer Kind, after time.Duration) {
	s.acts = append(s.acts, Action{Do: DoArm, Timer: timer, After: after})
}

func (s *stepper) disarm(timers ...Kind) {
	for _, t := range timers {
		s.acts = append(s.acts, Action{Do: DoDisarm, Timer: t})
	}
}
