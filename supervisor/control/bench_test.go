package control

import (
	"encoding/json"
	"fmt"
	"testing"

	"supervisor/supervisor/state"
)

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

// BenchmarkRoundTrip is one call of a client over the socket, connection included:
// ping, and list of 2 and of 1,000 workers. Server and client are this one process.
func BenchmarkRoundTrip(b *testing.B) {
	b.Run("ping", func(b *testing.B) {
		_, client, _ := serve(b, &fake{})
		b.ReportAllocs()
		for b.Loop() {
			if _, err := client.Ping(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	})
	for _, n := range []int{2, 1000} {
		b.Run(fmt.Sprintf("list/%d", n), func(b *testing.B) {
			_, client, _ := serve(b, &fake{snap: manyWorkers(n)})
			b.ReportAllocs()
			for b.Loop() {
				if _, err := client.List(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkJSON is the part of encoding and decoding in a list of 1,000 workers.
func BenchmarkJSON(b *testing.B) {
	snap := manyWorkers(1000)
	text, err := json.Marshal(snap)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("encode", func(b *testing.B) {
		b.SetBytes(int64(len(text)))
		b.ReportAllocs()
		for b.Loop() {
			if _, err := json.Marshal(snap); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("decode", func(b *testing.B) {
		b.SetBytes(int64(len(text)))
		b.ReportAllocs()
		for b.Loop() {
			var into state.Snapshot
			if err := json.Unmarshal(text, &into); err != nil {
				b.Fatal(err)
			}
		}
	})
}
