package workers_test

import (
	"context"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
	"supervisor/testdata/load"
	"supervisor/testdata/workers"
)

// server is a program with the kind of address that it takes.
type server struct {
	program
	at func(*testing.T) address
}

// drainers are the servers that promise to lose nothing.
func drainers() []server {
	npm := program{name: "npm start", args: []string{"npm", "--prefix", workers.Path("node/npmapp"), "start"}}
	wrapped := func(name string, args ...string) program {
		return program{name: name, args: append([]string{workers.Path("sh/wrapper.sh")}, args...)}
	}
	return []server{
		{node("ready.js"), tcp},
		{node("probe-portfinder.js"), tcp},
		{node("probe-getport.js"), tcp},
		{node("probe-detect.js"), tcp},
		{npm, tcp},
		{wrapped("sh wrapper"), tcp},
		{wrapped("sh wrapper of python", py("http_server.py").args...), tcp},
		{py("http_server.py"), tcp},
		{py("asyncio_server.py"), tcp},
		{py("unix_server.py"), unixSocket},
		{golang("serve"), tcp},
		{program{name: "go on a unix socket", args: golang("serve").args}, unixSocket},
		{golang("ready-late"), tcp},
	}
}

// boot starts a server and returns it with the pid that answers, which is not
// the leader's behind npm or a shell.
func boot(t *testing.T, s server) (*proc, address, int) {
	t.Helper()
	a := s.at(t)
	w := launch(t, s.program, a.env...)
	said := w.hear("pid")
	w.hear("listening")
	got, err := dial(t, a).get("/")
	if err != nil || got != said {
		t.Fatalf("pid %s, %v; the worker said %s", got, err, said)
	}
	pid, err := strconv.Atoi(got)
	if err != nil {
		t.Fatal(err)
	}
	return w, a, pid
}

func TestServerDrainsOnSIGINT(t *testing.T) {
	for _, s := range drainers() {
		t.Run(s.name, func(t *testing.T) {
			w, a, pid := boot(t, s)
			waiting := dial(t, a) // no request on it yet
			slow := dial(t, a)
			answer := make(chan error, 1)
			go func() { // ends with the answer, or the connection's deadline
				_, err := slow.get("/slow?ms=300")
				answer <- err
			}()
			w.hear("slow") // so the connection before it is accepted too
			if err := syscall.Kill(pid, syscall.SIGINT); err != nil {
				t.Fatal(err)
			}
			w.hear("draining")
			if _, err := waiting.get("/"); err != nil {
				t.Errorf("a connection accepted before the signal: %v", err)
			}
			if err := <-answer; err != nil {
				t.Errorf("the request in flight: %v", err)
			}
			w.exited(0)
		})
	}
}

// What the server has not accepted is not its business, as long as somebody
// holds the socket: here the test, which serves it when the worker is gone.
func TestServerLosesNothingUnderLoad(t *testing.T) {
	for _, s := range drainers() {
		t.Run(s.name, func(t *testing.T) {
			w, a, pid := boot(t, s)
			held := holdListener(t, pid)
			for _, fd := range held { // python asks for 5
				if err := unix.Listen(fd, unix.SOMAXCONN); err != nil {
					t.Fatal(err)
				}
			}
			ctx, cancel := context.WithTimeout(context.Background(), deadline)
			defer cancel()
			if a.network == "unix" { // the worker unlinks its own name
				link := a.at + "-kept"
				if err := os.Link(a.at, link); err != nil {
					t.Fatal(err)
				}
				a.at = link
			}
			l := load.Run(ctx, load.Config{Network: a.network, Address: a.at})
			if err := l.Wait(200); err != nil {
				t.Fatal(err)
			}
			if err := syscall.Kill(pid, syscall.SIGINT); err != nil {
				t.Fatal(err)
			}
			w.exited(0)
			successor := serveHeld(t, held)
			if err := l.WaitPid(strconv.Itoa(os.Getpid())); err != nil {
				t.Fatal(err)
			}
			r := l.Stop()
			successor.Close()
			if r.Failed != 0 || len(r.ByPid) != 2 {
				t.Errorf("%v", r)
			}
		})
	}
}

// serveHeld answers on held sockets with our own pid.
func serveHeld(t *testing.T, held []int) *http.Server {
	t.Helper()
	pid := strconv.Itoa(os.Getpid())
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Write([]byte(pid))
	})}
	for _, fd := range held {
		file := os.NewFile(uintptr(fd), "held")
		ln, err := net.FileListener(file)
		file.Close()
		if err != nil {
			t.Fatal(err)
		}
		go srv.Serve(ln) // ended by Close
	}
	t.Cleanup(func() { srv.Close() })
	return srv
}

func TestListenFDsAreSharedAndDrained(t *testing.T) {
	for _, p := range []program{golang("listenfds"), py("listen_fds.py")} {
		t.Run(p.name, func(t *testing.T) {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			file, err := ln.(*net.TCPListener).File()
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			// The shell becomes the server, so $$ is its pid; its own 3 is
			// the socket, which dash leaves open.
			shell := program{name: p.name, args: append([]string{"/bin/sh", "-c",
				`LISTEN_FDS=1 LISTEN_PID=$$ exec "$@"`, "sh"}, p.args...)}
			start := func() *proc {
				w := launchWith(t, shell, file)
				w.hear("listening")
				return w
			}
			old := start()
			ctx, cancel := context.WithTimeout(context.Background(), deadline)
			defer cancel()
			l := load.Run(ctx, load.Config{Address: ln.Addr().String()})
			for range 3 {
				next := start()
				if err := l.WaitPid(strconv.Itoa(next.cmd.Process.Pid)); err != nil {
					t.Fatal(err)
				}
				if err := syscall.Kill(old.cmd.Process.Pid, syscall.SIGINT); err != nil {
					t.Fatal(err)
				}
				old.exited(0)
				old = next
			}
			if r := l.Stop(); r.Failed != 0 || len(r.ByPid) != 4 {
				t.Errorf("%v", r)
			}
		})
	}
}

// With keep-alive, a server must also say when a connection ends.
func TestGoServerLosesNothingOnKeepAlive(t *testing.T) {
	w, a, pid := boot(t, server{golang("serve"), tcp})
	held := holdListener(t, pid)
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	l := load.Run(ctx, load.Config{Address: a.at, KeepAlive: true})
	if err := l.Wait(500); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	w.exited(0)
	successor := serveHeld(t, held)
	if err := l.WaitPid(strconv.Itoa(os.Getpid())); err != nil {
		t.Fatal(err)
	}
	r := l.Stop()
	successor.Close()
	if r.Failed != 0 || len(r.ByPid) != 2 {
		t.Errorf("%v", r)
	}
}

func TestServersThatDoNotDrain(t *testing.T) {
	for _, s := range []server{{node("plain.js"), tcp}, {py("abrupt.py"), tcp}} {
		t.Run(s.name, func(t *testing.T) {
			w, a, pid := boot(t, s)
			slow := dial(t, a)
			answer := make(chan error, 1)
			go func() { // ends when the connection does
				_, err := slow.get("/slow?ms=20000")
				answer <- err
			}()
			w.hear("slow")
			if err := syscall.Kill(pid, syscall.SIGINT); err != nil {
				t.Fatal(err)
			}
			w.exited(-1) // by the signal
			if err := <-answer; err == nil {
				t.Error("the request in flight was answered")
			}
		})
	}
}

func TestBrokenReleases(t *testing.T) {
	for _, c := range []struct {
		program
		listens bool
		words   string
	}{
		{node("crash.js"), false, "crash at boot"},
		{golang("crash"), false, "crash at boot"},
		{node("listen-exit.js"), true, "giving up"},
		{golang("exit-after"), true, "giving up"},
		{golang("listenfds"), false, "LISTEN_PID"},
		{py("listen_fds.py"), false, "LISTEN_PID"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := launch(t, c.program, tcp(t).env...)
			if c.listens {
				w.hear("listening")
			}
			w.exited(1)
			if !strings.Contains(w.errs.String(), c.words) {
				t.Errorf("its last words: %q", w.errs)
			}
		})
	}
	for _, p := range []program{node("never.js"), golang("never")} {
		t.Run(p.name, func(t *testing.T) {
			w := launch(t, p, tcp(t).env...)
			pid, err := strconv.Atoi(w.hear("pid"))
			if err != nil {
				t.Fatal(err)
			}
			if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			w.exited(-1)
			if strings.Contains(strings.Join(w.said, " "), "listening") {
				t.Error("it listens")
			}
		})
	}
}

func TestServerThatIgnoresSIGINT(t *testing.T) {
	w, a, pid := boot(t, server{golang("ignore-int"), tcp})
	child, err := strconv.Atoi(w.hear("child"))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []int{pid, child} {
		if err := syscall.Kill(p, syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := dial(t, a).get("/"); err != nil {
		t.Errorf("after SIGINT: %v", err)
	}
	if err := syscall.Kill(child, 0); err != nil {
		t.Errorf("the child: %v", err)
	}
	if err := syscall.Kill(-pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	w.exited(-1)
}

// pm2's and our own ready message: the IPC channel of Node, the line of Go.
func TestReadyLineOfTheGoServer(t *testing.T) {
	r, wr, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	w := launchWith(t, golang("serve"), wr, append(tcp(t).env, "READY_FD=3")...)
	wr.Close()
	line := make([]byte, 16)
	if n, err := r.Read(line); err != nil || string(line[:n]) != "ready\n" {
		t.Errorf("%q, %v", line[:n], err)
	}
	if err := syscall.Kill(w.cmd.Process.Pid, syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	w.exited(0)
}
