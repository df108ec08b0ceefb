package listener_test

import (
	"fmt"
	"math/rand/v2"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"supervisor/supervisor/listener"
)

// scene is a call of a worker in whose midst the daemon dies.
type scene struct {
	name   string
	points string // where it may die, in order
	even   bool
	unlink bool
	shares int // afterwards
	// before prepares the daemon; it may start workers, and gives one that serves
	// already, or nil.
	before func(k *keeper, addr string) *worker
	// worker is the one that makes the call at start, or at SIGUSR1 if late.
	worker func(addr string) spec
	late   bool
	// path gives a unix address instead of a port's.
	path bool
}

func goServer(addr string) spec {
	return spec{app: "web", role: "serve", env: []string{"ADDR=" + addr}}
}

// wide is the same port on all addresses.
func wide(addr string) string { return ":" + addr[strings.LastIndexByte(addr, ':')+1:] }

func rawServer(addr string) spec {
	return spec{app: "web", role: "serve", env: []string{"ADDR=" + addr, "RAW=1"}}
}

func lateServer(addr string) spec {
	return spec{app: "web", role: "late-listen", env: []string{"PORT=" + wide(addr)[1:]}}
}

// serving starts a worker that serves an address.
func (k *keeper) serving(s spec) *worker {
	w := k.start(s)
	k.listening(w)
	return w
}

func servingEven(k *keeper, addr string) *worker {
	s := goServer(addr)
	s.even = true
	w := k.serving(s)
	k.admit(w)
	return w
}

func declaring(network string) func(*keeper, string) *worker {
	return func(k *keeper, addr string) *worker {
		k.tell(message{Op: "open", Worker: listener.Worker{App: "web"}, Declared: []listener.Declared{{Network: network, Address: addr}}})
		return nil
	}
}

var scenes = []scene{
	{name: "first", points: "received bound listened stored recorded answered", shares: 1, worker: rawServer},
	{name: "late listen", points: "received listened stored recorded answered", shares: 1, worker: lateServer, late: true},
	{name: "sibling", points: "received recorded added answered", shares: 1,
		before: func(k *keeper, addr string) *worker { return k.serving(goServer(addr)) }, worker: rawServer},
	{name: "covered", points: "received recorded added answered", shares: 1,
		before: func(k *keeper, addr string) *worker { return k.serving(goServer(wide(addr))) }, worker: rawServer},
	{name: "even", points: "received bound stored joined recorded answered", even: true, shares: 2, before: servingEven, worker: rawServer},
	{name: "even instead of MPTCP", points: "received bound stored joined recorded added answered", even: true, shares: 2,
		before: servingEven, worker: goServer},
	{name: "declared", points: "received recorded added answered", shares: 1, before: declaring("tcp"), worker: rawServer},
	{name: "declared path", points: "received recorded added answered", unlink: true, shares: 1, path: true,
		before: declaring("unix"), worker: goServer},
	{name: "path", points: "received listened stored recorded answered", shares: 1, path: true, worker: goServer},
}

// The daemon dies at each step of each kind of call. The call returns 0, what was
// served is served throughout, and the address is held once.
func TestCrashAtEachPoint(t *testing.T) {
	parallel(t)
	for _, s := range scenes {
		for point := range strings.FieldsSeq(s.points) {
			t.Run(s.name+"/"+point, func(t *testing.T) {
				parallel(t)
				s.play(t, "notify."+point)
			})
		}
	}
}

func (s scene) play(t *testing.T, point string) {
	k := newKeeper(t)
	network, addr := "tcp", fmt.Sprintf("127.0.0.1:%d", freePort(t))
	if s.path {
		network, addr = "unix", filepath.Join(t.TempDir(), "s")
	}
	k.launch(point)
	var old *worker
	var l *load
	if s.before != nil {
		old = s.before(k, addr)
	}
	if old != nil {
		l = startLoad(t, network, addr, 2)
	}
	program := s.worker(addr)
	program.even, program.unlink = s.even, s.unlink
	if !s.late {
		k.arm()
	}
	w := k.start(program)
	if s.late {
		w.says("bound")
		k.arm()
		w.cmd.Process.Signal(syscall.SIGUSR1)
	}
	k.dead()
	during := make(chan error, 1)
	if old != nil {
		go func() { _, err := get(network, addr); during <- err }() // ends with the answer
	} else {
		during <- nil
	}
	k.adopt()
	if f := k.listening(w); f.PID != w.cmd.Process.Pid {
		t.Errorf("%+v is not about process %d", f, w.cmd.Process.Pid)
	}
	if err := <-during; err != nil {
		t.Errorf("a connection made while no daemon lived: %v", err)
	}
	if s.late {
		w.says("listening")
	} else if _, err := get(network, addr); err != nil {
		t.Error(err)
	}
	k.check(s, w, old)
	if l != nil {
		l.finish()
	}
	// What is held serves a successor.
	if old != nil {
		k.stop(old, syscall.SIGINT)
	}
	k.stop(w, syscall.SIGKILL)
	next := k.start(func() spec { p := goServer(addr); p.even, p.unlink = s.even, s.unlink; return p }())
	k.listening(next)
	if _, err := get(network, addr); err != nil {
		t.Error(err)
	}
	k.check(s, next)
	k.stop(next, syscall.SIGKILL)
	k.Release("web")
	if len(k.stored) > 0 || len(k.records) > 0 {
		t.Errorf("released, and stored is %v, on record %+v", k.stored, k.records)
	}
}

func (k *keeper) stop(w *worker, sig syscall.Signal) {
	w.stop(sig)
	k.forget(w)
}

// check compares what is held, stored and on record with what workers should have.
func (k *keeper) check(s scene, workers ...*worker) {
	k.t.Helper()
	var ids []uint64
	for _, w := range workers {
		if w != nil {
			ids = append(ids, w.id)
		}
	}
	slices.Sort(ids)
	held := k.Sockets("web")
	if len(held) != 1 || len(held[0].Shares) != s.shares || !held[0].Listening || !slices.Equal(held[0].Workers, ids) {
		k.t.Fatalf("held %+v for %v", held, ids)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	inodes := map[uint64]bool{}
	for name, fd := range k.stored {
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil || inodes[st.Ino] {
			k.t.Errorf("%s is stored twice, or %v", name, err)
		}
		inodes[st.Ino] = true
	}
	if len(inodes) != s.shares || len(k.records) != s.shares {
		k.t.Errorf("%d stored, %d on record", len(inodes), len(k.records))
	}
	for i, r := range k.records {
		if !inodes[r.Inode] || r.Index != i || k.stored[r.Name()] == 0 {
			k.t.Errorf("stored %v, on record %+v", k.stored, r)
		}
		for _, o := range r.Owners {
			if n := len(o.Listens); n > 1 {
				k.t.Errorf("%+v", o)
			}
		}
	}
}

// Daemons are killed at any instant while workers bind and listen: no call fails,
// nothing that is served is refused.
func TestCrashAnywhere(t *testing.T) {
	parallel(t)
	k := newKeeper(t)
	k.launch("")
	addr := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	server := k.start(goServer(addr))
	k.listening(server)
	l := startLoad(t, "tcp", addr, 2)
	storms := []*worker{
		k.start(spec{app: "bad", role: "storm", env: []string{"PORT=" + strconv.Itoa(freePort(t))}}),
		k.start(spec{app: "bad", role: "port-storm", env: []string{"PORT=" + strconv.Itoa(freePort(t))}}),
	}
	for range 15 {
		k.after(1 + rand.IntN(100))
		k.kill()
		k.launch("")
	}
	next := k.start(goServer(addr))
	k.listening(next)
	k.kill()
	k.adopt()
	l.finish()
	for _, w := range storms {
		select {
		case <-w.exited:
			t.Errorf("%s", w.out)
		default:
		}
		k.stop(w, syscall.SIGKILL)
	}
	if held := k.Sockets("web"); len(held) != 1 || len(held[0].Workers) != 2 {
		t.Errorf("%+v", held)
	}
	k.stop(server, syscall.SIGINT)
	k.stop(next, syscall.SIGINT)
	k.Release("web")
	k.Release("bad")
	if len(k.stored) > 0 || len(k.records) > 0 {
		t.Errorf("released, and stored is %v, on record %+v", k.stored, k.records)
	}
}

// The kernel goes on choosing as it was told, and the successor chooses as evenly.
func TestEvenOverCrashes(t *testing.T) {
	parallel(t)
	k := newKeeper(t)
	k.launch("")
	port := freePort(t)
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	s := goServer(addr)
	s.even = true
	var workers []*worker
	for range 3 {
		w := k.start(s)
		k.listening(w)
		k.admit(w)
		workers = append(workers, w)
	}
	// One that is not admitted gets nothing, crash or not.
	k.listening(k.start(s))
	l := startLoad(t, "tcp", addr, 3)
	for range 5 {
		k.kill()
		k.launch("")
	}
	k.kill()
	during := map[string]int{}
	for range 300 {
		pid, err := get("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		during[pid]++
	}
	k.adopt()
	l.finish()
	await(t, "connections to be counted again", func() bool { _, counted := k.Counted(uint16(port)); return counted })
	got := k.spread(addr, 60)
	t.Logf("while no daemon lived %v, 60 after %v", during, got)
	if len(during) > 3 || len(got) != 3 {
		t.Errorf("%v, %v of 3 workers", during, got)
	}
	for _, w := range workers {
		if n := got[strconv.Itoa(w.cmd.Process.Pid)]; n < 17 || n > 23 { // the load may have left them uneven
			t.Errorf("%d of 60", n)
		}
	}
	if held := k.Sockets("web"); len(held) != 1 || len(held[0].Shares) != 4 {
		t.Errorf("%+v", held)
	}
}

// While no daemon lives, calls wait, and then work.
func TestGapIsWaitedFor(t *testing.T) {
	parallel(t)
	k := newKeeper(t)
	peer, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	k.launch("")
	port := freePort(t)
	w := k.start(spec{app: "web", role: "gap", env: []string{"PORT=" + strconv.Itoa(port),
		"PEER=" + strconv.Itoa(peer.Addr().(*net.TCPAddr).Port), "SOURCE=" + strconv.Itoa(freePort(t))}})
	w.says("ready")
	k.kill()
	w.cmd.Process.Signal(syscall.SIGUSR1)
	waiting := []unix.PollFd{{Fd: int32(k.workers[w.id].notify), Events: unix.POLLIN}}
	if n, err := unix.Poll(waiting, int(patience/time.Millisecond)); n != 1 {
		t.Fatalf("nobody waits: %v", err)
	}
	k.adopt()
	w.says("done")
	k.listening(w)
	if held := k.Sockets("web"); len(held) != 1 || held[0].Addr != fmt.Sprintf("tcp://127.0.0.1:%d", port) {
		t.Errorf("%+v", held)
	}
	k.stop(w, syscall.SIGINT)
}
