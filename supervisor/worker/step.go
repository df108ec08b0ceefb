package worker

import (
	"slices"
	"time"

	"supervisor/supervisor/state"
)

// spawn starts anew by the operator's wish: counters are his to reset.
func (s *stepper) spawn() {
	s.disarm(DelayTimer)
	s.m.Want, s.m.Unstable, s.m.Failed = state.Up, 0, false
	s.start()
}

// respawn starts anew by the policy.
func (s *stepper) respawn() {
	s.m.Restarts++
	s.start()
}

func (s *stepper) start() {
	s.m.State, s.m.Cause = state.Starting, NoCause
	s.m.Inc++
	s.m.Soaked, s.m.Stable, s.m.hasEnd = false, false, false
	s.do(DoSpawn)
	s.arm(ReadyTimer, SpawnTimeout+s.m.Policy.ListenTimeout)
}

// SpawnTimeout is how long a worker may take from the order to spawn it to its
// program's first instruction. Of a thousand that start at once each waits for its
// turn; none of that is its own time to become ready.
const SpawnTimeout = time.Minute

func (s *stepper) spawned() {
	s.arm(ReadyTimer, s.m.Policy.ListenTimeout)
	if d := s.m.Policy.InferAfter; d > 0 {
		s.arm(InferTimer, d)
	}
}

func (s *stepper) ready() { s.online(s.e.Inferred) }

func (s *stepper) inferred() { s.online(true) }

// online is the moment a worker counts: the soak and min_uptime run from here.
func (s *stepper) online(inferred bool) {
	s.disarm(ReadyTimer, InferTimer)
	s.m.State = state.Online
	if s.m.Policy.Steered {
		s.do(DoAdmit)
	}
	s.arm(UptimeTimer, s.m.Policy.MinUptime)
	soak := time.Duration(0)
	if s.m.Policy.Soak != nil {
		soak = *s.m.Policy.Soak
	} else if inferred {
		soak = s.m.Policy.MinUptime
	}
	if soak > 0 {
		s.arm(SoakTimer, soak)
		return
	}
	s.soaked()
}

func (s *stepper) soaked() { s.m.Soaked, s.m.Trial = true, false }

func (s *stepper) stable() { s.m.Stable, s.m.Unstable = true, 0 }

// notReady: a timeout is a failure, but for those who asked for pm2's way.
func (s *stepper) notReady() {
	if s.m.Policy.Force {
		s.online(false)
		return
	}
	s.stopFor(NotReady)
}

func (s *stepper) wantUp()   { s.m.Want = state.Up }
func (s *stepper) wantDown() { s.m.Want = state.Down }

func (s *stepper) down() {
	s.disarm(DelayTimer)
	s.m.Want, s.m.State = state.Down, state.Stopped
}

// leave takes an online worker out of accept first, where that takes a while.
func (s *stepper) leave() {
	s.m.Want = state.Down
	if d := s.m.Policy.PreDrain; d > 0 {
		s.disarm(SoakTimer, UptimeTimer)
		s.withdraw()
		s.m.State, s.m.Cause = state.Leaving, Asked
		s.arm(DrainTimer, d)
		return
	}
	s.stopFor(Asked)
}

// withdraw takes a worker out of accept, once, before it gets the signal.
func (s *stepper) withdraw() {
	if s.m.Policy.Steered && s.m.State != state.Leaving {
		s.do(DoWithdraw)
	}
}

// signalAsked begins the stop ladder for a worker that was told to go.
func (s *stepper) signalAsked() {
	if s.e.Kind == Stop {
		s.m.Want = state.Down
	}
	s.noteEnd()
	s.disarm(DrainTimer)
	s.stopFor(Asked)
}

// stopFor begins the stop ladder: the signal now, SIGKILL after kill_timeout.
func (s *stepper) stopFor(c Cause) {
	s.disarm(ReadyTimer, InferTimer, SoakTimer, UptimeTimer)
	s.withdraw()
	s.m.State, s.m.Cause = state.Stopping, c
	s.do(DoSignal)
	s.arm(KillTimer, s.m.Policy.KillTimeout)
}

// sweep: the main process has gone, the rest of its group gets the signal too.
func (s *stepper) sweep() {
	s.noteEnd()
	if s.e.Left > 0 {
		s.do(DoSignal)
	}
}

func (s *stepper) kill() {
	s.m.State = state.Killing
	s.do(DoKill)
}

func (s *stepper) noteEnd() {
	if s.e.Kind == Ended {
		s.m.endCode, s.m.endSignal, s.m.hasEnd = s.e.Code, s.e.Signal, true
	}
}

// crashed: the main process ended unasked. In a cluster its successor starts at
// once and the survivors of its group are ended beside it; a fork waits for them,
// since they may hold its sockets.
func (s *stepper) crashed() {
	s.noteEnd()
	if s.e.Left > 0 && !s.m.Policy.Shed {
		s.stopFor(Crashed)
		return
	}
	if s.e.Left > 0 {
		s.do(DoShed)
	}
	s.end()
}

// end is the one place where a process that is no more becomes the next state:
// what is wanted first, then what was asked, then the trial, then the policy.
func (s *stepper) end() {
	s.noteEnd()
	s.disarm(ReadyTimer, InferTimer, SoakTimer, UptimeTimer, DrainTimer, KillTimer)
	cause := s.m.Cause
	s.m.Cause = NoCause
	switch {
	case s.m.Want == state.Down:
		s.m.State = state.Stopped
	case cause == Asked: // told to stop, then wanted again before it was gone
		s.start()
	case s.m.Trial:
		s.m.State, s.m.Failed = state.Exited, true
	case s.leaves(cause):
		s.m.State = state.Exited
	default:
		s.restart()
	}
}

// leaves reports whether the policy leaves an ended worker be.
func (s *stepper) leaves(cause Cause) bool {
	if !s.m.Policy.AutoRestart {
		return true
	}
	return cause != NotReady && s.m.hasEnd && s.m.endSignal == 0 &&
		slices.Contains(s.m.Policy.StopExitCodes, s.m.endCode)
}

// restart applies the restart policy of DESIGN section 3.
func (s *stepper) restart() {
	p := s.m.Policy
	if s.m.Stable {
		s.m.Unstable = 0
		s.later(p.RestartDelay)
		return
	}
	s.m.Unstable++
	if s.m.Unstable >= p.MaxRestarts {
		s.m.State = state.Errored
		return
	}
	if p.RestartDelay > 0 {
		s.later(p.RestartDelay)
		return
	}
	s.later(Delay(p.ExpBackoff, s.m.Unstable, s.e.Jitter))
}

func (s *stepper) later(d time.Duration) {
	if d <= 0 {
		s.respawn()
		return
	}
	s.m.State = state.Backoff
	s.arm(DelayTimer, d)
}

// The restart delay grows by this factor up to MaxDelay, give or take JitterShare.
const (
	delayGrowth = 1.5
	MaxDelay    = 15 * time.Second
	JitterShare = 0.1
)

// Delay returns how long the n-th consecutive unstable end waits: first x 1.5^(n-1),
// at most MaxDelay, moved by up to a tenth by jitter (-1 to 1).
func Delay(first time.Duration, n int, jitter float64) time.Duration {
	d := float64(first)
	for i := 1; i < n && d < float64(MaxDelay); i++ {
		d *= delayGrowth
	}
	d = min(d, float64(MaxDelay))
	return time.Duration(d * (1 + JitterShare*max(-1, min(1, jitter))))
}
