package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"supervisor/supervisor/state"
	"supervisor/testdata/lab"
	"supervisor/testdata/load"
	"supervisor/testdata/workers"
)

// tableflipServer returns testdata/workers/go/tableflip, built by the first who asks.
func tableflipServer(t *testing.T) string {
	t.Helper()
	path, err := buildTableflip()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

var buildTableflip = sync.OnceValues(func() (string, error) {
	path := filepath.Join(lab.Built, "tableflip")
	cmd := exec.Command("go", "build", "-o", path, workers.Path("go/tableflip"))
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("cannot build the tableflip server: %w\n%s", err, out)
	}
	return path, nil
})

// flips is a tableflip app; listen is what it asks its Upgrader for.
func flips(t *testing.T, listen string, keys ...string) string {
	return fmt.Sprintf("script: %s\nprotocol: tableflip\nlisten_timeout: 60s\nenv: {LISTEN: '%s'}\n%s",
		tableflipServer(t), listen, strings.Join(keys, "\n"))
}

// readySystemd is http_server.py under sd_notify alone, with its socket by LISTEN_FDS.
const readySystemd = `
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
assert "READY_FD" not in os.environ and "NODE_CHANNEL_FD" not in os.environ
runpy.run_path(folder + "/listen_fds.py")
`

const wsgi = `
import os

def app(environ, start_response):
    body = str(os.getpid()).encode()
    start_response("200 OK", [("Content-Length", str(len(body))), ("X-Pid", str(os.getpid()))])
    return [body]
`

const asgi = `
import os

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    body = str(os.getpid()).encode()
    await send({"type": "http.response.start", "status": 200,
                "headers": [(b"content-length", str(len(body)).encode()), (b"x-pid", body)]})
    await send({"type": "http.response.body", "body": body})
`

// nginxConf: pid is a file of the test's own. (With /dev/null, nginx as root removes
// /dev/null.)
const nginxConf = `
daemon off;
user root;
worker_processes 2;
error_log stderr;
pid %[1]s/nginx.pid;
events { worker_connections 256; }
http {
  access_log off;
  client_body_temp_path %[1]s/body;
  proxy_temp_path %[1]s/proxy;
  fastcgi_temp_path %[1]s/fastcgi;
  uwsgi_temp_path %[1]s/uwsgi;
  scgi_temp_path %[1]s/scgi;
  server {
    listen 127.0.0.1:%[2]d;
    location / { add_header X-Pid $pid; return 200 "$pid"; }
  }
}
`

// quick and slow are how often servers are reloaded that take milliseconds for it, or
// seconds, since each worker is a tree of interpreters.
const (
	quick = 20
	slow  = 3
)

// speakers are servers of other systems and of other protocols. None is modified.
func speakers() []site {
	return []site{
		{name: "tableflip, declared", readyBy: "tableflip", times: quick, keys: func(t *testing.T, _ *supervisor, port int) string {
			// The program writes the address in another way than the file.
			return flips(t, fmt.Sprintf("tcp!:%d", port), fmt.Sprintf("listen: ['tcp://127.0.0.1:%d']", port))
		}},
		{name: "tableflip, undeclared", readyBy: "tableflip", times: quick, keys: func(t *testing.T, _ *supervisor, port int) string {
			return flips(t, fmt.Sprintf("tcp!localhost:%d", port), "reload: {strategy: blue-green}")
		}},
		{name: "tableflip, unix socket", readyBy: "tableflip", times: quick,
			keys: func(t *testing.T, s *supervisor, port int) string {
				path := filepath.Join(s.Dir, "web.sock")
				return flips(t, "unix!"+path, "listen: ['unix:"+path+"']")
			},
			loads: func(s *supervisor, _ int) []load.Config {
				return []load.Config{{Network: "unix", Address: filepath.Join(s.Dir, "web.sock"), Clients: clients}}
			}},
		{name: "go sd_notify and LISTEN_FDS", readyBy: "NOTIFY_SOCKET", keys: func(_ *testing.T, _ *supervisor, port int) string {
			return fmt.Sprintf("script: %s\nprotocol: systemd\nwait_ready: true\nlisten: ['tcp://127.0.0.1:%d']\nlisten_timeout: 60s\n", sourcePath("readyserver"), port)
		}},
		{name: "python sd_notify and LISTEN_FDS", tools: []string{"python3"}, readyBy: "NOTIFY_SOCKET", keys: func(t *testing.T, s *supervisor, port int) string {
			return fmt.Sprintf("script: %s\ninterpreter: %s\nprotocol: systemd\nwait_ready: true\nlisten: ['tcp://127.0.0.1:%d']\nlisten_timeout: 60s\nenv: {SERVERS: %s}\n",
				s.write("notify.py", readySystemd), python(t), port, workers.Path("python"))
		}},
		{name: "gunicorn", tools: []string{"gunicorn"}, readyBy: "listening", tree: 3, times: slow, keys: func(t *testing.T, s *supervisor, port int) string {
			s.write("wsgi.py", wsgi)
			return fmt.Sprintf("script: gunicorn\nargs: -w 2 -b 127.0.0.1:%d wsgi:app\nkill_signal: SIGTERM\nlisten_timeout: 60s\nmin_uptime: 50s\nsoak: 0\nkill_timeout: 40s\n", port)
		}},
		{name: "uvicorn", tools: []string{"/usr/bin/python3"}, readyBy: "listening", tree: 4, times: slow, keys: func(t *testing.T, s *supervisor, port int) string {
			if out, err := exec.Command("/usr/bin/python3", "-c", "import uvicorn").CombinedOutput(); err != nil {
				need(t, "uvicorn") // which says that it is missing
				t.Fatalf("%s", out)
			}
			s.write("asgi.py", asgi)
			return fmt.Sprintf("script: /usr/bin/python3\nargs: -m uvicorn --workers 2 --host 127.0.0.1 --port %d --no-access-log asgi:app\nkill_signal: SIGTERM\nbalance: even\nlisten_timeout: 60s\nmin_uptime: 50s\nsoak: 0\nkill_timeout: 40s\n", port)
		}},
		{name: "node, no signal handler", tools: []string{"node"}, readyBy: "listening",
			keys: script("node/plain.js", "env: {PORT}\nsoak: 0\nmin_uptime: 50s\nlisten_timeout: 60s\n")},
		{name: "node cluster", tools: []string{"node"}, readyBy: "node ipc", tree: 3, times: slow,
			keys: script("node/cluster.js", "env: {PORT}\nwait_ready: true\nbalance: even\nlisten_timeout: 60s\nkill_timeout: 60s\n")},
		{name: "nginx", tools: []string{"nginx"}, readyBy: "listening", tree: 3, times: quick, keys: func(t *testing.T, s *supervisor, port int) string {
			conf := s.write("nginx.conf", fmt.Sprintf(nginxConf, s.Dir, port))
			return fmt.Sprintf("script: nginx\nargs: -e stderr -c %s\nkill_signal: SIGQUIT\nlisten_timeout: 60s\nmin_uptime: 50s\nsoak: 0\n", conf)
		}},
	}
}

// leaves checks that the whole trees of two workers, each of so many processes, end
// with them.
func (c site) leaves(s *supervisor) { c.leavesOf(s, 2) }

func (c site) leavesOf(s *supervisor, workers int) {
	s.t.Helper()
	last := s.groups("web")
	if len(last) < workers*c.tree {
		s.t.Errorf("%d workers of %d processes are %v", workers, c.tree, last)
	}
	s.Must("stop", "web")
	if left := alive(last); len(left) > 0 {
		s.t.Errorf("left of %v after stop: %v", last, left)
	}
	if left := s.Processes(); len(left) != 2 { // keeper and daemon
		s.t.Errorf("after stop there are %q", left)
	}
}

// Both generations live at once, and each knows of the other what tableflip tells it.
func TestTableflipWorkersKnowTheirPredecessor(t *testing.T) {
	t.Parallel()
	s := newSupervisor(t)
	port := freePort(t)
	s.ecosystem("name: web\nkill_timeout: 60s\n" + flips(t, fmt.Sprintf("tcp!localhost:%d", port), fmt.Sprintf("listen: ['tcp://127.0.0.1:%d']", port)))
	s.Must("start", "ecosystem.yaml")
	first := s.Pids("web")[0]
	out := filepath.Join(s.Home, "logs", "web-out-0.log")
	// The first has nobody before it.
	s.follow("web", "parent gone: <nil>").wait()
	contains(t, s.read(out), "has parent: true")

	// A connection that is not over keeps the first in its drain.
	conn, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: x\r\n")
	events := s.events()
	var done sync.WaitGroup
	under(t, on(port), func(l *load.Load) {
		done.Go(func() { s.Must("reload", "web") })
		second := events.worker("web", 0, state.WhatReady)
		if err := l.WaitPid(strconv.Itoa(second.PID)); err != nil {
			t.Fatal(err)
		}
		if two := alive([]int{first, second.PID}); len(two) != 2 {
			t.Errorf("of two generations %v live", two)
		}
		// An upgrade of its own is refused while its predecessor lives.
		refused := s.follow("web", "upgrade: parent hasn't exited")
		syscall.Kill(second.PID, syscall.SIGHUP)
		refused.wait()
		if n := strings.Count(s.read(out), "parent gone"); n != 1 {
			t.Errorf("the second says %d times that its parent is gone, which drains", n-1)
		}
		gone := s.follow("web", fmt.Sprint("parent gone: <nil>"))
		fmt.Fprint(conn, "\r\n")
		done.Wait()
		gone.wait()
	})
	if text := s.read(out); strings.Count(text, "has parent: true") != 2 || strings.Count(text, "parent gone: <nil>") != 2 {
		t.Errorf("two workers say:\n%s", text)
	}
}

// A worker's sockets are those of its own generation, in its order, also when a newer
// one, which failed, had declared others.
func TestACrashAfterAFailedReloadFindsItsOwnSockets(t *testing.T) {
	t.Parallel()
	s := newSupervisor(t)
	a, b, c := freePort(t), freePort(t), freePort(t)
	file := s.ecosystem(behaves(t, "web", "calm", fmt.Sprintf("listen: ['a=tcp://127.0.0.1:%d', 'b=tcp://127.0.0.1:%d']", a, b)))
	s.Must("start", file)
	sockets := func(pid int) string {
		var text string
		for fd := range 2 {
			to, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", pid, 3+fd))
			text += fmt.Sprintln(to, err)
		}
		return text
	}
	first := s.Pids("web")[0]
	before := sockets(first)
	s.ecosystem(behaves(t, "web", "crash", fmt.Sprintf("listen: ['c=tcp://127.0.0.1:%d', 'b=tcp://127.0.0.1:%d', 'a=tcp://127.0.0.1:%d']", c, b, a)))
	s.Fails(1, []string{"no such behaviour"}, "reload", "web")
	events := s.events()
	syscall.Kill(first, syscall.SIGKILL)
	second := events.worker("web", 0, state.WhatReady)
	if after := sockets(second.PID); after != before || !strings.Contains(before, "socket:") {
		t.Errorf("its sockets were %s, and are %s after a crash", before, after)
	}
	if !strings.Contains(s.read(fmt.Sprintf("/proc/%d/environ", second.PID)), "LISTEN_FDNAMES=a:b\x00") {
		t.Error("their names are not a and b")
	}
}
