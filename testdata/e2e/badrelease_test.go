package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"supervisor/supervisor/state"
	"supervisor/testdata/load"
	"supervisor/testdata/workers"
)

// badRelease is a site that runs, and what breaks its next release.
type badRelease struct {
	name  string
	tools []string
	keys  string // of the app web; PORT is its port
	good  func(t *testing.T, s *supervisor)
	spoil func(t *testing.T, s *supervisor, keys string)
	code  int
	says  []string
	// accepts: the new worker serves before it fails, and what it has in flight when
	// it ends is lost with it.
	accepts bool
}

// nodeKeys is pm2's textbook app.
const nodeKeys = `name: web
script: app.js
instances: 2
wait_ready: true
listen_timeout: 6s
env: {PORT: PORT}`

func release(file string) func(*testing.T, *supervisor) {
	return func(_ *testing.T, s *supervisor) { s.copy("app.js", workers.Path(file)) }
}

func newRelease(file string) func(*testing.T, *supervisor, string) {
	return func(_ *testing.T, s *supervisor, _ string) { s.copy("app.js", workers.Path(file)) }
}

// change rewrites the file with one text in the keys replaced.
func change(old, new string) func(*testing.T, *supervisor, string) {
	return func(t *testing.T, s *supervisor, keys string) {
		if !strings.Contains(keys, old) {
			t.Fatalf("%q is not in the keys", old)
		}
		s.ecosystem(strings.ReplaceAll(keys, old, new))
	}
}

// slotOneCrashes is a release of which one slot can't start.
func slotOneCrashes(_ *testing.T, s *supervisor, _ string) {
	s.write("app.js", fmt.Sprintf(`
if (process.env.NODE_APP_INSTANCE === '1') throw new Error('slot 1 has no database')
require(%q)
`, workers.Path("node/ready.js")))
}

// brokenMaster does what gunicorn does with a broken app: the master listens, its
// workers die at boot, and half a second later it gives up.
const brokenMaster = `
import os, socket, sys, time
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("", int(os.environ["PORT"])))
s.listen()
time.sleep(0.5)
sys.exit("no module named site")
`

func badReleases() []badRelease {
	// Long enough for a busy machine: a worker that it has kept from failing has soaked.
	unready := strings.Replace(nodeKeys, "wait_ready: true\n", "soak: 5s\nmin_uptime: 5s\n", 1)
	goKeys := "name: web\nscript: SERVER\ninstances: 2\nwait_ready: true\nenv: {PORT: PORT, MODE: serve}"
	node := []string{"node"}
	return []badRelease{
		{name: "crashes at boot", tools: node, keys: nodeKeys, good: release("node/ready.js"), spoil: newRelease("node/crash.js"),
			code: 1, says: []string{"crash at boot: no database", "exit code 1", "rolled back"}},
		{name: "crashes at boot, no wait_ready", tools: node, keys: unready, good: release("node/ready.js"), spoil: newRelease("node/crash.js"),
			code: 1, says: []string{"crash at boot: no database", "exit code 1", "rolled back"}},
		{name: "never says ready", tools: node, keys: nodeKeys, good: release("node/ready.js"), spoil: newRelease("node/never.js"),
			code: 1, says: []string{"it has not said ready within 6s (listen_timeout)", "pid "}},
		{name: "never listens, no wait_ready", tools: node, keys: unready, good: release("node/ready.js"), spoil: newRelease("node/never.js"),
			code: 1, says: []string{"it has not listened within 6s (listen_timeout)", "pid "}},
		{name: "listens and exits", tools: node, keys: unready, good: release("node/ready.js"), spoil: newRelease("node/listen-exit.js"),
			code: 1, says: []string{"cannot reach the queue, giving up", "within its soak"}, accepts: true},
		{name: "listens, accepts nothing and exits", tools: []string{"python3"}, good: func(_ *testing.T, s *supervisor) { s.copy("web.py", workers.Path("python/http_server.py")) },
			keys:  "name: web\nscript: web.py\ninterpreter: PYTHON\ninstances: 2\nsoak: 5s\nmin_uptime: 25s\nlisten_timeout: 30s\nenv: {PORT: PORT, PYTHONPATH: MODULES}",
			spoil: func(_ *testing.T, s *supervisor, _ string) { s.write("web.py", brokenMaster) },
			code:  1, says: []string{"no module named site", "within its soak"}},
		{name: "exits within soak", keys: goKeys + "\nsoak: 3s", spoil: change("MODE: serve", "MODE: exit-after"),
			code: 1, says: []string{"cannot reach the queue, giving up", "within its soak"}, accepts: true},
		{name: "typo in the file", keys: goKeys, spoil: change("wait_ready", "wait_redy"),
			code: 2, says: []string{"ecosystem.yaml:5:", "wait_redy", "wait_ready"}},
		{name: "broken file", keys: goKeys, spoil: change("env: {", "env: {{"),
			code: 2, says: []string{"ecosystem.yaml:"}},
		{name: "missing file", keys: goKeys, spoil: func(_ *testing.T, s *supervisor, _ string) { os.Remove(filepath.Join(s.Dir, "ecosystem.yaml")) },
			code: 2, says: []string{"ecosystem.yaml"}},
		{name: "missing script", tools: node, keys: nodeKeys, good: release("node/ready.js"),
			spoil: func(_ *testing.T, s *supervisor, _ string) { os.Remove(filepath.Join(s.Dir, "app.js")) },
			code:  2, says: []string{"app.js"}},
		{name: "missing interpreter", keys: goKeys, spoil: change("instances: 2", "instances: 2\ninterpreter: /nowhere/node"),
			code: 2, says: []string{"/nowhere/node"}},
		{name: "does not compile", keys: strings.Replace(goKeys, "SERVER", "./server", 1),
			good: func(_ *testing.T, s *supervisor) {
				for _, name := range []string{"main.go", "drain.go"} {
					s.copy("server/"+name, workers.Path("go/server/"+name))
				}
				s.write("server/go.mod", "module server\n\ngo 1.26\n")
			},
			spoil: func(_ *testing.T, s *supervisor, _ string) {
				s.write("server/late.go", "package main\n\nvar _ = nonsense\n")
			},
			code: 1, says: []string{"undefined: nonsense", "late.go:3"}},
		{name: "takes another app's port", keys: goKeys, spoil: change("PORT: PORT", "PORT: OTHER"),
			code: 1, says: []string{"address already in use", "other"}},
		{name: "one slot crashes, blue-green", tools: node, keys: nodeKeys + "\nreload: {strategy: blue-green}", good: release("node/ready.js"),
			spoil: slotOneCrashes, code: 1, says: []string{"slot 1 has no database", "rolled back"}},
	}
}

func TestBadReleaseChangesNothing(t *testing.T) {
	t.Parallel()
	for _, c := range badReleases() {
		t.Run(c.name, func(t *testing.T) {
			for _, tool := range c.tools {
				need(t, tool)
			}
			s := newSupervisor(t)
			port, other := freePort(t), freePort(t)
			keys := strings.NewReplacer("SERVER", goServer(t), "MODULES", workers.Path("python")).Replace(c.keys)
			if strings.Contains(keys, "PYTHON") {
				keys = strings.Replace(keys, "interpreter: PYTHON", "interpreter: "+python(t), 1)
			}
			fill := strings.NewReplacer(": PORT", fmt.Sprintf(": %d", port), ": OTHER", fmt.Sprintf(": %d", other))
			if c.good != nil {
				c.good(t, s)
			}
			s.ecosystem(fill.Replace(keys))
			s.Must("start", "ecosystem.yaml")
			s.write("other.yaml", fmt.Sprintf("apps:\n  - {name: other, script: %s, soak: 0, env: {PORT: %d}}\n", goServer(t), other))
			s.Must("start", "other.yaml")
			under(t, on(other), func(*load.Load) {
				result := lossy(t, on(port), func(*load.Load) { c.fail(t, s, keys, fill) })
				if most := map[bool]int{true: clients}[c.accepts]; result.Failed > most {
					t.Errorf("%d lost\n%v", result.Failed, result)
				}
			})
		})
	}
}

// fail spoils the release, reloads and sees that nothing has changed.
func (c badRelease) fail(t *testing.T, s *supervisor, keys string, fill *strings.Replacer) {
	t.Helper()
	before := append(s.Pids("web"), s.Pids("other")...)
	c.spoil(t, s, keys)
	if path := filepath.Join(s.Dir, "ecosystem.yaml"); c.name != "missing file" {
		s.write("ecosystem.yaml", fill.Replace(s.read(path)))
	}
	out := s.Fails(c.code, c.says, "reload", "web")
	t.Logf("\n%s", out.All())
	after := append(s.Pids("web"), s.Pids("other")...)
	if !slices.Equal(before, after) {
		t.Errorf("the pids were %v, are %v", before, after)
	}
	if web := s.App("web"); web.Status != "online" || web.Restarts != 0 {
		t.Errorf("web is %s after %d restarts", web.Status, web.Restarts)
	}
}

// What can't be undone is said: without release folders the file on disk is the new
// one, so the slot that was replaced keeps its healthy worker.
func TestBadReleaseOfOneSlotSaysWhatRuns(t *testing.T) {
	t.Parallel()
	need(t, "node")
	s := newSupervisor(t)
	port := freePort(t)
	s.copy("app.js", workers.Path("node/ready.js"))
	s.ecosystem(strings.ReplaceAll(nodeKeys, ": PORT", fmt.Sprintf(": %d", port)))
	s.Must("start", "ecosystem.yaml")
	under(t, on(port), func(*load.Load) {
		before := s.Pids("web")
		slotOneCrashes(t, s, "")
		receipt, code := s.reload("web")
		if code != 1 || receipt.Result != state.Failed {
			t.Fatalf("exit %d, %s: %s", code, receipt.Result, receipt.Reason)
		}
		after := s.Pids("web")
		if after[0] == before[0] || after[1] != before[1] {
			t.Errorf("the pids were %v, are %v", before, after)
		}
		for _, w := range receipt.Workers {
			want := receipt.ToGeneration
			if w.Slot == 1 {
				want = receipt.FromGeneration
				contains(t, strings.Join(w.LastLines, "\n"), "slot 1 has no database")
			}
			if w.SlotRuns != want {
				t.Errorf("slot %d runs generation %d, want %d", w.Slot, w.SlotRuns, want)
			}
		}
		// The next good release makes it one again.
		s.copy("app.js", workers.Path("node/ready.js"))
		s.complete("web")
	})
}

// A slot that was replaced and whose worker then falls into a crash loop is left to
// the restart policy: the reload, which another slot has failed, ends.
func TestFailedReloadDoesNotWaitForACrashLoop(t *testing.T) {
	t.Parallel()
	need(t, "node")
	s := newSupervisor(t)
	port := freePort(t)
	s.copy("app.js", workers.Path("node/ready.js"))
	s.ecosystem(strings.ReplaceAll(nodeKeys, ": PORT", fmt.Sprintf(": %d", port)) + "\nsoak: 300ms\nmin_uptime: 1h")
	s.Must("start", "ecosystem.yaml")
	lossy(t, on(port), func(*load.Load) {
		before := s.Pids("web")
		s.write("app.js", fmt.Sprintf(`
const fs = require('fs')
if (process.env.NODE_APP_INSTANCE === '0') {
  if (fs.existsSync('boots')) fs.writeFileSync('again', '')
  fs.appendFileSync('boots', 'x')
  setTimeout(() => process.exit(1), fs.existsSync('again') ? 10 : 1000)
} else {
  setInterval(() => { if (fs.existsSync('again')) throw new Error('slot 1 has no database') }, 5)
}
if (process.env.NODE_APP_INSTANCE === '0') require(%q)
`, workers.Path("node/ready.js")))
		receipt, code := s.reload("web")
		if code != 1 || receipt.Result != state.Failed {
			t.Errorf("exit %d, %s: %s", code, receipt.Result, receipt.Reason)
		}
		after := s.App("web")
		if after.Workers[1].PID != before[1] || after.Restarts >= 15 {
			t.Errorf("pids %v, now %v; the reload ended after %d restarts", before, s.Pids("web"), after.Restarts)
		}
		s.copy("app.js", workers.Path("node/ready.js"))
		s.complete("web")
	})
}

// on_timeout: force is pm2's behaviour for whoever asks for it: a worker that does
// not say ready in time counts as ready.
func TestForceSwapsAfterTheTimeout(t *testing.T) {
	t.Parallel()
	s := newSupervisor(t)
	port := freePort(t)
	keys := fmt.Sprintf("name: web\nscript: %s\ninstances: 2\nwait_ready: true\nlisten_timeout: 2s\nreload: {on_timeout: force}\nenv: {PORT: %d, MODE: serve, DELAY: 24h}",
		goServer(t), port)
	s.ecosystem(keys)
	s.Must("start", "ecosystem.yaml")
	under(t, on(port), func(*load.Load) {
		s.ecosystem(strings.Replace(keys, "MODE: serve", "MODE: ready-late", 1))
		for _, w := range s.complete("web").Workers {
			if w.ReadyBy != "timeout" || w.ReadyMS == nil || *w.ReadyMS < 2000 {
				t.Errorf("slot %d was ready by %s in %v ms", w.Slot, w.ReadyBy, deref(w.ReadyMS))
			}
		}
	})
}
