package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"supervisor/supervisor/state"
	"supervisor/testdata/lab"
	"supervisor/testdata/workers"
)

// BenchmarkList measures `list --json` as a whole process, and the memory of a
// daemon that has been left alone (rss-MB).
func BenchmarkList(b *testing.B) {
	s := lab.New(b, "apps")
	b.Cleanup(s.End)
	server, err := workers.BuildServer(lab.Built)
	if err != nil {
		b.Fatal(err)
	}
	file := fmt.Sprintf("apps:\n  - {name: web, script: %s, instances: 2, soak: 0, env: {PORT: 18999}}\n", server)
	if err := os.WriteFile(filepath.Join(s.Dir, "ecosystem.yaml"), []byte(file), 0o600); err != nil {
		b.Fatal(err)
	}
	s.Must("start", "ecosystem.yaml")
	for b.Loop() {
		s.Must("list", "--json")
	}
	b.StopTimer()
	<-time.After(3 * time.Second) // what is measured is a daemon that nobody has asked for so long
	pid, err := os.ReadFile(filepath.Join(s.Home, "supervisor.pid"))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(rssKB(b, strings.TrimSpace(string(pid))))/1024, "rss-MB")
}

// BenchmarkRespawn is a worker's SIGKILL to the event that its successor's program
// runs (exec-ms, the median), as a client of the event stream sees it.
func BenchmarkRespawn(b *testing.B) {
	s := lab.New(b, "apps")
	b.Cleanup(s.End)
	server, err := workers.BuildServer(lab.Built)
	if err != nil {
		b.Fatal(err)
	}
	file := fmt.Sprintf("apps:\n  - {name: web, script: %s, soak: 0, min_uptime: 1, env: {PORT: %d}}\n", server, ports.Free(b))
	if err := os.WriteFile(filepath.Join(s.Dir, "ecosystem.yaml"), []byte(file), 0o600); err != nil {
		b.Fatal(err)
	}
	s.Must("start", "ecosystem.yaml")
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	events := s.Events(ctx)
	pid := s.Pids("web")[0]
	var took []float64
	for b.Loop() {
		begin := time.Now()
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			b.Fatal(err)
		}
		pid = await(b, events, state.WhatSpawned).PID
		took = append(took, float64(time.Since(begin))/1e6)
		await(b, events, state.WhatReady)
		<-time.After(100 * time.Millisecond) // more than min_uptime: a death before that is one of a crash loop
	}
	slices.Sort(took)
	b.ReportMetric(took[len(took)/2], "exec-ms")
}

// await skips events up to one of this kind.
func await(b *testing.B, events *lab.Events, what string) state.Event {
	for {
		e, ok := events.Next()
		if !ok {
			b.Fatalf("the events end: %v", events.Err())
		}
		if e.Kind == state.EventWorker && e.What == what {
			return e
		}
	}
}

// rssKB reads VmRSS of proc_pid_status(5).
func rssKB(b *testing.B, pid string) int {
	data, err := os.ReadFile("/proc/" + pid + "/status")
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			n, err := strconv.Atoi(strings.Fields(rest)[0])
			if err != nil {
				b.Fatal(err)
			}
			return n
		}
	}
	b.Fatal("no VmRSS")
	return 0
}
