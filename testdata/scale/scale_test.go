package scale

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"supervisor/supervisor/state"
	"supervisor/testdata/lab"
	"supervisor/testdata/load"
)

var large = flag.Bool("scale", false, "1,000 workers in 200 apps, too")

func TestMain(m *testing.M) { os.Exit(lab.Main(m)) }

// size is how much a test has of everything.
type size struct {
	apps, each int // workers of an app
	loaded     int // apps that are under load during the reload
	clients    int // of each of those
	killed     int // workers at once
	window     time.Duration
	memory     int // kB that the idle daemon may have; 0: any
}

func (s size) workers() int { return s.apps * s.each }

func TestAHundredWorkers(t *testing.T) {
	scale(t, size{apps: 20, each: 5, loaded: 4, clients: 2, killed: 20, window: 2 * time.Second})
}

// The goals are those of the README's table.
func TestAThousandWorkers(t *testing.T) {
	if !*large {
		t.Skip("with -scale only")
	}
	scale(t, size{apps: 200, each: 5, loaded: 8, clients: 2, killed: 100, window: 10 * time.Second, memory: 60 << 10})
}

// guard bounds what is waited for.
const guard = 5 * time.Minute

// spare is how many descriptors more than before the daemon may have: 8 pipes through
// which lines are looked at come with their first use, and a request may be under way.
const spare = 20

// ports are those of this package.
var ports = lab.Ports{First: 10000, Count: 4000}

// site is a supervisor with its many apps.
type site struct {
	*lab.Supervisor
	size
	t     *testing.T
	ports []int // by app
}

func newSite(t *testing.T, n size) *site {
	t.Helper()
	s := &site{Supervisor: lab.New(t, "apps"), size: n, t: t}
	worker := filepath.Join(lab.Built, "worker")
	build := exec.Command("go", "build", "-o", worker, "./worker")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("cannot build the worker: %v\n%s", err, out)
	}
	var text strings.Builder
	text.WriteString("apps:\n")
	for i := range n.apps {
		s.ports = append(s.ports, ports.Free(t))
		fmt.Fprintf(&text, "  - {name: app%d, script: %s, instances: %d, wait_ready: true, listen_timeout: 2m, env: {PORT: %d, GOMAXPROCS: 1}}\n", i, worker, n.each, s.ports[i])
	}
	if err := os.WriteFile(filepath.Join(s.Dir, "ecosystem.yaml"), []byte(text.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	return s
}

// timed logs how long something takes.
func (s *site) timed(what string, do func()) {
	s.t.Helper()
	begun := time.Now()
	do()
	s.t.Logf("%s: %v", what, time.Since(begun).Round(time.Millisecond))
}

// seat is a worker's place. A pid alone is no name: with thousands of threads they come
// round within seconds (pid_max).
type seat struct {
	app  string
	slot int
}

// pids are those of all workers, which have to be online.
func (s *site) pids() map[seat]int {
	s.t.Helper()
	pids := make(map[seat]int)
	for _, a := range s.List().Apps {
		for _, w := range a.Workers {
			if !w.Ready {
				s.t.Errorf("%s: slot %d is %s", a.Name, w.Slot, w.State)
			}
			pids[seat{a.Name, w.Slot}] = w.PID
		}
	}
	if len(pids) != s.workers() {
		s.t.Errorf("%d workers, want %d", len(pids), s.workers())
	}
	return pids
}

func scale(t *testing.T, n size) {
	s := newSite(t, n)
	t.Cleanup(s.End)
	s.timed(fmt.Sprintf("start of %d workers in %d apps", n.workers(), n.apps), func() { s.Must("start") })
	d := daemon{t, s.List().Daemon.PID}
	t.Logf("after the start: %v", d.look())
	running := d.sleeps(n.window)
	if n.memory > 0 && running.resident > n.memory {
		t.Errorf("the idle daemon has %d kB, at most %d are right", running.resident, n.memory)
	}
	s.lists("list")
	s.lists("list", "--json")
	s.reloadUnderLoad(d)
	s.kill(d)
	s.flat(d, running)
	s.timed("stop", func() { s.Must("stop") })
	t.Logf("after the stop: %v", d.look())
	stopped := d.sleeps(n.window)
	s.timed("start again", func() { s.Must("start") })
	s.timed("stop again", func() { s.Must("stop") })
	s.flat(d, stopped)
}

// lists times a command that looks.
func (s *site) lists(args ...string) {
	s.t.Helper()
	const rounds = 7
	var took []time.Duration
	for range rounds {
		begun := time.Now()
		s.Must(args...)
		took = append(took, time.Since(begun).Round(time.Millisecond))
	}
	first := took[0]
	slices.Sort(took)
	s.t.Logf("%s: median %v, first %v, worst %v", strings.Join(args, " "), took[rounds/2], first, took[rounds-1])
}

// reloadUnderLoad replaces every worker while clients ask some of the apps.
func (s *site) reloadUnderLoad(d daemon) {
	s.t.Helper()
	var loads []load.Config
	for i := range s.loaded {
		port := s.ports[i*s.apps/s.loaded]
		loads = append(loads, load.Config{Address: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), Clients: s.clients, Think: 5 * time.Millisecond})
	}
	before := s.pids()
	lab.Under(s.t, func([]*load.Load) {
		cpu := d.look().ticks
		s.timed(fmt.Sprintf("reload of all, %d apps under load", s.loaded), func() {
			receipts, out := s.Receipts()
			if out.Code != 0 || len(receipts) != s.apps {
				s.t.Errorf("reload: exit %d, %d receipts of %d apps\n%s", out.Code, len(receipts), s.apps, out.Stderr)
			}
			for _, r := range receipts {
				if r.Result != state.Complete {
					s.t.Errorf("%s: %s: %s", r.Name, r.Result, r.Reason)
				}
			}
		})
		s.t.Logf("the reload took %d ticks of cpu; %v", d.look().ticks-cpu, d.look())
	}, loads...)
	for seat, pid := range s.pids() {
		if pid == before[seat] {
			s.t.Errorf("%v: pid %d was not replaced", seat, pid)
		}
	}
}

// kill ends many workers at once, and waits until each has a successor that is ready.
func (s *site) kill(d daemon) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), guard)
	defer cancel()
	pids := s.pids()
	events := s.Events(ctx)
	victims := make(map[seat]int)
	for i := range s.killed {
		n := i * s.workers() / s.killed
		victim := seat{fmt.Sprintf("app%d", n/s.each), n % s.each}
		victims[victim] = pids[victim]
	}
	cpu := d.look().ticks
	s.timed(fmt.Sprintf("kill -9 of %d at once, until all are back", s.killed), func() {
		for _, pid := range victims {
			unix.Kill(pid, unix.SIGKILL)
		}
		for back := 0; back < len(victims); {
			e, ok := events.Next()
			if !ok {
				s.t.Fatalf("%d of %d are back: %v", back, len(victims), events.Err())
			}
			if e.Kind == state.EventWorker && e.What == state.WhatReady {
				back++
			}
		}
	})
	s.t.Logf("that took %d ticks of cpu; %v", d.look().ticks-cpu, d.look())
	for seat, pid := range s.pids() {
		if pid == victims[seat] {
			s.t.Errorf("%v: pid %d is still listed", seat, pid)
		}
	}
}

// flat checks that the daemon has become no larger.
func (s *site) flat(d daemon, before look) {
	s.t.Helper()
	after := d.sleeps(s.window)
	s.t.Logf("%d descriptors before, %d after; %d kB before, %d kB after", before.descriptors, after.descriptors, before.resident, after.resident)
	if after.descriptors > before.descriptors+spare {
		s.t.Errorf("%d descriptors became %d", before.descriptors, after.descriptors)
	}
}
