package e2e

import (
	"cmp"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"supervisor/testdata/load"
	"supervisor/testdata/workers"
)

// site is one way to serve: the app's keys, and where it is asked.
type site struct {
	name    string
	tools   []string
	keys    func(t *testing.T, s *supervisor, port int) string
	loads   func(s *supervisor, port int) []load.Config // nil: 127.0.0.1 at the port
	readyBy string
	tree    int // processes of one worker, if it has children
	times   int // it is reloaded; 0: reloads
	// grows: it starts with one worker and is scaled to two. Two programs that look
	// for a free port at the same instant can refuse each other once, when nothing is
	// held yet: the loser is started again, but `start` has said so by then.
	grows bool
}

// reloads of each server under load.
const reloads = 5

// announce makes http_server.py say READY=1 to NOTIFY_SOCKET (sd_notify(3)) when it
// listens.
const announce = `
import os, runpy, socket, sys
folder = os.environ["SERVERS"]
sys.path.insert(0, folder)
import app
say = app.say

def announce(line):
    say(line)
    if line == "listening":
        path = os.environ["NOTIFY_SOCKET"]
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
            s.connect("\0" + path[1:] if path[0] == "@" else path)
            s.send(b"READY=1\nSTATUS=serving")

app.say = announce
runpy.run_path(folder + "/http_server.py")
`

// script is an app that runs a file of testdata/workers.
func script(name, keys string) func(*testing.T, *supervisor, int) string {
	return func(t *testing.T, s *supervisor, port int) string {
		text := fmt.Sprintf("script: %s\n", workers.Path(name))
		if strings.HasSuffix(name, ".py") {
			text += fmt.Sprintf("interpreter: %s\n", python(t))
		}
		return text + strings.ReplaceAll(keys, "PORT", fmt.Sprintf("PORT: %d", port))
	}
}

func sites() []site {
	// On the first start, living for min_uptime stands for readiness, and an
	// interpreter on a busy machine may take longer to listen.
	quick := "env: {PORT}\nsoak: 0\nmin_uptime: 50s\nlisten_timeout: 60s\n"
	declared := func(program func(t *testing.T) string, rest string) func(*testing.T, *supervisor, int) string {
		return func(t *testing.T, _ *supervisor, port int) string {
			return fmt.Sprintf("%s\nlisten: [\"tcp://127.0.0.1:%d\"]\n%s", program(t), port, rest)
		}
	}
	return []site{
		{name: "go net/http, with a drain", readyBy: "listening", keys: func(t *testing.T, _ *supervisor, port int) string {
			return fmt.Sprintf("script: %s\nenv: {PORT: %d}\n", goServer(t), port) // and the default soak
		}},
		{name: "go ready.Notify", readyBy: "READY_FD", keys: func(_ *testing.T, _ *supervisor, port int) string {
			return fmt.Sprintf("script: %s\nwait_ready: true\nenv: {PORT: %d}\nlisten_timeout: 60s\n", sourcePath("readyserver"), port)
		}},
		{name: "go LISTEN_FDS", readyBy: "READY_FD", keys: declared(func(t *testing.T) string {
			return fmt.Sprintf("script: %s\nargs: -mode listenfds", goServer(t))
		}, "wait_ready: true")},
		{name: "python http.server", tools: []string{"python3"}, readyBy: "listening", keys: script("python/http_server.py", quick)},
		{name: "python asyncio", tools: []string{"python3"}, readyBy: "listening", keys: script("python/asyncio_server.py", quick),
			loads: func(_ *supervisor, port int) []load.Config {
				six := on(port)
				six.Address = net.JoinHostPort("::1", strconv.Itoa(port))
				return []load.Config{on(port), six}
			}},
		{name: "python LISTEN_FDS", tools: []string{"python3"}, readyBy: "inferred", keys: declared(func(t *testing.T) string {
			return fmt.Sprintf("script: %s\ninterpreter: %s", workers.Path("python/listen_fds.py"), python(t))
		}, "min_uptime: 1s\nsoak: 0")},
		{name: "python sd_notify", tools: []string{"python3"}, readyBy: "NOTIFY_SOCKET", keys: func(t *testing.T, s *supervisor, port int) string {
			return fmt.Sprintf("script: %s\ninterpreter: %s\nwait_ready: true\nlisten_timeout: 60s\nenv: {PORT: %d, SERVERS: %s}\n",
				s.write("notify.py", announce), python(t), port, workers.Path("python"))
		}},
		{name: "python unix socket", tools: []string{"python3"}, readyBy: "listening",
			keys: func(t *testing.T, s *supervisor, _ int) string {
				path := filepath.Join(s.Dir, "web.sock")
				return fmt.Sprintf("script: %s\ninterpreter: %s\nlisten: [\"unix:%s\"]\nenv: {SOCKET_PATH: %s}\nsoak: 0\nmin_uptime: 50s\nlisten_timeout: 60s\n",
					workers.Path("python/unix_server.py"), python(t), path, path)
			},
			loads: func(s *supervisor, _ int) []load.Config {
				return []load.Config{{Network: "unix", Address: filepath.Join(s.Dir, "web.sock"), Clients: clients}}
			}},
		{name: "node portfinder", tools: []string{"node"}, readyBy: "node ipc", grows: true, keys: script("node/probe-portfinder.js", "env: {PORT}\nwait_ready: true\nlisten_timeout: 60s\n")},
		{name: "node get-port", tools: []string{"node"}, readyBy: "node ipc", grows: true, keys: script("node/probe-getport.js", "env: {PORT}\nwait_ready: true\nlisten_timeout: 60s\n")},
		{name: "node detect-port", tools: []string{"node"}, readyBy: "node ipc", grows: true, keys: script("node/probe-detect.js", "env: {PORT}\nwait_ready: true\nlisten_timeout: 60s\n")},
	}
}

// Every server here is as its documentation has it, or speaks a protocol that is not
// ours; none knows the supervisor.
func TestReloadOfEveryKindOfServer(t *testing.T) {
	t.Parallel()
	for _, c := range append(sites(), speakers()...) {
		t.Run(c.name, func(t *testing.T) {
			for _, tool := range c.tools {
				need(t, tool)
			}
			s := newSupervisor(t)
			port := freePort(t)
			instances := 2
			if c.grows {
				instances = 1
			}
			s.ecosystem(fmt.Sprintf("name: web\ninstances: %d\n", instances) + c.keys(t, s, port))
			s.Must("start", "ecosystem.yaml")
			if c.grows {
				s.Must("scale", "web", "2")
			}
			loads := []load.Config{on(port)}
			if c.loads != nil {
				loads = c.loads(s, port)
			}
			row := c.row(t)
			underAll(t, loads, func(*load.Load) { // nothing is lost on new connections
				row.busy(t, loads[0], func() {
					for range cmp.Or(c.times, reloads) {
						c.reload(s)
					}
				})
			})
			c.leaves(s)
		})
	}
}

func (c site) reload(s *supervisor) {
	s.t.Helper()
	receipt := s.complete("web")
	if receipt.ConnectionsCut != 0 {
		s.t.Errorf("the receipt says that %d connections were cut", receipt.ConnectionsCut)
	}
	if len(receipt.Workers) != 2 {
		s.t.Errorf("the receipt has %d slots, want 2", len(receipt.Workers))
	}
	for _, w := range receipt.Workers {
		s.t.Logf("slot %d: ready after %v ms, gone after %v ms", w.Slot, deref(w.ReadyMS), deref(w.DrainMS))
		if w.ReadyBy != c.readyBy || w.Killed || w.DrainMS == nil || w.ExitCode == nil || *w.ExitCode != 0 {
			s.t.Errorf("slot %d: %+v", w.Slot, w)
		}
	}
}

// row is the site's line in the README's table.
func (c site) row(t *testing.T) Row {
	t.Helper()
	for _, r := range Rows() {
		if r.Name == c.name {
			return r
		}
	}
	t.Fatalf("%s is not in the table of what runs unmodified", c.name)
	return Row{}
}

// busyClients keep their connections, beside those that make new ones.
const busyClients = 4

// busy holds the table's word about connections that are kept alive against a load
// of them.
func (r Row) busy(t *testing.T, cfg load.Config, do func()) {
	t.Helper()
	if r.Busy == Kept {
		do()
		return
	}
	cfg.KeepAlive, cfg.Clients = true, busyClients
	lost := lossy(t, cfg, func(*load.Load) { do() })
	t.Logf("on busy keep-alive: %d of %d lost on %d connections", lost.Failed, lost.Requests, lost.Connections)
	if raced := lost.Failures[load.Idle]; lost.Failed > raced || r.Busy != Some && lost.Failed > 0 {
		t.Errorf("more was lost on connections that are kept alive than the table says: %v", lost)
	}
	if unkept := lost.Connections >= lost.Requests; unkept != (r.Busy == Unkept) {
		t.Errorf("%d requests had %d connections, and the table says %v", lost.Requests, lost.Connections, r.Busy)
	}
}

// Every line of the table is a server that runs, and every server has its line.
func TestTheTableAndTheTestsAreOfTheSame(t *testing.T) {
	ran := map[string]site{}
	for _, c := range append(sites(), speakers()...) {
		ran[c.name] = c
		c.row(t)
	}
	for _, r := range Rows() {
		if c, ok := ran[r.Name]; !ok || c.readyBy != r.ReadyBy {
			t.Errorf("%s: no test shows that it is ready by %s", r.Name, r.ReadyBy)
		}
	}
}

// underAll keeps several loads up at the same time.
func underAll(t *testing.T, loads []load.Config, do func(*load.Load)) {
	t.Helper()
	under(t, loads[0], func(l *load.Load) {
		if len(loads) > 1 {
			underAll(t, loads[1:], do)
		} else {
			do(l)
		}
	})
}
