package listener_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"supervisor/supervisor/listener"
)

// A socket bound to a source port is its worker's alone: with the table
// standing still, so that nothing is let go by a timer, its FIN arrives.
func TestOutgoingIsNotCaptured(t *testing.T) {
	parallel(t)
	r := newRig(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	w := r.start(spec{app: "web", role: "outgoing", env: []string{
		"PORT=" + strconv.Itoa(ln.Addr().(*net.TCPAddr).Port), "SOURCE=" + strconv.Itoa(freePort(t))}})
	c, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	r.Quiesce()
	c.Write([]byte{1})
	c.SetReadDeadline(time.Now().Add(patience))
	if _, err := c.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("no FIN: %v", err)
	}
	r.Resume()
	if held := r.Sockets("web"); len(held) != 0 {
		t.Errorf("captured: %+v", held)
	}
	w.stop(syscall.SIGINT)
}

// Port 0, UDP, abstract and SEQPACKET sockets, netlink, and what the kernel
// refuses are untouched.
func TestOthersAreUntouched(t *testing.T) {
	parallel(t)
	r := newRig(t)
	w := r.start(spec{app: "web", role: "others", env: []string{
		"PORT=" + strconv.Itoa(freePort(t)), "SEQPACKET=" + filepath.Join(t.TempDir(), "s")}})
	w.wait()
	if !w.cmd.ProcessState.Success() {
		t.Error("failed")
	}
	if held := r.Sockets("web"); len(held) != 0 {
		t.Errorf("captured: %+v", held)
	}
	for _, f := range r.all() {
		t.Errorf("fact %+v", f)
	}
}

func TestBindFromAnotherThread(t *testing.T) {
	parallel(t)
	r := newRig(t)
	port := freePort(t)
	args := []string{has(t, "python3"), "testdata/thread_bind.py", strconv.Itoa(port)}
	one, two := r.start(spec{app: "web", args: args}), r.start(spec{app: "web", args: args})
	for _, w := range []*worker{one, two} {
		if f := r.listening(w); f.PID != w.cmd.Process.Pid {
			t.Errorf("%+v is not about process %d", f, w.cmd.Process.Pid)
		}
	}
	if _, err := get("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err != nil {
		t.Error(err)
	}
	if held := r.Sockets("web"); len(held) != 1 {
		t.Errorf("held: %+v", held)
	}
	one.stop(syscall.SIGKILL)
	two.stop(syscall.SIGKILL)
}

// A probe in a child that has died leaves a socket that nobody has; it gives
// way to the address that the program wants.
func TestProbeInAChild(t *testing.T) {
	parallel(t)
	r := newRig(t)
	port := freePort(t)
	w := r.start(spec{app: "web", role: "fork-probe", env: []string{"PORT=" + strconv.Itoa(port)}})
	addr := fmt.Sprintf("tcp://[::]:%d", port)
	want(r, func(f listener.Listening) bool { return f.Addr == addr })
	if held := r.Sockets("web"); len(held) != 1 || held[0].Addr != addr {
		t.Errorf("held: %+v", held)
	}
	w.stop(syscall.SIGINT)
}

// shutdown(2) by one worker closes the site; it is open again at once.
func TestShutdownIsUndone(t *testing.T) {
	parallel(t)
	r := newRig(t)
	port := freePort(t)
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	server := r.start(spec{app: "web", role: "serve", env: []string{"ADDR=" + addr}})
	r.listening(server)
	bad := r.start(spec{app: "web", role: "shutdown", env: []string{"PORT=" + strconv.Itoa(port)}})
	if f := want(r, func(f listener.Hung) bool { return f.App == "web" }); f.Err != nil {
		t.Fatal(f.Err)
	}
	// A server may have seen the accept fail and ended; the socket serves.
	next := r.start(spec{app: "web", role: "serve", env: []string{"ADDR=" + addr}})
	if _, err := get("tcp", addr); err != nil {
		t.Error(err)
	}
	bad.stop(syscall.SIGINT)
	server.stop(syscall.SIGINT)
	next.stop(syscall.SIGINT)
}

// Two workers bind before either listens: with SO_REUSEADDR the kernel lets
// both, and the second gets the first one's socket at listen; without, at bind.
func TestBoundBeforeListening(t *testing.T) {
	parallel(t)
	for _, reuse := range []string{"", "1"} {
		t.Run("reuse"+reuse, func(t *testing.T) {
			parallel(t)
			r := newRig(t)
			port := freePort(t)
			s := spec{app: "web", role: "late-listen", env: []string{"PORT=" + strconv.Itoa(port), "REUSE=" + reuse}}
			one, two := r.start(s), r.start(s)
			one.says("bound")
			two.says("bound")
			for _, w := range []*worker{one, two} {
				w.cmd.Process.Signal(syscall.SIGUSR1)
				r.listening(w)
				w.says("listening")
			}
			if held := r.Sockets("web"); len(held) != 1 || len(held[0].Workers) != 2 {
				t.Errorf("%+v", held)
			}
			// Each of them accepts what the other would.
			for _, w := range []*worker{two, one} {
				c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
				if err != nil {
					t.Fatal(err)
				}
				w.cmd.Process.Signal(syscall.SIGUSR1)
				w.says("accepted")
				c.Close()
				w.stop(syscall.SIGINT)
			}
		})
	}
}

// Where pidfd_getfd is refused we make the socket ourselves.
func TestTakingIsRefused(t *testing.T) {
	parallel(t)
	for _, c := range []struct {
		name string
		spec func(port int) spec
		most int // sockets
	}{
		{"go", func(port int) spec {
			return spec{role: "serve", env: []string{fmt.Sprintf("ADDR=127.0.0.1:%d", port)}}
		}, 1},
		{"asyncio", func(port int) spec {
			return spec{args: []string{has(t, "python3"), "testdata/asyncio_server.py", strconv.Itoa(port)}}
		}, 2},
		{"node", func(port int) spec {
			return spec{args: []string{has(t, "node"), "testdata/server.js"}, env: []string{"PORT=" + strconv.Itoa(port)}}
		}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			parallel(t)
			r := newRig(t)
			r.RefuseTaking(unix.EPERM)
			port := freePort(t)
			s := c.spec(port)
			s.app = "web"
			w := r.start(s)
			r.listening(w)
			l := startLoad(t, "tcp", fmt.Sprintf("127.0.0.1:%d", port), 2)
			for range 2 {
				next := r.start(s)
				r.listening(next)
				w.stop(syscall.SIGINT)
				w = next
			}
			l.finish()
			// V6ONLY can't be seen: [::] may have become one for both families.
			if held := r.Sockets("web"); len(held) == 0 || len(held) > c.most {
				t.Errorf("%+v", held)
			}
			w.stop(syscall.SIGINT)
		})
	}
}

// Our copy of a socket that can't be taken is kept for as long as a program may need
// between bind and listen, whatever else is looked at meanwhile.
func TestOwnCandidateIsKept(t *testing.T) {
	parallel(t)
	const kept = time.Second // settleTime
	r := newRig(t)
	r.RefuseTaking(unix.EPERM)
	late := func() (w *worker, began time.Time) {
		began = time.Now()
		w = r.start(spec{app: "web", role: "late-listen", env: []string{"PORT=" + strconv.Itoa(freePort(t))}})
		w.says("bound")
		return w, began
	}
	for range 10 {
		one, began := late() // which is forgotten when kept has passed
		time.Sleep(kept / 2)
		two, young := late()
		time.Sleep(time.Until(began.Add(kept * 11 / 10)))
		two.cmd.Process.Signal(syscall.SIGUSR1)
		two.says("listening")
		held := r.Sockets("web")
		inTime := time.Since(young) < kept
		one.stop(syscall.SIGKILL)
		two.stop(syscall.SIGKILL)
		r.Release("web")
		if inTime {
			if len(held) != 1 {
				t.Errorf("held: %+v", held)
			}
			return
		}
	}
	t.Skip("the machine is too busy to see it")
}

// python asks for a backlog of 5, on a socket that all share.
func TestBacklogIsNotReset(t *testing.T) {
	parallel(t)
	r := newRig(t)
	port := freePort(t)
	if err := r.Open("web", []listener.Declared{{Network: "tcp", Address: fmt.Sprintf("127.0.0.1:%d", port)}}); err != nil {
		t.Fatal(err)
	}
	w := r.start(spec{app: "web", args: []string{has(t, "python3"), "testdata/thread_bind.py", strconv.Itoa(port)}})
	r.listening(w)
	info, err := unix.GetsockoptTCPInfo(r.files("web", []listener.Declared{{Network: "tcp", Address: fmt.Sprintf("127.0.0.1:%d", port)}})[0].FD, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		t.Fatal(err)
	}
	if info.Sacked < 128 { // of a listening socket: its backlog
		t.Errorf("backlog %d", info.Sacked)
	}
	w.stop(syscall.SIGKILL)
}

// With our privilege an unprivileged worker gets a low port.
func TestLowPortUnprivileged(t *testing.T) {
	parallel(t)
	if os.Getuid() != 0 {
		t.Skip("not root")
	}
	const nobody = 65534
	node := has(t, "node")
	script := filepath.Join(t.TempDir(), "server.js")
	code, err := os.ReadFile("testdata/server.js")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(script, code, 0o644); err != nil {
		t.Fatal(err)
	}
	for dir := filepath.Dir(script); dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		os.Chmod(dir, 0o755)
	}
	port := 0
	for p := 1000; p > 700 && port == 0; p-- {
		if ln, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", p)); err == nil {
			ln.Close()
			port = p
		}
	}
	r := newRig(t)
	w := r.start(spec{app: "web", uid: nobody, args: []string{node, script},
		env: []string{"PORT=" + strconv.Itoa(port), "HOST=127.0.0.1"}})
	r.listening(w)
	if _, err := get("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err != nil {
		t.Error(err)
	}
	w.stop(syscall.SIGINT)
}

// Workers that bind as fast as they can keep nobody else from binding, and
// make nothing grow.
func TestStorms(t *testing.T) {
	parallel(t)
	for _, role := range []string{"storm", "port-storm"} {
		t.Run(role, func(t *testing.T) {
			parallel(t)
			r := newRig(t)
			r.start(spec{app: "bad", role: role, env: []string{"PORT=" + strconv.Itoa(freePort(t))}})
			want(r, func(f listener.Bound) bool { return f.App == "bad" })
			for range 5 {
				addr := fmt.Sprintf("127.0.0.1:%d", freePort(t))
				w := r.start(spec{app: "good", role: "serve", env: []string{"ADDR=" + addr}})
				r.listening(w)
				if _, err := get("tcp", addr); err != nil {
					t.Error(err)
				}
				w.stop(syscall.SIGINT)
			}
			if n := len(r.Sockets("bad")); n > 256 {
				t.Errorf("%d sockets held", n)
			}
			if n := len(r.all()); n > 5000 {
				t.Errorf("%d facts", n)
			}
		})
	}
}

// full is a store that takes nothing.
type full struct{}

func (full) Push(string, int) error { return errors.New("it is full") }
func (full) Remove(string) error    { return nil }

// Where nothing can be stored any more that is said, but not of every address that a
// worker comes up with.
func TestReasonsAreLimited(t *testing.T) {
	parallel(t)
	r := newRigWith(t, listener.Config{Store: full{}})
	r.start(spec{app: "bad", role: "port-storm", env: []string{"PORT=" + strconv.Itoa(freePort(t))}})
	told := func() (listening, reasons int) {
		for _, f := range r.all() {
			switch f := f.(type) {
			case listener.Listening:
				listening++
			case listener.Unavailable:
				if strings.Contains(f.Reason, "it is full") {
					reasons++
				}
			}
		}
		return listening, reasons
	}
	await(t, "it to listen on many addresses", func() bool { n, _ := told(); return n > 100 })
	if _, n := told(); n == 0 || n > 32 {
		t.Errorf("said %d times", n)
	}
}

// A worker that is killed while its bind is in hand is no error to anybody.
func TestKilledInBind(t *testing.T) {
	parallel(t)
	r := newRig(t)
	for range 20 {
		w := r.start(spec{app: "web", role: "storm", env: []string{"PORT=" + strconv.Itoa(freePort(t))}})
		want(r, func(f listener.Bound) bool { return f.Worker == w.id })
		w.stop(syscall.SIGKILL)
	}
	addr := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	w := r.start(spec{app: "web", role: "serve", env: []string{"ADDR=" + addr}})
	r.listening(w)
	w.stop(syscall.SIGINT)
}

// A quiesced table answers nobody; what was asked meanwhile is answered after.
func TestQuiesce(t *testing.T) {
	parallel(t)
	r := newRig(t)
	addr := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	r.Quiesce()
	w := r.start(spec{app: "web", role: "serve", env: []string{"ADDR=" + addr}})
	if held := r.Sockets("web"); len(held) != 0 {
		t.Errorf("held: %+v", held)
	}
	r.Resume()
	r.listening(w)
	for range 50 {
		r.Quiesce()
		r.Resume()
	}
	w.stop(syscall.SIGINT)
}

// A reader ends by itself with the last process that has its filter.
func TestReaderEndsWithItsWorker(t *testing.T) {
	r := newRig(t)
	before := descriptors()
	w := r.start(spec{app: "web", role: "others", env: []string{
		"PORT=" + strconv.Itoa(freePort(t)), "SEQPACKET=" + filepath.Join(t.TempDir(), "s")}})
	w.wait()
	await(t, "the reader to close its descriptor", func() bool { return descriptors() <= before })
}

func TestDetachWhileAlive(t *testing.T) {
	parallel(t)
	r := newRig(t)
	w := r.start(spec{app: "web", role: "storm", env: []string{"PORT=" + strconv.Itoa(freePort(t))}})
	want(r, func(f listener.Bound) bool { return f.Worker == w.id })
	r.Detach(w.id)
	w.wait() // its next bind is ENOSYS
	if w.cmd.ProcessState.Success() {
		t.Error("it goes on")
	}
}

func TestChangedPortRefuses(t *testing.T) {
	r := newRig(t)
	old, now := fmt.Sprintf("127.0.0.1:%d", freePort(t)), fmt.Sprintf("127.0.0.1:%d", freePort(t))
	one := r.start(spec{app: "web", role: "serve", env: []string{"ADDR=" + old}})
	r.listening(one)
	two := r.start(spec{app: "web", role: "serve", env: []string{"ADDR=" + now}})
	r.listening(two)
	one.stop(syscall.SIGINT)
	r.Retain("web", nil, []uint64{two.id})
	want(r, func(f listener.Closed) bool { return f.Addr == "tcp://"+old })
	if _, err := get("tcp", old); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("the old port: %v", err)
	}
	if _, err := get("tcp", now); err != nil {
		t.Error(err)
	}
	two.stop(syscall.SIGINT)
}
