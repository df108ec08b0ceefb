package supervisor

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"supervisor/supervisor/state"
)

const (
	second = time.Second
	ms     = time.Millisecond
)

// site is a loop with a fake world, inside a bubble of fake time.
type site struct {
	t       *testing.T
	loop    *Loop
	world   *fake
	end     context.CancelFunc
	over    chan struct{}
	clock   Clock          // of every life of the supervisor
	telling sync.WaitGroup // what happened between two lives
	slowly  time.Duration  // how late that is told
	mu      sync.Mutex     // of loop, end and over, where another life begins beside the story
}

// scene plays one story, then deletes every app and checks that nothing is left.
func scene(t *testing.T, play func(*site)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := open(t)
		defer s.close()
		play(s)
		s.clear()
	})
}

func open(t *testing.T) *site {
	ctx, cancel := context.WithCancel(context.Background())
	booted := time.Now()
	clock := func() time.Duration { return time.Since(booted) }
	loop := New(state.DaemonInfo{PID: 1, Version: "test"}, 100, clock)
	s := &site{t: t, loop: loop, world: newFake(t, loop), end: cancel, over: make(chan struct{}), clock: clock, slowly: 10 * ms}
	over := s.over
	go func() { // ends with the context
		_ = loop.Run(ctx, s.world)
		close(over)
	}()
	return s
}

// close ends the loop; the bubble fails if a goroutine outlives it.
func (s *site) close() {
	s.end()
	<-s.over
	s.telling.Wait()
	s.world.close()
}

// clear takes everything down and counts what is left of it.
func (s *site) clear() {
	s.t.Helper()
	if s.ended() {
		return
	}
	for _, a := range s.snapshot().Apps {
		if out := s.do(DeleteApp{a.Name}); out.Err != nil {
			s.t.Errorf("delete %s: %v", a.Name, out.Err)
		}
		s.world.mu.Lock()
		if n := len(s.world.released); n == 0 && len(s.world.spawned) > 0 || n > 0 && s.world.released[n-1] != a.Name && len(s.world.spawned) > 0 && a.Want == state.Up {
			s.t.Errorf("the sockets of %s were not released", a.Name)
		}
		s.world.mu.Unlock()
	}
	synctest.Wait()
	if armed := s.armed(); len(armed) > 0 {
		s.t.Errorf("timers left armed: %v", armed)
	}
	s.inside(func() {
		if len(s.loop.apps) > 0 || len(s.loop.spawns) > 0 {
			s.t.Errorf("left: %d apps, %d spawns", len(s.loop.apps), len(s.loop.spawns))
		}
	})
	s.world.mu.Lock()
	defer s.world.mu.Unlock()
	if n := s.world.count(func(p *process) bool { return !p.gone }); n > 0 {
		s.t.Errorf("%d processes left", n)
	}
	if n := s.world.count(func(p *process) bool { return !p.missing && !slices.Contains(s.world.forgotten, p.order.ID) }); n > 0 {
		s.t.Errorf("%d of %d spawns are not forgotten", n, len(s.world.spawned))
	}
	for began := range s.world.rollouts {
		n := 0
		for _, r := range s.world.kept {
			if r.Name+r.StartedAt.String() == began {
				n++
			}
		}
		if n != 1 {
			s.t.Errorf("%d receipts of the rollout %s", n, began)
		}
	}
}

// ended reports whether the story ended the loop itself.
func (s *site) ended() bool {
	select {
	case <-s.over:
		return true
	default:
		return false
	}
}

// inside runs do in the loop.
func (s *site) inside(do func()) {
	done := make(chan struct{})
	s.loop.send(askMsg{func() { do(); close(done) }})
	<-done
}

// armed lists the timers that are armed, of all members.
func (s *site) armed() (armed []string) {
	s.inside(func() {
		for _, a := range s.loop.apps {
			for _, w := range a.members {
				for k, timer := range w.timers {
					if timer.timer != nil {
						armed = append(armed, fmt.Sprintf("%s:%d %d in %s", a.name, w.slot, k, w.m.State))
					}
				}
			}
		}
	})
	return armed
}

// do carries out a command and waits for it, and for the loop to be at rest: the
// test may look at the fake world until it blocks again.
func (s *site) do(cmd Command) Outcome {
	s.t.Helper()
	out, err := s.loop.Do(context.Background(), cmd)
	if err != nil {
		s.t.Fatalf("%T: %v", cmd, err)
	}
	synctest.Wait()
	return out
}

// ask carries out a command that is waited for later. When it returns the loop has
// taken it up.
func (s *site) ask(cmd Command) <-chan Outcome {
	answer := make(chan Outcome, 1)
	go func() { // ends with the answer
		out, err := s.loop.Do(context.Background(), cmd)
		if err != nil {
			out.Err = err
		}
		answer <- out
	}()
	synctest.Wait()
	return answer
}

// sleep lets time pass, and what happens in it.
func (s *site) sleep(d time.Duration) { time.Sleep(d); synctest.Wait() }

// good carries out a command that must come to action.
func (s *site) good(cmd Command, action string) Outcome {
	s.t.Helper()
	out := s.do(cmd)
	s.done(out, action)
	return out
}

func (s *site) done(out Outcome, action string) {
	s.t.Helper()
	synctest.Wait()
	if out.Err != nil || out.Action != action {
		s.t.Fatalf("%q, %v; want %q", out.Action, out.Err, action)
	}
}

// bad checks an outcome that must be an error that says all of these.
func (s *site) bad(out Outcome, says ...string) {
	s.t.Helper()
	synctest.Wait()
	for _, word := range says {
		if out.Err == nil || !strings.Contains(out.Err.Error(), word) {
			s.t.Fatalf("%v (%s) doesn't say %q", out.Err, out.Action, word)
		}
	}
}

func (s *site) pending(answer <-chan Outcome) {
	s.t.Helper()
	select {
	case out := <-answer:
		s.t.Fatalf("answered already: %+v", out)
	default:
	}
}

func (s *site) snapshot() state.Snapshot {
	s.t.Helper()
	snap, err := s.loop.Snapshot(context.Background())
	if err != nil {
		s.t.Fatal(err)
	}
	return snap
}

func (s *site) app(name string) state.App {
	s.t.Helper()
	for _, a := range s.snapshot().Apps {
		if a.Name == name {
			return a
		}
	}
	s.t.Fatalf("%s isn't known", name)
	return state.App{}
}

func (s *site) knows(name string) bool {
	return slices.ContainsFunc(s.snapshot().Apps, func(a state.App) bool { return a.Name == name })
}

// status checks the app's word and its workers: "slot/generation state".
func (s *site) status(want string, workers ...string) {
	s.t.Helper()
	a := s.app("web")
	var got []string
	for _, w := range a.Workers {
		got = append(got, fmt.Sprintf("%d/%d %s", w.Slot, w.Generation, w.State))
	}
	if a.Status != want || !slices.Equal(got, workers) {
		s.t.Fatalf("web is %s %q, not %s %q", a.Status, got, want, workers)
	}
}

// pids of the app's workers that are alive, by slot.
func (s *site) pids() []int {
	var pids []int
	for _, w := range s.app("web").Workers {
		if w.PID != 0 {
			pids = append(pids, w.PID)
		}
	}
	return pids
}

// of returns the programs of each spawn in order; the last one goes on.
func (s *site) run(programs ...program) {
	s.world.mu.Lock()
	defer s.world.mu.Unlock()
	n := -1
	s.world.programs = func(SpawnOrder) program { n++; return programs[min(n, len(programs)-1)] }
}

func (s *site) spawns() int {
	s.world.mu.Lock()
	defer s.world.mu.Unlock()
	return len(s.world.spawned)
}

// crash ends the process of a slot from outside.
func (s *site) crash(slot, code, left int) {
	s.t.Helper()
	s.world.mu.Lock()
	var facts []Fact
	for _, p := range s.world.procs {
		if p.order.Slot == slot && !p.ended && !p.told {
			facts = append(facts, s.world.end(p, code, 0, left)...)
		}
	}
	s.world.mu.Unlock()
	if len(facts) == 0 {
		s.t.Fatalf("nothing runs in slot %d", slot)
	}
	for _, f := range facts {
		s.loop.Tell(f)
	}
	synctest.Wait()
}

// web is an app that waits for a ready message.
func web(instances int) state.Spec {
	return state.Spec{
		Name: "web", Script: "server.js", Cwd: "/srv", Instances: instances,
		Mode: state.Cluster, AutoStart: true, Intercept: true, Protocol: state.ProtocolAuto,
		WaitReady: true, ListenTimeout: 10 * second,
		KillSignal: 2, KillTimeout: 8 * second, TreeKill: state.TreeAuto,
		Reload:      state.Reload{MaxSurge: state.Amount{N: 1}},
		AutoRestart: true, MinUptime: second, MaxRestarts: 16, ExpBackoff: 100 * ms,
	}
}

// start starts an app that comes up.
func (s *site) start(spec state.Spec) Outcome {
	s.t.Helper()
	return s.good(Put{Spec: spec, Env: []string{"A=1"}}, Started)
}

// release replaces every worker.
func release(spec state.Spec) Put { return Put{Spec: spec, Replace: true} }

// seen is a copy of what the fake world saw.
type seen struct {
	atOnce   int
	procs    map[uint64]process
	prepared []PrepareOrder
	released []string
	retained []retain
	kept     []state.Receipt
	signals  []int
}

func (s *site) saw() seen {
	f := s.world
	f.mu.Lock()
	defer f.mu.Unlock()
	procs := map[uint64]process{}
	for id, p := range f.procs {
		procs[id] = *p
	}
	return seen{f.atOnce, procs, slices.Clone(f.prepared), slices.Clone(f.released), slices.Clone(f.retained), slices.Clone(f.kept), slices.Clone(f.signals)}
}

// What the fake world does from now on.

func (s *site) script(programs func(SpawnOrder) program)      { set(s, &s.world.programs, programs) }
func (s *site) prepares(prepares func(PrepareOrder) Prepared) { set(s, &s.world.prepares, prepares) }
func (s *site) slow(d time.Duration)                          { set(s, &s.world.slow, d) }
func (s *site) drops(n int64)                                 { set(s, &s.world.drops, n) }

// onStop is called at every stop signal, with the world locked.
func (s *site) onStop(do func(taken int)) { set(s, &s.world.onStop, do) }

func set[T any](s *site, field *T, to T) {
	s.world.mu.Lock()
	defer s.world.mu.Unlock()
	*field = to
}
