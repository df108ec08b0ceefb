package worker

import (
	"testing"
	"time"

	"supervisor/supervisor/state"
)

const ms = time.Millisecond

func TestACrashLoopBacksOffAndErrs(t *testing.T) {
	w := tell(t, policy()).on(Start)
	for n, want := range []time.Duration{100 * ms, 150 * ms, 225 * ms, 337500 * time.Microsecond} {
		w.on(Spawned).exits(1).is(state.Backoff).waits(DelayTimer, want)
		if w.m.Unstable != n+1 {
			t.Fatalf("%d unstable ends, not %d", w.m.Unstable, n+1)
		}
		w.on(DelayTimer).is(state.Starting).did(DoSpawn)
	}
	for range 11 {
		w.on(Spawned).exits(1).is(state.Backoff).on(DelayTimer)
	}
	w.on(Spawned).exits(1).is(state.Errored)
	if w.m.Unstable != 16 || w.spawns != 16 || w.m.Restarts != 15 {
		t.Errorf("%d unstable ends, %d spawns, %d restarts", w.m.Unstable, w.spawns, w.m.Restarts)
	}
	w.on(Start).is(state.Starting).did(DoSpawn)
	if w.m.Unstable != 0 {
		t.Error("an operator's start doesn't begin anew")
	}
}

func TestACrashLoopThatBeginsAfterAStableWeekIsCaughtToo(t *testing.T) {
	w := tell(t, policy()).online().stable()
	w.exits(1).is(state.Starting).did(DoSpawn) // the first at once
	for range 15 {
		w.on(Spawned).on(Ready).exits(1).is(state.Backoff).on(DelayTimer)
	}
	w.on(Spawned).on(Ready).exits(1).is(state.Errored)
}

func TestAWorkerThatIsOnlineForMinUptimeIsForgivenItsPast(t *testing.T) {
	w := tell(t, policy()).on(Start).on(Spawned).exits(1).on(DelayTimer).on(Spawned).exits(1).on(DelayTimer)
	w.on(Spawned).on(Ready).stable()
	if w.m.Unstable != 0 {
		t.Errorf("%d unstable ends are held against it", w.m.Unstable)
	}
}

func TestABootThatHangsAndDiesIsUnstable(t *testing.T) {
	p := policy()
	w := tell(t, p).on(Start).on(Spawned).on(ReadyTimer).is(state.Stopping).did(DoSignal)
	if w.m.Cause != NotReady {
		t.Errorf("cause %v", w.m.Cause)
	}
	w.exits(0).is(state.Stopping).on(Gone).is(state.Backoff)
	if w.m.Unstable != 1 {
		t.Errorf("%d unstable ends", w.m.Unstable)
	}
}

func TestANotReadyWorkerIsRestartedWhateverItsExitCode(t *testing.T) {
	p := policy()
	p.StopExitCodes = []int{0}
	tell(t, p).on(Start).on(Spawned).on(ReadyTimer).exits(0).on(Gone).is(state.Backoff)
}

func TestStopExitCodes(t *testing.T) {
	p := policy()
	p.StopExitCodes = []int{0, 7}
	for _, c := range []struct {
		story        string
		code, signal int
		want         state.State
	}{
		{"a clean exit that is listed is left", 0, 0, state.Exited},
		{"another listed one too", 7, 0, state.Exited},
		{"one that isn't is restarted", 1, 0, state.Starting},
		{"a death by signal is not exit code 0", 0, 9, state.Starting},
	} {
		t.Run(c.story, func(t *testing.T) {
			tell(t, p).online().stable().event(Event{Kind: Ended, Code: c.code, Signal: c.signal}).is(c.want)
		})
	}
}

func TestAutorestartFalseLeavesAnyEnd(t *testing.T) {
	p := policy()
	p.AutoRestart = false
	tell(t, p).online().exits(1).is(state.Exited)
	tell(t, p).online().event(Event{Kind: Ended, Signal: 11}).is(state.Exited)
	tell(t, p).on(Start).on(SpawnFailed).is(state.Exited)
	tell(t, p).on(Start).on(ReadyTimer).on(Gone).is(state.Exited)
	tell(t, p).online().exits(0).on(Start).is(state.Starting).did(DoSpawn)
}

func TestARestartDelayTakesThePlaceOfBothTheBackoffAndTheImmediateRestart(t *testing.T) {
	p := policy()
	p.RestartDelay = 3 * time.Second
	w := tell(t, p).online().stable().exits(1).is(state.Backoff).waits(DelayTimer, 3*time.Second)
	w.on(DelayTimer).on(Spawned).exits(1).is(state.Backoff).waits(DelayTimer, 3*time.Second)
}

func TestATrialThatEndsHasFailedAndIsNotRestarted(t *testing.T) {
	for _, end := range []Kind{Ended, Gone, SpawnFailed} {
		w := tell(t, policy())
		w.m.Trial = true
		w.on(Start).on(end).is(state.Exited)
		if !w.m.Failed {
			t.Errorf("a trial that ended by %s hasn't failed", end)
		}
	}
	w := tell(t, policy())
	w.m.Trial = true
	w.on(Start).on(Spawned).on(ReadyTimer).is(state.Stopping)
	if w.m.Failed {
		t.Error("it failed before it was gone")
	}
	if w.exits(0).on(Gone).is(state.Exited); !w.m.Failed {
		t.Error("a trial that was never ready hasn't failed")
	}
}

func TestATrialIsOverWithTheSoak(t *testing.T) {
	soak := 2 * time.Second
	p := policy()
	p.Soak = &soak
	w := tell(t, p)
	w.m.Trial = true
	w.online().waits(SoakTimer, soak)
	if w.m.Soaked || !w.m.Trial {
		t.Fatal("soaked at once")
	}
	w.on(SoakTimer)
	if !w.m.Soaked || w.m.Trial {
		t.Fatal("the soak has passed and it is still a trial")
	}
	w.exits(1).is(state.Backoff)
	if w.m.Failed {
		t.Error("an ordinary crash counts as a failed trial")
	}
}

func TestATrialThatIsToldToLeaveHasNotFailed(t *testing.T) {
	w := tell(t, policy())
	w.m.Trial = true
	w.on(Start).on(Spawned).on(Stop).exits(0).on(Gone).is(state.Stopped)
	if w.m.Failed {
		t.Error("it has failed")
	}
}

func TestInferredReadinessSoaksForMinUptimeAMessageDoesNot(t *testing.T) {
	p := policy()
	p.MinUptime = 5 * time.Second
	w := tell(t, p).on(Start).event(Event{Kind: Ready, Inferred: true}).is(state.Online).waits(SoakTimer, 5*time.Second)
	if w.m.Soaked {
		t.Error("soaked without a soak")
	}
	w = tell(t, p).on(Start).on(Ready).is(state.Online)
	if !w.m.Soaked || has(w.armed, SoakTimer) {
		t.Error("a message of readiness needs no soak")
	}
	none := time.Duration(0)
	p.Soak = &none
	if w = tell(t, p).on(Start).event(Event{Kind: Ready, Inferred: true}); !w.m.Soaked {
		t.Error("soak: 0 is not taken at its word")
	}
	p.InferAfter, p.Soak = 5*time.Second, nil
	tell(t, p).on(Start).on(Spawned).waits(InferTimer, 5*time.Second).on(InferTimer).is(state.Online).waits(SoakTimer, 5*time.Second)
}

func TestForceTakesATimeoutForReady(t *testing.T) {
	p := policy()
	p.Force = true
	w := tell(t, p).on(Start).on(Spawned).on(ReadyTimer).is(state.Online).did()
	if !w.m.Soaked {
		t.Error("force soaks")
	}
}

func TestPreDrainComesBeforeTheSignal(t *testing.T) {
	p := policy()
	p.PreDrain = 100 * ms
	w := tell(t, p).online().on(Stop).is(state.Leaving).did().waits(DrainTimer, 100*ms)
	w.on(DrainTimer).is(state.Stopping).did(DoSignal).waits(KillTimer, 8*time.Second)
	w = tell(t, p).online().on(Stop).event(Event{Kind: Ended, Left: 2}).is(state.Stopping).did(DoSignal)
	w.on(Gone).is(state.Stopped)
	tell(t, p).online().on(Stop).on(Gone).is(state.Stopped)
	tell(t, p).on(Start).on(Stop).is(state.Stopping).did(DoSignal) // it serves nobody yet
}

func TestASteeredWorkerGetsConnectionsFromReadyUntilItLeaves(t *testing.T) {
	p := policy()
	p.Steered, p.PreDrain = true, 100*ms
	tell(t, p).on(Start).did(DoSpawn).on(Spawned).did().on(Ready).did(DoAdmit).
		on(Stop).is(state.Leaving).did(DoWithdraw).
		on(DrainTimer).is(state.Stopping).did(DoSignal)
	tell(t, p).on(Start).on(Stop).is(state.Stopping).did(DoWithdraw, DoSignal) // it may be the only one
	p.PreDrain = 0
	tell(t, p).online().on(Stop).is(state.Stopping).did(DoWithdraw, DoSignal)
}

func TestTheKillLadder(t *testing.T) {
	w := tell(t, policy()).online().on(Stop).is(state.Stopping).did(DoSignal).waits(KillTimer, 8*time.Second)
	w.event(Event{Kind: Ended, Code: 0, Left: 1}).is(state.Stopping).did(DoSignal) // the rest of the group
	w.waits(KillTimer, 8*time.Second)                                              // has no time of its own
	w.on(KillTimer).is(state.Killing).did(DoKill)
	w.on(Stop).is(state.Killing).did()
	w.on(Gone).is(state.Stopped).did()
	if w.kills != 1 {
		t.Errorf("%d SIGKILLs", w.kills)
	}
}

func TestAKilledWorkerIsNotStoppedBeforeItIsReaped(t *testing.T) {
	w := tell(t, policy()).online().on(Stop).on(KillTimer)
	w.event(Event{Kind: Ended, Signal: 9, Left: 3}).is(state.Killing)
	w.on(Gone).is(state.Stopped)
}

func TestTheKillTimerOfAPastStopDoesNotHitTheNextProcess(t *testing.T) {
	w := tell(t, policy()).online().on(Stop)
	past := w.m.Inc
	w.on(Start).exits(0).on(Gone).is(state.Starting).on(Spawned).on(Ready).on(Stop)
	if err := w.step(Event{Kind: KillTimer, Inc: past}); err != nil {
		t.Fatal(err)
	}
	w.is(state.Stopping).did()
}

func TestStopThenStartWhileItStopsStartsAnew(t *testing.T) {
	w := tell(t, policy()).online().on(Stop).on(Start).is(state.Stopping).did()
	w.exits(1).is(state.Stopping).on(Gone).is(state.Starting).did(DoSpawn)
	if w.m.Unstable != 0 || w.m.Restarts != 0 {
		t.Error("what was asked for counts as a crash")
	}
	w.on(Stop).on(Start).on(Stop).on(Gone).is(state.Stopped)
}

func TestACleanExitOfAStoppedOneIsAStop(t *testing.T) {
	p := policy()
	p.StopExitCodes = []int{0}
	tell(t, p).online().on(Stop).exits(0).on(Gone).is(state.Stopped)
}

func TestAStopBeforeTheProcessExistsIsHeeded(t *testing.T) {
	w := tell(t, policy()).on(Start).on(Stop).is(state.Stopping).did(DoSignal)
	w.on(Spawned).is(state.Stopping).on(Gone).is(state.Stopped)
	tell(t, policy()).on(Start).on(Stop).on(SpawnFailed).is(state.Stopped)
}

func TestAStopEndsTheRestartDelay(t *testing.T) {
	w := tell(t, policy()).on(Start).exits(1).is(state.Backoff).on(Stop).is(state.Stopped)
	if len(w.armed) > 0 {
		t.Errorf("armed: %v", w.armed)
	}
	w = tell(t, policy()).on(Start).exits(1).is(state.Backoff).on(Start).is(state.Starting).did(DoSpawn)
	if has(w.armed, DelayTimer) {
		t.Error("the delay still runs")
	}
}

func TestAForkWaitsForItsGroupAClusterSheds(t *testing.T) {
	p := policy()
	w := tell(t, p).online().stable().event(Event{Kind: Ended, Code: 1, Left: 2})
	w.is(state.Starting).did(DoShed, DoSpawn)
	p.Shed = false
	w = tell(t, p).online().stable().event(Event{Kind: Ended, Code: 1, Left: 2})
	w.is(state.Stopping).did(DoSignal).waits(KillTimer, 8*time.Second)
	if w.m.Cause != Crashed {
		t.Errorf("cause %v", w.m.Cause)
	}
	w.on(KillTimer).did(DoKill).on(Gone).is(state.Starting).did(DoSpawn)
}

func TestBackoffNumbers(t *testing.T) {
	for _, c := range []struct {
		n      int
		jitter float64
		want   time.Duration
	}{
		{1, 0, 100 * ms}, {2, 0, 150 * ms}, {3, 0, 225 * ms}, {1, 1, 110 * ms}, {1, -1, 90 * ms},
		{1, 100, 110 * ms}, {1, -100, 90 * ms},
		{15, 0, 15 * time.Second}, {1000000, 0, 15 * time.Second}, {15, 1, 16500 * ms}, {15, -1, 13500 * ms},
	} {
		got := Delay(100*ms, c.n, c.jitter)
		if off := got - c.want; off < -time.Microsecond || off > time.Microsecond {
			t.Errorf("the %d-th waits %s, not %s (jitter %v)", c.n, got, c.want, c.jitter)
		}
	}
	for n := range 40 {
		if d := Delay(time.Minute, n, 0); d != MaxDelay {
			t.Errorf("a first delay of a minute waits %s", d)
		}
	}
}

// Of many that start at once the last waits for its turn to be spawned.
func TestListenTimeoutRunsFromTheProgramsFirstInstruction(t *testing.T) {
	w := tell(t, policy()).on(Start)
	if got, want := w.armed[ReadyTimer], SpawnTimeout+w.m.Policy.ListenTimeout; got != want {
		t.Errorf("before it is spawned %v, want %v", got, want)
	}
	if w.on(Spawned); w.armed[ReadyTimer] != w.m.Policy.ListenTimeout {
		t.Errorf("then %v, want %v", w.armed[ReadyTimer], w.m.Policy.ListenTimeout)
	}
}
