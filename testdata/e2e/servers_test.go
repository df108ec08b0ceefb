package e2e

import (
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

// alsoBusy is for servers that answer Connection: close while they drain.
func alsoBusy(_ *supervisor, port int) []load.Config {
	busy := on(port)
	busy.KeepAlive = true
	return []load.Config{on(port), busy}
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
		{name: "go static", readyBy: "listening", keys: func(t *testing.T, _ *supervisor, port int) string {
			return fmt.Sprintf("script: %s\nenv: {PORT: %d}\n", goServer(t), port) // and the default soak
		}, loads: alsoBusy},
		{name: "go ready.Notify", readyBy: "READY_FD", keys: func(_ *testing.T, _ *supervisor, port int) string {
			return fmt.Sprintf("script: %s\nwait_ready: true\nenv: {PORT: %d}\nlisten_timeout: 60s\n", sourcePath("readyserver"), port)
		}, loads: alsoBusy},
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
				path := filepath.Join(s.dir, "web.sock")
				return fmt.Sprintf("script: %s\ninterpreter: %s\nlisten: [\"unix:%s\"]\nenv: {SOCKET_PATH: %s}\nsoak: 0\nmin_uptime: 50s\nlisten_timeout: 60s\n",
					workers.Path("python/unix_server.py"), python(t), path, path)
			},
			loads: func(s *supervisor, _ int) []load.Config {
				return []load.Config{{Network: "unix", Address: filepath.Join(s.dir, "web.sock"), Clients: clients}}
			}},
		{name: "node portfinder", tools: []string{"node"}, readyBy: "node ipc", keys: script("node/probe-portfinder.js", "env: {PORT}\nwait_ready: true\nlisten_timeout: 60s\n")},
		{name: "node get-port", tools: []string{"node"}, readyBy: "node ipc", keys: script("node/probe-getport.js", "env: {PORT}\nwait_ready: true\nlisten_timeout: 60s\n")},
		{name: "node detect-port", tools: []string{"node"}, readyBy: "node ipc", keys: script("node/probe-detect.js", "env: {PORT}\nwait_ready: true\nlisten_timeout: 60s\n")},
	}
}

// Every server here is as its documentation has it, or speaks a protocol that is not
// ours; none knows the supervisor.
func TestReloadOfEveryKindOfServer(t *testing.T) {
	t.Parallel()
	for _, c := range sites() {
		t.Run(c.name, func(t *testing.T) {
			for _, tool := range c.tools {
				need(t, tool)
			}
			s := newSupervisor(t)
			port := freePort(t)
			s.ecosystem("name: web\ninstances: 2\n" + c.keys(t, s, port))
			s.must("start", "ecosystem.yaml")
			loads := []load.Config{on(port)}
			if c.loads != nil {
				loads = c.loads(s, port)
			}
			underAll(t, loads, func(*load.Load) {
				for range reloads {
					c.reload(s)
				}
			})
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
		if w.ReadyBy != c.readyBy || w.Killed || w.DrainMS == nil || w.ExitCode == nil || *w.ExitCode != 0 {
			s.t.Errorf("slot %d: %+v", w.Slot, w)
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
