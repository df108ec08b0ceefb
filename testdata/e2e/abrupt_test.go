package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"testing"

	"supervisor/supervisor/state"
	"supervisor/testdata/load"
	"supervisor/testdata/workers"
)

// A program that dies at once of its stop signal loses what it has in flight, and the
// receipt says how much that was.
func TestAbruptServerLosesOnlyWhatIsInFlight(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, tool, script string }{
		{"python", "python3", "python/abrupt.py"},
		{"node", "node", "node/plain.js"},
	} {
		t.Run(c.name, func(t *testing.T) {
			need(t, c.tool)
			s := newSupervisor(t)
			port := freePort(t)
			keys := script(c.script, "env: {PORT}\nnode_drain: false\nsoak: 0\nmin_uptime: 50s\nlisten_timeout: 60s\n")
			s.ecosystem("name: web\ninstances: 2\n" + keys(t, s, port))
			s.Must("start", "ecosystem.yaml")
			cfg := on(port)
			cfg.Path = "/slow?ms=300" // in flight at every instant, and few begin or end while it is counted
			cut, replaced := 0, 0
			result := lossy(t, cfg, func(*load.Load) {
				for range 3 {
					receipt := s.complete("web")
					cut, replaced = cut+receipt.ConnectionsCut, replaced+len(receipt.Workers)
					for _, w := range receipt.Workers {
						if w.Signal != "SIGINT" || w.ExitCode != nil || w.Killed {
							t.Errorf("the old one of slot %d did not die of SIGINT: %+v", w.Slot, w)
						}
					}
				}
			})
			t.Logf("%d lost, %d in the receipts, %d workers replaced", result.Failed, cut, replaced)
			if most := replaced * clients; result.Failed > most {
				t.Errorf("%d lost; %d workers had at most %d in flight\n%v", result.Failed, replaced, most, result)
			}
			if result.Failed == 0 || cut == 0 {
				t.Errorf("%d lost, %d in the receipts: nothing was in flight", result.Failed, cut)
			}
			// The count is of one instant, the signal comes a moment later: each
			// worker may accept from every client whose request ends in between.
			if result.Failed > cut+clients {
				t.Errorf("%d lost, the receipts admit %d\n%v", result.Failed, cut, result)
			}
			for kind := range result.Failures { // truncated: it died between an answer's head and its body
				if kind != load.EOF && kind != load.Reset && kind != load.Truncated {
					t.Errorf("lost by %s, which is no request in flight\n%v", kind, result)
				}
			}
		})
	}
}

// A drain that takes longer than kill_timeout is cut, and the receipt says so.
func TestKillTimeoutCutsAndSaysSo(t *testing.T) {
	t.Parallel()
	s := newSupervisor(t)
	port := freePort(t)
	s.ecosystem(fmt.Sprintf("name: web\nscript: %s\nwait_ready: true\nkill_timeout: 500ms\nenv: {PORT: %d}", goServer(t), port))
	s.Must("start", "ecosystem.yaml")
	events := s.events()
	old := s.Pids("web")[0]

	answered := make(chan error, 1)
	logs := s.follow("web", "slow")
	go func() { // ends with the answer, or with the connection
		resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/slow?ms=60000", port))
		if err == nil {
			resp.Body.Close()
		}
		answered <- err
	}()
	logs.wait()
	receipt := s.complete("web")
	if err := <-answered; err == nil {
		t.Error("a request of a minute was answered")
	}
	w := receipt.Workers[0]
	if !w.Killed || w.OpenAtKill == nil || *w.OpenAtKill != 1 || receipt.ConnectionsCut != 1 || w.Signal != "SIGKILL" || w.OldPID != old {
		t.Errorf("receipt: %d cut, %+v, open at kill %v", receipt.ConnectionsCut, w, deref(w.OpenAtKill))
	}
	if w.DrainMS == nil || *w.DrainMS < 500 {
		t.Errorf("killed after %v ms, before kill_timeout", deref(w.DrainMS))
	}
	killed := events.worker("web", 0, state.WhatKilled)
	if killed.PID != old {
		t.Errorf("killed pid %d, want %d", killed.PID, old)
	}
	text := s.Must("history", "web").Stdout
	for _, says := range []string{"1 connection cut", "killed at kill_timeout with 1 connection open"} {
		contains(t, text, says)
	}
}

// A worker and its child that ignore the signal are gone at kill_timeout, and not
// earlier; nothing of the group is left.
func TestIgnoredSignalIsKilledAtKillTimeout(t *testing.T) {
	t.Parallel()
	s := newSupervisor(t)
	port := freePort(t)
	s.ecosystem(fmt.Sprintf("name: web\nscript: %s\nargs: -mode ignore-int\nsoak: 0\nkill_timeout: 1500ms\nenv: {PORT: %d}", goServer(t), port))
	s.Must("start", "ecosystem.yaml")
	old := s.group(s.Pids("web")[0])
	if len(old) != 2 {
		t.Fatalf("the group has %v, want a worker and its child", old)
	}

	receipt := s.complete("web")
	w := receipt.Workers[0]
	if !w.Killed || w.DrainMS == nil || *w.DrainMS < 1500 || w.Signal != "SIGKILL" {
		t.Errorf("after %v ms: %+v", deref(w.DrainMS), w)
	}
	if left := alive(old); len(left) > 0 {
		t.Errorf("left of the old group: %v", left)
	}

	events := s.events()
	last := s.group(s.Pids("web")[0])
	s.Must("stop", "web")
	draining := events.worker("web", 0, state.WhatDraining)
	gone := events.worker("web", 0, state.WhatGone)
	if took := gone.Time.Sub(draining.Time); took < 1500e6 {
		t.Errorf("stop killed it after %v, before kill_timeout", took)
	}
	if left := alive(last); len(last) != 2 || len(left) > 0 {
		t.Errorf("left of the group %v: %v", last, left)
	}
}

// A worker whose main process drains while its child hangs is not gone before the
// child is.
func TestGroupIsGoneOnlyWhenItIsEmpty(t *testing.T) {
	t.Parallel()
	need(t, "python3")
	s := newSupervisor(t)
	port := freePort(t)
	s.write("parent.py", `
import os, signal, subprocess, sys
subprocess.Popen([sys.executable, "-c", "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); print('deaf', flush=True); signal.pause()"])
import runpy
folder = os.environ["SERVERS"]
sys.path.insert(0, folder)
runpy.run_path(folder + "/http_server.py")
`)
	s.ecosystem(fmt.Sprintf("name: web\nscript: parent.py\ninterpreter: %s\nsoak: 0\nmin_uptime: 50s\nlisten_timeout: 60s\nkill_timeout: 1500ms\nenv: {PORT: %d, SERVERS: %s}",
		python(t), port, workers.Path("python")))
	s.Must("start", "ecosystem.yaml")
	old := s.group(s.Pids("web")[0])
	if len(old) != 2 {
		t.Fatalf("the group has %v, want a worker and its child", old)
	}
	under(t, on(port), func(*load.Load) {
		w := s.complete("web").Workers[0]
		if !w.Killed || w.DrainMS == nil || *w.DrainMS < 1500 {
			t.Errorf("after %v ms: %+v", deref(w.DrainMS), w)
		}
		if left := alive(old); len(left) > 0 {
			t.Errorf("left of the old group: %v", left)
		}
	})
	if pids := s.Pids("web"); slices.Contains(old, pids[0]) {
		t.Errorf("pid %d is old", pids[0])
	}
}
