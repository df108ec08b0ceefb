package worker

import (
	"supervisor/supervisor/state"
)

// cell is one pair of the table: what is done, and every state it can lead to.
type cell struct {
	do func(*stepper)
	to []state.State
}

func ignored(*stepper) {}

// ignore is a pair that can happen and means nothing.
var ignore = cell{do: ignored}

// The states that follow an end: of one that nobody asked for, of one that was
// asked for, and of one that may be either.
var (
	afterCrash = []state.State{state.Starting, state.Backoff, state.Exited, state.Errored}
	afterStop  = []state.State{state.Stopped, state.Starting}
	afterEnd   = append([]state.State{state.Stopped}, afterCrash...)
)

var (
	spawn    = cell{(*stepper).spawn, []state.State{state.Starting}}
	down     = cell{(*stepper).down, []state.State{state.Stopped}}
	wantUp   = cell{(*stepper).wantUp, nil}
	wantDown = cell{(*stepper).wantDown, nil}
	retired  = cell{(*stepper).end, afterEnd}
	sweep    = cell{(*stepper).sweep, nil}
	kill     = cell{(*stepper).kill, []state.State{state.Killing}}
	signal   = cell{(*stepper).signalAsked, []state.State{state.Stopping}}
	crashed  = cell{(*stepper).crashed, append([]state.State{state.Stopping}, afterCrash...)}
	lost     = cell{(*stepper).end, afterCrash} // its Ended was lost: an end all the same
	noted    = cell{(*stepper).noteEnd, nil}
)

// table is every pair of state and event. A row is a state, in the order of
// state.States; a column is a Kind.
var table = [len(state.States)][numKinds]cell{
	state.Stopped: {
		Start: spawn, Stop: wantDown, Spawned: ignore, SpawnFailed: ignore, Ready: ignore, Ended: ignore, Gone: ignore,
		ReadyTimer: ignore, InferTimer: ignore, SoakTimer: ignore, UptimeTimer: ignore, DrainTimer: ignore, KillTimer: ignore, DelayTimer: ignore,
	},
	state.Starting: {
		Start: wantUp, Stop: signal,
		Spawned:     {(*stepper).spawned, nil},
		SpawnFailed: {(*stepper).end, afterCrash},
		Ready:       {(*stepper).ready, []state.State{state.Online}},
		Ended:       crashed,
		Gone:        lost,
		ReadyTimer:  {(*stepper).notReady, []state.State{state.Online, state.Stopping}},
		InferTimer:  {(*stepper).inferred, []state.State{state.Online}},
		SoakTimer:   ignore, UptimeTimer: ignore, DrainTimer: ignore, KillTimer: ignore, DelayTimer: ignore,
	},
	state.Online: {
		Start: wantUp,
		Stop:  {(*stepper).leave, []state.State{state.Leaving, state.Stopping}},
		Ready: ignore, Spawned: ignore, SpawnFailed: ignore,
		Ended:       crashed,
		Gone:        lost,
		SoakTimer:   {(*stepper).soaked, nil},
		UptimeTimer: {(*stepper).stable, nil},
		ReadyTimer:  ignore, InferTimer: ignore, DrainTimer: ignore, KillTimer: ignore, DelayTimer: ignore,
	},
	state.Leaving: {
		Start: wantUp, Stop: wantDown, Spawned: ignore, SpawnFailed: ignore, Ready: ignore,
		Ended:      signal, // what is left of its group gets the signal now
		Gone:       {(*stepper).end, afterStop},
		DrainTimer: signal,
		ReadyTimer: ignore, InferTimer: ignore, SoakTimer: ignore, UptimeTimer: ignore, KillTimer: ignore, DelayTimer: ignore,
	},
	state.Stopping: {
		Start: wantUp, Stop: wantDown, Spawned: ignore, Ready: ignore,
		SpawnFailed: retired,
		Ended:       sweep,
		Gone:        retired,
		KillTimer:   kill,
		ReadyTimer:  ignore, InferTimer: ignore, SoakTimer: ignore, UptimeTimer: ignore, DrainTimer: ignore, DelayTimer: ignore,
	},
	state.Killing: {
		Start: wantUp, Stop: wantDown, Spawned: ignore, Ready: ignore,
		SpawnFailed: retired,
		Ended:       noted,
		Gone:        retired,
		ReadyTimer:  ignore, InferTimer: ignore, SoakTimer: ignore, UptimeTimer: ignore, DrainTimer: ignore, KillTimer: ignore, DelayTimer: ignore,
	},
	state.Backoff: {
		Start: spawn, Stop: down, Spawned: ignore, SpawnFailed: ignore, Ready: ignore, Ended: ignore, Gone: ignore,
		DelayTimer: {(*stepper).respawn, []state.State{state.Starting}},
		ReadyTimer: ignore, InferTimer: ignore, SoakTimer: ignore, UptimeTimer: ignore, DrainTimer: ignore, KillTimer: ignore,
	},
	state.Exited: {
		Start: spawn, Stop: down, Spawned: ignore, SpawnFailed: ignore, Ready: ignore, Ended: ignore, Gone: ignore,
		ReadyTimer: ignore, InferTimer: ignore, SoakTimer: ignore, UptimeTimer: ignore, DrainTimer: ignore, KillTimer: ignore, DelayTimer: ignore,
	},
	state.Errored: {
		Start: spawn, Stop: down, Spawned: ignore, SpawnFailed: ignore, Ready: ignore, Ended: ignore, Gone: ignore,
		ReadyTimer: ignore, InferTimer: ignore, SoakTimer: ignore, UptimeTimer: ignore, DrainTimer: ignore, KillTimer: ignore, DelayTimer: ignore,
	},
}
