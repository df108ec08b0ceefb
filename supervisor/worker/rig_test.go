package worker

import (
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"supervisor/supervisor/state"
)

// policy is what the stories run under unless they say otherwise.
func policy() Policy {
	return Policy{
		ListenTimeout: 10 * time.Second, KillTimeout: 8 * time.Second, Shed: true,
		AutoRestart: true, MinUptime: time.Second, MaxRestarts: 16, ExpBackoff: 100 * time.Millisecond,
	}
}

// rig is a machine with the process and the timers that its owner would have.
type rig struct {
	m     Machine
	acts  []Action // of the last step
	armed map[Kind]time.Duration
	inc   int // of the timers that are armed

	process bool // of the current incarnation, or what is left of its group
	kills   int  // of it
	spawns  int
	signals int
	sheds   int
}

func newRig(p Policy) *rig {
	return &rig{m: Machine{Policy: p}, armed: map[Kind]time.Duration{}}
}

// step takes one event as the machine's own incarnation and checks every invariant
// that must hold whatever happens.
func (r *rig) step(e Event) error {
	before := r.m
	r.m, r.acts = before.Step(e)
	if again, acts := before.Step(e); !slices.Equal(acts, r.acts) || !reflect.DeepEqual(again, r.m) {
		return fmt.Errorf("not deterministic: %v, then %v", r.acts, acts)
	}
	current := e.Inc == before.Inc
	if current && (e.Kind == Gone || e.Kind == SpawnFailed || e.Kind == Ended && e.Left == 0 && before.State != state.Stopping && before.State != state.Killing && before.State != state.Leaving) {
		r.process = false
	}
	if current && e.Kind >= ReadyTimer {
		delete(r.armed, e.Kind)
	}
	for _, a := range r.acts {
		if err := r.act(a); err != nil {
			return err
		}
	}
	return r.check(before, e)
}

func (r *rig) act(a Action) error {
	switch a.Do {
	case DoSpawn:
		if r.process {
			return fmt.Errorf("spawned while a process of the worker exists")
		}
		r.process, r.kills = true, 0
		r.spawns++
	case DoSignal:
		r.signals++
		if r.m.State != state.Stopping {
			return fmt.Errorf("the stop signal is sent in %s", r.m.State)
		}
	case DoKill:
		r.kills++
		if r.kills > 1 {
			return fmt.Errorf("SIGKILL is sent twice")
		}
		if r.m.State != state.Killing {
			return fmt.Errorf("SIGKILL is sent in %s", r.m.State)
		}
	case DoArm:
		r.armed[a.Timer] = a.After
	case DoDisarm:
		delete(r.armed, a.Timer)
	case DoShed:
		r.sheds++
		r.process = false // it is somebody else's now
	}
	return nil
}

func (r *rig) check(before Machine, e Event) error {
	m := r.m
	moved := m.State != before.State || m.Inc != before.Inc
	if moved && !slices.Contains(table[before.State][e.Kind].to, m.State) {
		return fmt.Errorf("%s x %s led to %s, which the table doesn't say", before.State, e.Kind, m.State)
	}
	if !m.State.Alive() && r.process {
		return fmt.Errorf("it is %s while its process exists", m.State)
	}
	if m.State == state.Stopped && m.Want == state.Up || m.Want == state.Down && (m.State == state.Starting || m.State == state.Online || m.State == state.Backoff) {
		return fmt.Errorf("it is %s and wanted %s", m.State, m.Want)
	}
	if m.Inc < before.Inc || m.Inc > before.Inc+1 {
		return fmt.Errorf("incarnation %d follows %d", m.Inc, before.Inc)
	}
	for k := range r.armed {
		if isIgnored(table[m.State][k]) {
			return fmt.Errorf("the timer %s is left armed in %s", k, m.State)
		}
	}
	if (m.State == state.Stopping) != has(r.armed, KillTimer) {
		return fmt.Errorf("kill_timeout runs: %v, in %s", has(r.armed, KillTimer), m.State)
	}
	if (m.State == state.Backoff) != has(r.armed, DelayTimer) {
		return fmt.Errorf("the restart delay runs: %v, in %s", has(r.armed, DelayTimer), m.State)
	}
	if m.State == state.Starting && !has(r.armed, ReadyTimer) {
		return fmt.Errorf("it is waited for without end")
	}
	return nil
}

func has(armed map[Kind]time.Duration, k Kind) bool { _, ok := armed[k]; return ok }

// The words of the stories.

// worker is a machine whose story a test tells.
type story struct {
	*rig
	t *testing.T
}

func tell(t *testing.T, p Policy) *story { return &story{newRig(p), t} }

// on is one event of the incarnation in hand.
func (s *story) on(k Kind) *story { return s.event(Event{Kind: k}) }

func (s *story) event(e Event) *story {
	s.t.Helper()
	e.Inc = s.m.Inc
	if e.Kind >= ReadyTimer && !has(s.armed, e.Kind) {
		s.t.Fatalf("%s fires and isn't armed (%s)", e.Kind, s.m.State)
	}
	if err := s.step(e); err != nil {
		s.t.Fatal(err)
	}
	return s
}

func (s *story) exits(code int) *story { s.t.Helper(); return s.event(Event{Kind: Ended, Code: code}) }

func (s *story) is(want state.State) *story {
	s.t.Helper()
	if s.m.State != want {
		s.t.Fatalf("it is %s, not %s", s.m.State, want)
	}
	return s
}

func (s *story) did(want ...Do) *story {
	s.t.Helper()
	var got []Do
	for _, a := range s.acts {
		if a.Do != DoArm && a.Do != DoDisarm {
			got = append(got, a.Do)
		}
	}
	if !slices.Equal(got, want) {
		s.t.Fatalf("it did %v, not %v", got, want)
	}
	return s
}

func (s *story) waits(k Kind, d time.Duration) *story {
	s.t.Helper()
	if s.armed[k] != d {
		s.t.Fatalf("%s runs for %s, not %s", k, s.armed[k], d)
	}
	return s
}

// online starts it and says ready.
func (s *story) online() *story {
	s.t.Helper()
	return s.on(Start).did(DoSpawn).on(Spawned).on(Ready).is(state.Online)
}

// stable is online for min_uptime.
func (s *story) stable() *story { s.t.Helper(); return s.on(UptimeTimer).is(state.Online) }
