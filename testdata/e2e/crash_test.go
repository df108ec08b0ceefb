package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"supervisor/supervisor/state"
	"supervisor/testdata/load"
	"supervisor/testdata/workers"
)

// A killed worker is replaced at once, and costs its requests in flight.
func TestKilledWorkerIsReplaced(t *testing.T) {
	t.Parallel()
	s := newSupervisor(t)
	port := freePort(t)
	s.ecosystem(fmt.Sprintf("name: web\nscript: %s\ninstances: 2\nmin_uptime: 0\nenv: {PORT: %d}", goServer(t), port))
	s.Must("start", "ecosystem.yaml")
	events := s.events()
	const kills = 4
	cfg := on(port)
	cfg.Path = "/slow?ms=20" // so that something is in flight at every instant
	result := lossy(t, cfg, func(l *load.Load) {
		for i := range kills {
			slot := i % 2
			before := s.Pids("web")
			kill(t, before[slot])
			events.worker("web", slot, state.WhatExited)
			ready := events.worker("web", slot, state.WhatReady)
			if err := l.WaitPid(strconv.Itoa(ready.PID)); err != nil {
				t.Fatal(err)
			}
			after := s.Pids("web")
			if after[slot] != ready.PID || after[slot] == before[slot] || after[1-slot] != before[1-slot] {
				t.Errorf("slot %d was killed: the pids were %v, are %v", slot, before, after)
			}
		}
	})
	if result.Failed > kills*clients {
		t.Errorf("%d lost by %d kills\n%v", result.Failed, kills, result)
	}
	for kind := range result.Failures {
		if kind != load.EOF && kind != load.Reset && kind != load.Truncated {
			t.Errorf("lost by %s, which is no request in flight\n%v", kind, result)
		}
	}
	if app := s.App("web"); app.Status != "online" || app.Restarts != kills {
		t.Errorf("%s after %d restarts, want %d", app.Status, app.Restarts, kills)
	}
	if receipts := s.Must("history", "web", "--json").Stdout; strings.Contains(receipts, `"slot"`) {
		t.Errorf("a crash is no reload: %s", receipts)
	}
}

func kill(t *testing.T, pid int) {
	t.Helper()
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

// releases are folders that the link current points to one of.
type releases struct {
	s *supervisor
	n int
}

// add makes a release with this program and points current to it, as deploy tools do:
// by a rename.
func (r *releases) add(program string) string {
	r.s.t.Helper()
	r.n++
	dir := fmt.Sprintf("releases/%d", r.n)
	r.s.write(dir+"/app.js", program)
	next := filepath.Join(r.s.Dir, "next")
	if err := os.Symlink(dir, next); err != nil {
		r.s.t.Fatal(err)
	}
	if err := os.Rename(next, filepath.Join(r.s.Dir, "current")); err != nil {
		r.s.t.Fatal(err)
	}
	return dir
}

// runs lists the release that each worker of web runs, by its command line.
func (r *releases) runs() (dirs []string) {
	r.s.t.Helper()
	for _, pid := range r.s.Pids("web") {
		cmd, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if err != nil {
			r.s.t.Fatal(err)
		}
		cwd, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid))
		if err != nil {
			r.s.t.Fatal(err)
		}
		dir, err := filepath.Rel(r.s.Dir, cwd)
		if err != nil || !strings.Contains(string(cmd), dir+"/app.js") {
			r.s.t.Errorf("pid %d runs %q in %s", pid, cmd, cwd)
		}
		dirs = append(dirs, dir)
	}
	return dirs
}

func (r *releases) want(when, first, second string) {
	r.s.t.Helper()
	if got := r.runs(); !slices.Equal(got, []string{first, second}) {
		r.s.t.Errorf("%s the slots run %v, want %s and %s", when, got, first, second)
	}
}

func TestReleaseFolders(t *testing.T) {
	t.Parallel()
	need(t, "node")
	s := newSupervisor(t)
	port := freePort(t)
	good := fmt.Sprintf("require(%q)\n", workers.Path("node/ready.js"))
	r := &releases{s: s}
	first := r.add(good)
	s.ecosystem(strings.ReplaceAll(nodeKeys, ": PORT", fmt.Sprintf(": %d", port)) + "\ncwd: current\nmin_uptime: 0")
	s.Must("start", "ecosystem.yaml")
	r.want("after start", first, first)
	under(t, on(port), func(*load.Load) {
		second := r.add(good)
		s.complete("web")
		r.want("after a reload", second, second)

		// The second slot fails, so the first, replaced already, goes back.
		r.add("if (process.env.NODE_APP_INSTANCE === '1') throw new Error('slot 1 has no database')\n" + good)
		before := s.Pids("web")
		receipt, code := s.reload("web")
		if code != 1 || receipt.Result != state.RolledBack {
			t.Errorf("exit %d, %s: %s", code, receipt.Result, receipt.Reason)
		}
		t.Logf("\n%s", s.Must("history", "web").Stdout)
		r.want("after a rollback", second, second)
		if after := s.Pids("web"); after[1] != before[1] || after[0] == before[0] {
			t.Errorf("the pids were %v, are %v", before, after)
		}
		for _, w := range receipt.Workers {
			if w.SlotRuns != receipt.FromGeneration {
				t.Errorf("slot %d runs generation %d, want %d", w.Slot, w.SlotRuns, receipt.FromGeneration)
			}
		}

		// Nothing starts at all.
		r.add("throw new Error('no database')")
		s.Fails(1, []string{"no database"}, "reload", "web")
		r.want("after an aborted reload", second, second)
	})

	// current still points to what does not run.
	events := s.events()
	kill(t, s.Pids("web")[0])
	events.worker("web", 0, state.WhatReady)
	r.want("after an aborted reload and a crash", "releases/2", "releases/2")
	s.Must("restart", "web")
	r.want("after an aborted reload and a restart", "releases/2", "releases/2")

	last := r.add(good)
	s.complete("web")
	r.want("after the next good release", last, last)
}
