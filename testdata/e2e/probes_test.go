package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"supervisor/supervisor/state"
	"supervisor/testdata/load"
)

// healthy answers its health checks on a socket of its own from the first moment, with
// 503 until it is warm; its clients are served from then on. COLD is how long that
// takes, in ms; for "never" it serves at once and is never healthy.
const healthy = `
const http = require('http')
const fs = require('fs')
const { PORT, COLD, HEALTH } = process.env
let warm = false
const health = http.createServer((req, res) => { res.writeHead(warm ? 200 : 503).end(); console.log('asked for ' + req.url) })
health.listen(HEALTH || 'health-' + process.env.SUPERVISOR_WORKER + '.sock')
const server = http.createServer((req, res) => { res.setHeader('X-Pid', process.pid); res.end(String(process.pid)) })
const serve = () => server.listen(PORT)
if (COLD === 'never') serve()
else setTimeout(() => { warm = true; console.log('warm'); serve() }, Number(COLD))
process.on('SIGINT', () => { health.close(); server.close(() => process.exit(0)) })
`

// A probe of a socket that is the worker's alone is answered by nobody else: the old
// workers stay until their successors are warm, and for good if those never are.
func TestAProbeIsAimedAtTheNewWorker(t *testing.T) {
	t.Parallel()
	need(t, "node")
	s := newSupervisor(t)
	port := freePort(t)
	s.write("server.js", healthy)
	const cold = 700
	app := func(cold any) string {
		return s.ecosystem(fmt.Sprintf("name: web\nscript: server.js\ninstances: 2\nlisten_timeout: 60s\nready: http://unix:health-$SUPERVISOR_WORKER.sock:/healthz\nenv: {PORT: %d, COLD: '%v'}", port, cold))
	}
	s.Must("start", app(cold))
	under(t, on(port), func(*load.Load) {
		for range 3 {
			receipt := s.complete("web")
			for _, w := range receipt.Workers {
				if w.ReadyBy != "probe" || w.ReadyMS == nil || *w.ReadyMS < cold || w.Killed {
					t.Errorf("slot %d: %+v, ready in %v ms", w.Slot, w, deref(w.ReadyMS))
				}
			}
		}
		good := s.Pids("web")
		s.write("ecosystem.yaml", strings.Replace(s.read(app("never")), "60s", "8s", 1))
		receipt, code := s.reload("web")
		if code != 1 || receipt.Result != state.RolledBack {
			t.Errorf("exit %d, %+v", code, receipt)
		}
		contains(t, receipt.Reason, ".sock:/healthz said 503 within 8s (listen_timeout)")
		if now := s.Pids("web"); fmt.Sprint(now) != fmt.Sprint(good) {
			t.Errorf("%v became %v", good, now)
		}
	})
	s.Must("stop")
	if left, _ := filepath.Glob(filepath.Join(s.Dir, "health-*.sock")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// What the README says: a port that is shared answers from any worker, so a probe of it
// says nothing about the new one.
func TestAProbeOfASharedPortIsAnsweredByAnyWorker(t *testing.T) {
	t.Parallel()
	need(t, "node")
	s := newSupervisor(t)
	port := freePort(t)
	s.write("server.js", `
const http = require('http')
const cold = process.env.SUPERVISOR_GENERATION > 1
const server = http.createServer((req, res) => res.writeHead(cold ? 503 : 200).end())
if (!cold) server.listen(process.env.PORT)
setInterval(() => {}, 1000)
process.on('SIGINT', () => process.exit(0))
`)
	s.ecosystem(fmt.Sprintf("name: web\nscript: server.js\nready: http://127.0.0.1:$PORT/\nlisten_timeout: 60s\nenv: {PORT: %d}", port))
	s.Must("start")
	if receipt := s.complete("web"); receipt.Workers[0].ReadyBy != "probe" {
		t.Errorf("%+v", receipt)
	}
}

// In fork mode each slot has a port of its own, and the old worker is gone when the new
// one is asked.
func TestAProbeOfAPortOfItsOwn(t *testing.T) {
	t.Parallel()
	need(t, "node")
	s := newSupervisor(t)
	first := freePort(t)
	for next := freePort(t); next != first+1; next = freePort(t) { // two in a row
		first = next
	}
	s.write("server.js", `
const http = require('http')
let warm = false
setTimeout(() => { warm = true }, 500)
const server = http.createServer((req, res) => res.writeHead(warm ? 200 : 503).end())
server.listen(process.env.PORT)
process.on('SIGINT', () => process.exit(0))
`)
	s.ecosystem(fmt.Sprintf("name: web\nscript: server.js\ninstances: 2\nexec_mode: fork\nincrement_var: PORT\nready: http://127.0.0.1:$PORT/\nlisten_timeout: 60s\nenv: {PORT: %d}", first))
	s.Must("start")
	for _, w := range s.complete("web").Workers {
		if w.ReadyBy != "probe" || *w.ReadyMS < 500 {
			t.Errorf("slot %d: %+v", w.Slot, w)
		}
		resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/", first+w.Slot))
		if err != nil || resp.StatusCode != 200 {
			t.Fatalf("slot %d: %v, %v", w.Slot, resp, err)
		}
		resp.Body.Close()
	}
}

// needy serves once its peer does, and ends if that is not there; told to go it asks
// once more.
const needy = `
const http = require('http')
const { PORT, PEER } = process.env
const ask = (then, else_) => PEER ? http.get('http://127.0.0.1:' + PEER, { agent: false }, res => res.resume().on('end', then)).on('error', else_) : then()
const server = http.createServer((req, res) => res.end('ok'))
ask(() => server.listen(PORT, () => process.send('ready')), () => process.exit(3))
process.on('SIGINT', () => ask(() => server.close(() => process.exit(0)), () => process.exit(4)))
`

func TestAppsThatNeedEachOther(t *testing.T) {
	t.Parallel()
	need(t, "node")
	s := newSupervisor(t)
	s.write("needy.js", needy)
	ports := []int{freePort(t), freePort(t), freePort(t)}
	app := func(name string, n int, on, script string) string {
		keys := fmt.Sprintf("name: %s\nscript: %s\ninstances: 2\nwait_ready: true\nautorestart: false\nlisten_timeout: 60s\n", name, script)
		if on == "" {
			return keys + fmt.Sprintf("env: {PORT: %d}", ports[n])
		}
		return keys + fmt.Sprintf("depends_on: [%s]\nenv: {PORT: %d, PEER: %d}", on, ports[n], ports[n-1])
	}
	s.write("broken.js", "process.exit(7)")
	s.ecosystem(app("web", 2, "api", "needy.js"), app("api", 1, "db", "broken.js"), app("db", 0, "", "needy.js"))
	s.Fails(1, []string{"cannot start api", "web: skipped: it depends on api, which failed", "db: started"}, "start")

	s.ecosystem(app("web", 2, "api", "needy.js"), app("api", 1, "db", "needy.js"), app("db", 0, "", "needy.js"))
	s.Must("start")
	under(t, on(ports[2]), func(*load.Load) {
		for range 2 {
			out := s.Must("reload")
			for _, name := range []string{"web", "api", "db"} {
				contains(t, out.All(), name+": complete")
			}
			if db, web := strings.Index(out.Stdout, "db: complete"), strings.Index(out.Stdout, "web: complete"); db > web {
				t.Errorf("web was reloaded before db:\n%s", out.Stdout)
			}
		}
	})
	out := s.Must("stop")
	if strings.Contains(out.All(), "exit code 4") || strings.Count(out.All(), "exit code 0") != 6 {
		t.Errorf("stop: a worker that was still needed was gone:\n%s", out.All())
	}
	s.Must("start")
	for _, a := range s.List().Apps {
		if a.Restarts != 0 || a.Status != state.AppOnline {
			t.Errorf("%s is %s after %d restarts", a.Name, a.Status, a.Restarts)
		}
	}
	out = s.Must("kill")
	if strings.Contains(out.All(), "exit code 4") || strings.Count(out.All(), "exit code 0") != 6 {
		t.Errorf("kill: a worker that was still needed was gone:\n%s", out.All())
	}
	s.Fails(2, []string{"ecosystem.yaml:24:", `"db" depends on "web" depends on "api" depends on "db"`}, "validate", s.ecosystem(
		app("db", 1, "web", "needy.js"), app("web", 2, "api", "needy.js"), app("api", 1, "db", "needy.js")))
	if _, err := os.Stat(filepath.Join(s.Home, "supervisor.sock")); err == nil {
		t.Error("the daemon is back")
	}
}
