package cli

import (
	"fmt"
	"testing"

	"supervisor/supervisor/state"
)

// BenchmarkList is the command list in this process, from its arguments to its last
// byte, with a server that knows 2 or 1,000 workers; what it lacks of the real one is
// the start of a process and the look at what the workers use.
func BenchmarkList(b *testing.B) {
	for _, n := range []int{2, 1000} {
		for _, args := range [][]string{{"list"}, {"list", "--json"}, {"describe", "app0"}} {
			b.Run(fmt.Sprintf("%d/%v", n, args), func(b *testing.B) {
				w := newWorld(b)
				w.withDaemon(func(f *fakeBackend) {
					f.snap = manyWorkers(n)
					for _, a := range f.snap.Apps {
						f.describe = append(f.describe, state.Describe{App: a})
					}
				})
				b.ReportAllocs()
				for b.Loop() {
					if code := w.run(args...); code != 0 {
						b.Fatalf("exit %d: %s", code, w.err)
					}
				}
			})
		}
	}
}

// manyWorkers is a snapshot of so many workers in apps of five, with figures.
func manyWorkers(n int) state.Snapshot {
	snap := state.Snapshot{Daemon: state.DaemonInfo{PID: 1, Version: "test", UptimeMS: 1}}
	for i := 0; i < n; i += 5 {
		app := state.App{Name: fmt.Sprintf("app%d", i/5), Status: state.AppOnline, Generation: 1, Instances: 5}
		for slot := range min(5, n-i) {
			up, rss, cpu := int64(123456+i), int64(12345678+i), 1.2345+float64(i)
			app.Workers = append(app.Workers, state.Worker{
				Slot: slot, Generation: 1, PID: 10000 + i + slot, State: "online", Ready: true,
				UptimeMS: &up, RSSBytes: &rss, CPUPercent: &cpu, Listeners: []string{"tcp://127.0.0.1:8080"},
			})
		}
		snap.Apps = append(snap.Apps, app)
	}
	return snap
}
