package listener_test

import (
	"fmt"
	"syscall"
	"testing"

	"supervisor/supervisor/listener"
)

// rolling replaces the workers of two slots one after another, several times,
// under load.
func rolling(t *testing.T, network, addr string, s spec, rounds int) {
	t.Helper()
	r := newRig(t)
	slots := make([]*worker, 2)
	for i := range slots {
		s.app, s.slot = "web", i
		slots[i] = r.start(s)
		r.listening(slots[i])
	}
	l := startLoad(t, network, addr, 4)
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
	l.finish()
	for _, w := range slots {
		w.stop(syscall.SIGINT)
	}
	r.Release("web")
	if left := r.Sockets("web"); len(left) != 0 {
		t.Errorf("still held: %+v", left)
	}
}

func TestGoServerIsReplaced(t *testing.T) {
	addr := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	rolling(t, "tcp", addr, spec{role: "serve", env: []string{"ADDR=" + addr}}, 3)
}

func TestTwoGenerationsShareOneSocket(t *testing.T) {
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
