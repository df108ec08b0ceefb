package listener_test

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"supervisor/supervisor/listener"
)

// rolling replaces the workers of two slots one after another, several times,
// under load.
func rolling(t *testing.T, network, addrs string, s spec, rounds int) {
	t.Helper()
	r := newRig(t)
	slots := make([]*worker, 2)
	for i := range slots {
		s.app, s.slot = "web", i
		slots[i] = r.start(s)
		r.listening(slots[i])
	}
	var loads []*load
	for addr := range strings.SplitSeq(addrs, ",") {
		loads = append(loads, startLoad(t, network, addr, 2))
	}
	for range rounds {
		for i := range slots {
			s.slot = i
			next := r.start(s)
			r.listening(next)
			slots[i].stop(syscall.SIGINT)
			slots[i] = next
		}
		r.Retain("web", nil, []uint64{slots[0].id, slots[1].id})
	}
	for _, l := range loads {
		l.finish()
	}
	// Not SIGINT: without traffic, a program that accepts on a blocking socket
	// may wait for a connection that another worker has taken.
	for _, w := range slots {
		w.stop(syscall.SIGKILL)
	}
	r.Release("web")
	if left := r.Sockets("web"); len(left) != 0 {
		t.Errorf("still held: %+v", left)
	}
}

func TestGoServerIsReplaced(t *testing.T) {
	parallel(t)
	addr := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	rolling(t, "tcp", addr, spec{role: "serve", env: []string{"ADDR=" + addr}}, 2)
}

func TestTwoGenerationsShareOneSocket(t *testing.T) {
	parallel(t)
	r := newRig(t)
	addr := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	s := spec{app: "web", role: "serve", env: []string{"ADDR=" + addr}}
	one, two := r.start(s), r.start(s)
	for _, w := range []*worker{one, two} {
		if f := r.listening(w); f.PID != w.cmd.Process.Pid || f.Addr != "tcp://"+addr {
			t.Errorf("listening: %+v, pid %d", f, w.cmd.Process.Pid)
		}
	}
	held := r.Sockets("web")
	if len(held) != 1 || len(held[0].Workers) != 2 || held[0].Declared || !held[0].Listening {
		t.Fatalf("held: %+v", held)
	}
	// Both die without closing: the queue waits for a successor.
	one.stop(syscall.SIGKILL)
	two.stop(syscall.SIGKILL)
	waiting := make(chan error, 1)
	go func() { _, err := get("tcp", addr); waiting <- err }()
	three := r.start(s)
	r.listening(three)
	if err := <-waiting; err != nil {
		t.Errorf("a connection made while no worker lived: %v", err)
	}
	if now := r.Sockets("web"); len(now) != 1 || now[0].Inode != held[0].Inode {
		t.Errorf("held: %+v, before: %+v", now, held)
	}
	three.stop(syscall.SIGINT)
}

func TestAnotherAppIsRefused(t *testing.T) {
	parallel(t)
	r := newRig(t)
	addr := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	a := r.start(spec{app: "a", role: "serve", env: []string{"ADDR=" + addr}})
	r.listening(a)
	b := r.start(spec{app: "b", role: "serve", env: []string{"ADDR=" + addr}})
	f := want(r, func(f listener.Refused) bool { return f.Worker == b.id })
	if f.Holder != "app a" || f.Err != syscall.EADDRINUSE || f.Addr != "tcp://"+addr {
		t.Errorf("%+v", f)
	}
	b.wait()
	a.stop(syscall.SIGINT)
}

func TestPythonServerIsReplaced(t *testing.T) {
	parallel(t)
	port := freePort(t)
	rolling(t, "tcp", fmt.Sprintf("127.0.0.1:%d", port),
		spec{args: []string{has(t, "python3"), "testdata/http_server.py", strconv.Itoa(port)}}, 1)
}

func TestNodeServerIsReplaced(t *testing.T) {
	parallel(t)
	port := freePort(t)
	rolling(t, "tcp", fmt.Sprintf("127.0.0.1:%d", port),
		spec{args: []string{has(t, "node"), "testdata/server.js"}, env: []string{"PORT=" + strconv.Itoa(port)}}, 1)
}

// asyncio binds 0.0.0.0 and [::] apart; both families are served throughout.
func TestBothWildcardsAreReplaced(t *testing.T) {
	parallel(t)
	port := freePort(t)
	rolling(t, "tcp", fmt.Sprintf("127.0.0.1:%d,[::1]:%d", port, port),
		spec{args: []string{has(t, "python3"), "testdata/asyncio_server.py", strconv.Itoa(port)}}, 1)
}

// Programs that look for a free port first listen and close several times; the
// second generation finds the same port free, though the first serves on it.
func TestPortProbersAreReplaced(t *testing.T) {
	parallel(t)
	node := has(t, "node")
	for _, c := range []struct {
		name, probe, host, want string
		generations             int
	}{
		{"net-style", "*", "", "tcp://[::]:%d", 3},
		{"detect-port-style", "0.0.0.0,127.0.0.1,*", "", "tcp://[::]:%d", 3},
		{"other-family-first", "::1,127.0.0.1", "0.0.0.0", "tcp://0.0.0.0:%d", 3},
		// What was probed must not be what is served. (A successor can't
		// probe the wildcard while the loopback is served: EADDRINUSE.)
		{"wildcard-then-loopback", "0.0.0.0,*", "127.0.0.1", "tcp://127.0.0.1:%d", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			parallel(t)
			port := freePort(t)
			env := []string{"PORT=" + strconv.Itoa(port), "PROBE=" + c.probe, "HOST=" + c.host}
			r := newRig(t)
			w := r.start(spec{app: "web", args: []string{node, "testdata/server.js"}, env: env})
			addr := fmt.Sprintf(c.want, port)
			want(r, func(f listener.Listening) bool { return f.Addr == addr })
			w.says("serving")
			if held := r.Sockets("web"); len(held) != 1 || held[0].Addr != addr {
				t.Errorf("held: %+v", held)
			}
			l := startLoad(t, "tcp", fmt.Sprintf("127.0.0.1:%d", port), 2)
			for range c.generations - 1 {
				next := r.start(spec{app: "web", args: []string{node, "testdata/server.js"}, env: env})
				next.says("serving") // its probes listen, too
				w.stop(syscall.SIGINT)
				w = next
			}
			l.finish()
			w.stop(syscall.SIGINT)
		})
	}
}

// Programs that look for a free port and are started at the same instant, with
// nothing held, all find the same one.
func TestPortProbersAtOnce(t *testing.T) {
	node := has(t, "node")
	for _, c := range []struct{ name, probe string }{
		{"detect-port-style", "0.0.0.0,127.0.0.1,*"},
		{"get-port-style", "*,127.0.0.1,::1,0.0.0.0"},
	} {
		for _, even := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s,even=%v", c.name, even), func(t *testing.T) {
				r := newRig(t)
				for range 3 {
					port := freePort(t)
					s := spec{app: "web", even: even, args: []string{node, "testdata/server.js"},
						env: []string{"PORT=" + strconv.Itoa(port), "PROBE=" + c.probe}}
					workers := []*worker{r.start(s), r.start(s), r.start(s)}
					for _, w := range workers {
						w.says("serving")
					}
					addr := fmt.Sprintf("tcp://[::]:%d", port)
					for _, w := range workers {
						want(r, func(f listener.Listening) bool { return f.Worker == w.id && f.Addr == addr })
						w.stop(syscall.SIGKILL)
					}
					for _, f := range r.all() {
						if f, ok := f.(listener.Refused); ok {
							t.Errorf("%+v", f)
						}
					}
					r.Release("web")
				}
			})
		}
	}
}
