package e2e

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"supervisor/supervisor/state"
	"supervisor/testdata/load"
)

// talker is a Node server that uses its channel as pm2's documentation has it.
const talker = `
const http = require('http')
const server = http.createServer((req, res) => { res.setHeader('X-Pid', process.pid); res.end(String(process.pid)) })
server.listen(process.env.PORT, () => process.send('ready'))
process.on('message', m => {
  console.log('message ' + JSON.stringify(m))
  if (m === 'shutdown') server.close(() => process.exit(0))
})
process.on('disconnect', () => console.log('disconnected'))
process.on('SIGINT', () => { console.log('SIGINT'); server.close(() => process.exit(0)) })
process.on('SIGUSR2', () => {
  const say = [42, null, true, 'text', 'line\nof two\u2028', [1, [2]], { type: 'process:msg', data: { a: 'é🙂' } },
    'x'.repeat(900 * 1024), 'y'.repeat(5 << 20), { last: true }]
  for (const m of say) process.send(m)
})
`

// node is an app that runs a script of a test's own.
func (s *supervisor) node(name, script string, port int, keys ...string) string {
	need(s.t, "node")
	s.write(name+".js", script)
	return fmt.Sprintf("name: %s\nscript: %s.js\nwait_ready: true\nlisten_timeout: 60s\nenv: {PORT: %d}\n%s", name, name, port, strings.Join(keys, "\n"))
}

func (s *supervisor) outLog(name string) string {
	return s.read(filepath.Join(s.Home, "logs", name+"-out-0.log"))
}

func TestProcessSendOfAnySizeAndType(t *testing.T) {
	t.Parallel()
	s := newSupervisor(t)
	s.ecosystem(s.node("web", talker, freePort(t)))
	s.Must("start", "ecosystem.yaml")
	events := s.events()
	events.Limit(4 << 20)
	s.Must("signal", "SIGUSR2", "web")
	for _, want := range []string{`42`, `null`, `true`, `"text"`, "\"line\\nof two\u2028\"", `[1,[2]]`, `{"type":"process:msg","data":{"a":"é🙂"}}`,
		`"` + strings.Repeat("x", 900*1024) + `"`, `{"last":true}`} { // without the 5 MB
		e := events.until("a message", func(e state.Event) bool { return e.Kind == state.EventMessage })
		var got, wanted any
		if json.Unmarshal(e.Data, &got) != nil || json.Unmarshal([]byte(want), &wanted) != nil || fmt.Sprint(got) != fmt.Sprint(wanted) {
			t.Errorf("%.100s arrived as %.100s", want, e.Data)
		}
		if e.App != "web" || e.Slot != 0 || e.PID != s.Pids("web")[0] {
			t.Errorf("of whom? %+v", e)
		}
	}
	contains(t, s.read(filepath.Join(s.Home, "supervisor.log")), "a message of more than 1048576 bytes")
}

func TestTheMessageShutdown(t *testing.T) {
	t.Parallel()
	s := newSupervisor(t)
	port := freePort(t)
	s.ecosystem(s.node("web", talker, port, "instances: 2", "shutdown_with_message: true", "kill_timeout: 60s"))
	s.Must("start", "ecosystem.yaml")
	under(t, on(port), func(*load.Load) {
		for range reloads {
			r := s.complete("web")
			if r.ConnectionsCut != 0 {
				t.Errorf("%d connections were cut", r.ConnectionsCut)
			}
			for _, w := range r.Workers {
				t.Logf("ready after %v ms, gone after %v ms", deref(w.ReadyMS), deref(w.DrainMS))
			}
		}
	})
	s.Must("stop", "web")
	out := s.outLog("web")
	if n := strings.Count(out, `message "shutdown"`); n != reloads+1 || strings.Contains(out, "SIGINT") || strings.Contains(out, "disconnected") {
		t.Errorf("shutdown came %d times for %d ends:\n%s", n, reloads+1, out)
	}
}

// The channel is there as long as the worker lives, so nothing ends with it.
func TestDisconnectIsNotSaidWhileTheSupervisorLives(t *testing.T) {
	t.Parallel()
	s := newSupervisor(t)
	port := freePort(t)
	s.ecosystem(s.node("web", talker, port, "kill_timeout: 60s"))
	s.Must("start", "ecosystem.yaml")
	under(t, on(port), func(*load.Load) {
		for range reloads {
			s.complete("web")
		}
	})
	s.Must("stop", "web")
	out := s.outLog("web")
	if strings.Count(out, "SIGINT") != reloads+1 || strings.Contains(out, "disconnected") {
		t.Errorf("of %d workers:\n%s", reloads+1, out)
	}
}

// A worker that gives its channel up goes on, and is told by the signal.
func TestAWorkerThatDisconnects(t *testing.T) {
	t.Parallel()
	script := strings.Replace(talker, "process.send('ready')", "process.send('ready', () => process.disconnect())", 1)
	for _, keys := range []string{"", "shutdown_with_message: true"} {
		s := newSupervisor(t)
		port := freePort(t)
		s.ecosystem(s.node("web", script, port, "instances: 2", "kill_timeout: 60s", keys))
		s.Must("start", "ecosystem.yaml")
		under(t, on(port), func(*load.Load) {
			for range reloads {
				s.complete("web")
			}
		})
		s.Must("stop", "web")
		if out := s.outLog("web"); strings.Count(out, "SIGINT") != reloads+1 || strings.Contains(out, "message") {
			t.Errorf("of %d workers:\n%s", reloads+1, out)
		}
	}
}

// With Node's own round robin the primary accepts, and hands connections to children.
const roundRobin = `
const cluster = require('cluster')
const http = require('http')
if (cluster.isPrimary) {
  let up = 0
  cluster.on('listening', () => { if (++up === 2) process.send('ready') })
  process.on('SIGINT', () => cluster.disconnect(() => process.exit(0)))
  cluster.fork()
  cluster.fork()
} else {
  process.on('SIGINT', () => {})
  http.createServer((req, res) => { res.setHeader('X-Pid', process.pid); res.end(String(process.pid)) }).listen(process.env.PORT)
}
`

func TestAProgramWithNodesRoundRobin(t *testing.T) {
	t.Parallel()
	s := newSupervisor(t)
	port := freePort(t)
	s.ecosystem(s.node("web", roundRobin, port, "kill_timeout: 60s"))
	s.Must("start", "ecosystem.yaml")
	lost := lossy(t, on(port), func(*load.Load) {
		for range reloads {
			s.complete("web")
		}
	})
	// What a primary has accepted and not handed out when it disconnects is its own to lose.
	if lost.Failed > reloads*clients {
		t.Errorf("%v", lost)
	}
	site{tree: 3}.leavesOf(s, 1)
}

// A child that is killed is its primary's business: the supervisor leaves both alone.
func TestAChildOfAPrimaryThatDies(t *testing.T) {
	t.Parallel()
	s := newSupervisor(t)
	s.ecosystem(s.node("web", roundRobin+"\nif (cluster.isPrimary) cluster.on('exit', () => { console.log('one less'); cluster.fork() })", freePort(t)))
	s.Must("start", "ecosystem.yaml")
	main := s.Pids("web")[0]
	lessened := s.follow("web", "one less")
	for _, pid := range s.group(main) {
		if pid != main {
			syscall.Kill(pid, syscall.SIGKILL)
			break
		}
	}
	lessened.wait()
	if app := s.App("web"); app.Status != state.AppOnline || app.Restarts != 0 || app.Workers[0].PID != main {
		t.Errorf("%+v", app)
	}
}

// stuck is a worker that never reads its channel.
func TestAWorkerThatNeverReadsItsChannel(t *testing.T) {
	t.Parallel()
	for _, behaviour := range []string{"ipc-deaf", "ipc-full"} {
		t.Run(behaviour, func(t *testing.T) {
			s := newSupervisor(t)
			unharmed := steady(t, s)
			before := s.resident()
			s.ecosystem(behaves(t, "deaf", behaviour, "protocol: node", "shutdown_with_message: true", "kill_timeout: 6s"))
			s.Must("start", "ecosystem.yaml")
			receipt := s.complete("deaf")
			if w := receipt.Workers[0]; w.Killed || w.ExitCode == nil || *w.ExitCode != 0 {
				t.Errorf("it did not get the signal: %+v", w)
			}
			s.Must("stop", "deaf")
			contains(t, s.read(filepath.Join(s.Home, "logs", "deaf-out-0.log")), "bye")
			contains(t, s.read(filepath.Join(s.Home, "supervisor.log")), "it gets the signal")
			s.flat(before)
			unharmed()
		})
	}
}

// Whatever a worker does on its channel, the daemon's memory is flat and another app
// loses nothing, not in a reload either.
func TestFloodsOnTheNodeChannel(t *testing.T) {
	t.Parallel()
	for _, behaviour := range []string{"ipc-long", "ipc-garbage", "ipc-messages"} {
		t.Run(behaviour, func(t *testing.T) {
			s := newSupervisor(t)
			port := freePort(t)
			file := s.ecosystem(fmt.Sprintf("name: web\ninstances: 2\nscript: %s\nenv: {PORT: %d}", goServer(t), port))
			s.Must("start", file)
			before := s.resident()
			// A reader that has gone to sleep may hold nothing up, and hold nothing.
			s.events()
			s.write("loud.yaml", "apps:\n  - "+strings.ReplaceAll(behaves(t, "loud", behaviour, "protocol: node"), "\n", "\n    ")+"\n")
			s.Must("start", filepath.Join(s.Dir, "loud.yaml"))
			said := s.follow("loud", "said it all")
			under(t, on(port), func(*load.Load) {
				s.complete("web")
				said.wait()
				s.flat(before)
				s.complete("web")
			})
			s.flat(before)
			if app := s.App("loud"); app.Restarts != 0 || app.Status != state.AppOnline {
				t.Errorf("%+v", app)
			}
			want := map[string]string{"ipc-long": "more than 1048576 bytes", "ipc-garbage": "not a JSON line", "ipc-messages": "more than 256 messages"}[behaviour]
			contains(t, s.read(filepath.Join(s.Home, "supervisor.log")), want)
			s.Must("stop", "loud")
		})
	}
}
