package supervisor

import (
	"context"
	"fmt"
	"testing"
	"time"

	"supervisor/supervisor/state"
)

// instant is a World whose processes spawn and are ready at once.
type instant struct {
	facts   chan Fact
	spawned chan uint64 // the id of every spawn, in order
	ready   chan uint64 // and again when the loop has been told that it is ready
}

// benchLoop runs a loop with apps of 5 workers each until the benchmark ends, all of
// them online, and gives the world and a worker's id by slot of each app.
func benchLoop(b *testing.B, workers int) (*Loop, *instant, []uint64) {
	b.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	loop := New(state.DaemonInfo{PID: 1, Version: "test"}, 0, nil)
	w := &instant{facts: make(chan Fact, 4*workers), spawned: make(chan uint64, 4*workers), ready: make(chan uint64, 4*workers)}
	over := make(chan struct{}, 2)
	go func() { _ = loop.Run(ctx, w); over <- struct{}{} }() // ends with the context
	go func() {                                              // ends with the channel
		for f := range w.facts {
			loop.Tell(f)
			if r, ok := f.(BecameReady); ok {
				w.ready <- r.ID
			}
		}
		over <- struct{}{}
	}()
	b.Cleanup(func() {
		cancel()
		<-over
		close(w.facts)
		<-over
	})
	const each = 5
	for i := range workers / each {
		spec := web(each)
		spec.Name = fmt.Sprintf("app%d", i)
		spec.MinUptime = 0 // every end is a stable one: restarted at once
		if out, err := loop.Do(ctx, Put{Spec: spec}); err != nil || out.Err != nil {
			b.Fatal(err, out.Err)
		}
	}
	var ids []uint64
	for range workers {
		ids = append(ids, <-w.spawned)
		<-w.ready
	}
	return loop, w, ids
}

func (w *instant) Prepare(o PrepareOrder) {
	w.facts <- Prepared{App: o.App, Gen: o.Gen, Token: o.Token, Launch: state.Launch{Path: "/srv/server"}}
}

func (w *instant) Spawn(o SpawnOrder) {
	w.spawned <- o.ID
	w.facts <- Spawned{ID: o.ID, PID: 1000 + int(o.ID)}
	w.facts <- BecameReady{ID: o.ID, Via: "READY_FD"}
}

func (w *instant) Stop(o StopOrder) {
	w.facts <- Ended{ID: o.ID, How: "exit code 0"}
	w.facts <- Gone{ID: o.ID}
}

func (w *instant) Drops(app string)                               { w.facts <- Dropped{App: app} }
func (w *instant) Admit(uint64)                                   {}
func (w *instant) Withdraw(uint64)                                {}
func (w *instant) Alone(uint64)                                   {}
func (w *instant) Kill(uint64)                                    {}
func (w *instant) Signal(uint64, int)                             {}
func (w *instant) Forget(uint64)                                  {}
func (w *instant) Retain(string, []state.Listen, []uint64, []int) {}
func (w *instant) Release(string)                                 {}
func (w *instant) Keep(state.Receipt)                             {}
func (w *instant) Record([][]byte) <-chan struct{}                { return nil }

// BenchmarkLoop is how many facts the loop takes in a second, with 10 and with 1,000
// workers: words of a worker (Said), each of which is an event.
func BenchmarkLoop(b *testing.B) {
	for _, workers := range []int{10, 1000} {
		b.Run(fmt.Sprint(workers), func(b *testing.B) {
			loop, _, ids := benchLoop(b, workers)
			texts := [...]string{"one", "two"}
			i := 0
			for b.Loop() {
				loop.Tell(Said{ID: ids[i%len(ids)], Text: texts[i/len(ids)%2]})
				i++
			}
			settle(b, loop)
			b.ReportMetric(float64(i)/b.Elapsed().Seconds(), "facts/s")
		})
	}
}

// BenchmarkCrash is the whole way of a crash and its successor in the loop (Ended, Gone,
// Spawned, BecameReady), workers of 200 apps in turn; respawn-us is the mean from Tell
// to the order to spawn. There are no processes here: it is the loop's own time.
func BenchmarkCrash(b *testing.B) {
	const workers = 1000
	loop, w, ids := benchLoop(b, workers)
	i, respawn := 0, time.Duration(0)
	for b.Loop() {
		at := i % len(ids)
		begin := time.Now()
		loop.Tell(Ended{ID: ids[at], Signal: 9, SignalName: "SIGKILL", How: "killed by SIGKILL"})
		loop.Tell(Gone{ID: ids[at]})
		ids[at] = <-w.spawned
		respawn += time.Since(begin)
		<-w.ready // an end before that would be one of a crash loop, and wait
		i++
	}
	settle(b, loop)
	b.ReportMetric(4*float64(i)/b.Elapsed().Seconds(), "facts/s")
	b.ReportMetric(float64(respawn.Nanoseconds())/1e3/float64(i), "respawn-us")
}

// BenchmarkSnapshot is what list asks the loop for.
func BenchmarkSnapshot(b *testing.B) {
	for _, workers := range []int{10, 1000} {
		b.Run(fmt.Sprint(workers), func(b *testing.B) {
			loop, _, _ := benchLoop(b, workers)
			b.ReportAllocs()
			for b.Loop() {
				settle(b, loop)
			}
		})
	}
}

// BenchmarkRecord is what it costs to put one worker's change on record, with 1,000
// workers in one app and in 200: the loop's own time, without any writing.
func BenchmarkRecord(b *testing.B) {
	for _, apps := range []int{1, 200} {
		b.Run(fmt.Sprintf("%d-apps", apps), func(b *testing.B) {
			const workers = 1000
			l := New(state.DaemonInfo{}, 0, nil)
			w := &counted{}
			l.world.world = w
			for i := range apps {
				spec := web(workers / apps)
				spec.Name = fmt.Sprint("app", i)
				a := &app{name: spec.Name, spec: spec, want: state.Up, gens: map[int]*generation{}, env: make([]string, 50)}
				g := a.adopt(spec, Prepared{Launch: state.Launch{BaseEnv: a.env}})
				l.apps = append(l.apps, a)
				for slot := range spec.Instances {
					l.spawn(l.add(a, g, slot))
				}
				l.commit(a)
			}
			i, texts := 0, [...]string{"one", "two"}
			b.ReportAllocs()
			for b.Loop() {
				a := l.apps[i%apps]
				a.members[i/apps%len(a.members)].said = texts[i/workers%2]
				l.commit(a)
				i++
			}
			b.ReportMetric(float64(w.bytes), "bytes")
		})
	}
}

// counted is a World that looks at the size of the last record.
type counted struct {
	idle
	bytes int
}

func (c *counted) Record(parts [][]byte) <-chan struct{} {
	c.bytes = 0
	for _, p := range parts {
		c.bytes += len(p)
	}
	return nil
}

// settle returns when the loop has taken what came before.
func settle(b *testing.B, loop *Loop) {
	if _, err := loop.Snapshot(context.Background()); err != nil {
		b.Fatal(err)
	}
}
