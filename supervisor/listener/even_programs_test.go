package listener_test

import (
	"fmt"
	"strconv"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"supervisor/supervisor/listener"
)

// servers are ordinary programs that serve an address.
func servers(t *testing.T, port int) map[string]spec {
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	return map[string]spec{
		"go": {role: "serve", env: []string{"ADDR=" + addr}},
		"node": {args: []string{has(t, "node"), "testdata/server.js"},
			env: []string{"PORT=" + strconv.Itoa(port), "HOST=127.0.0.1"}},
		"python": {args: []string{has(t, "python3"), "testdata/http_server.py", strconv.Itoa(port)}},
	}
}

// Workers of two users are in one group.
func TestEvenUsersDiffer(t *testing.T) {
	parallel(t)
	r := newRig(t)
	port := freePort(t)
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	s := spec{args: []string{"/bin/sh", "-c", "exec " + has(t, "node") + " -e \"require('http').createServer((q,a)=>a.end(String(process.pid))).listen(" +
		strconv.Itoa(port) + ",'127.0.0.1')\""}, dir: "/"}
	s.uid = 65534
	one := r.admitted(s)
	s.uid = 65533
	two := r.admitted(s)
	s.uid = 0
	three := r.admitted(s)
	got := r.spread(addr, 30)
	for _, w := range []*worker{one, two, three} {
		if n := got[strconv.Itoa(w.cmd.Process.Pid)]; n < 8 {
			t.Errorf("%v of 30", got)
		}
		w.stop(syscall.SIGKILL)
	}
	if held := r.Sockets("web"); len(held) != 1 || len(held[0].Shares) != 3 {
		t.Errorf("%+v", held)
	}
}

// Programs that look for a free port listen and close before they serve: what
// they have closed gets nothing once others are there.
func TestEvenPortProbers(t *testing.T) {
	parallel(t)
	node := has(t, "node")
	for _, c := range []struct{ name, probe, host, want string }{
		{"net-style", "*", "", "tcp://[::]:%d"},
		{"detect-port-style", "0.0.0.0,127.0.0.1,*", "", "tcp://[::]:%d"},
		{"other-family-first", "::1,127.0.0.1", "0.0.0.0", "tcp://0.0.0.0:%d"},
	} {
		t.Run(c.name, func(t *testing.T) {
			parallel(t)
			r := newRig(t)
			port := freePort(t)
			addr := fmt.Sprintf("127.0.0.1:%d", port)
			s := spec{args: []string{node, "testdata/server.js"},
				env: []string{"PORT=" + strconv.Itoa(port), "PROBE=" + c.probe, "HOST=" + c.host}}
			start := func() *worker {
				w := r.even(s)
				w.says("serving")
				r.Admit(w.id)
				return w
			}
			workers := []*worker{start(), start()}
			l := startLoad(t, "tcp", addr, 2)
			for i := range 4 {
				workers[i%2] = workers[i%2].replace(start, preDrain)
			}
			l.finish()
			got := r.spread(addr, 20)
			for _, w := range workers {
				if n := got[strconv.Itoa(w.cmd.Process.Pid)]; n == 0 { // at random, just after load
					t.Errorf("%v of 20", got)
				}
			}
			if held := r.Sockets("web"); len(held) != 1 || held[0].Addr != fmt.Sprintf(c.want, port) || len(held[0].Shares) > 3 {
				t.Errorf("%+v", held)
			}
			for _, w := range workers {
				w.stop(syscall.SIGKILL)
			}
		})
	}
}

// Where pidfd_getfd is refused, shares are made by us.
func TestEvenWithoutTaking(t *testing.T) {
	parallel(t)
	for _, name := range []string{"go", "node", "python"} {
		t.Run(name, func(t *testing.T) {
			parallel(t)
			r := newRig(t)
			r.RefuseTaking(unix.EPERM)
			port := freePort(t)
			s := servers(t, port)[name]
			workers := []*worker{r.admitted(s), r.admitted(s)}
			got := r.spread(fmt.Sprintf("127.0.0.1:%d", port), 20)
			for _, w := range workers {
				if n := got[strconv.Itoa(w.cmd.Process.Pid)]; n < 8 {
					t.Errorf("%v of 20", got)
				}
				w.stop(syscall.SIGKILL)
			}
		})
	}
}

// asyncio binds 0.0.0.0 and [::] apart: each has shares of its own.
func TestEvenBothWildcards(t *testing.T) {
	parallel(t)
	r := newRig(t)
	port := freePort(t)
	s := spec{args: []string{has(t, "python3"), "testdata/asyncio_server.py", strconv.Itoa(port)}}
	start := func() *worker {
		w := r.even(s)
		for _, host := range []string{"0.0.0.0", "[::]"} {
			addr := fmt.Sprintf("tcp://%s:%d", host, port)
			want(r, func(f listener.Listening) bool { return f.Worker == w.id && f.Addr == addr })
		}
		r.Admit(w.id)
		return w
	}
	workers := []*worker{start(), start()}
	loads := []*load{startLoad(t, "tcp", fmt.Sprintf("127.0.0.1:%d", port), 1), startLoad(t, "tcp", fmt.Sprintf("[::1]:%d", port), 1)}
	for i := range 4 {
		workers[i%2] = workers[i%2].replace(start, preDrain)
	}
	for _, l := range loads {
		l.finish()
	}
	for _, w := range workers {
		w.stop(syscall.SIGKILL)
	}
}
