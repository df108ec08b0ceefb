package ready_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"supervisor/ready"
	"supervisor/ready/gate"
)

// guard is how long a test waits before it says that something hangs.
const guard = 60 * time.Second

func TestMain(m *testing.M) {
	switch mode := os.Getenv("READY_TEST_WORKER"); mode {
	case "":
		goleak.VerifyTestMain(m)
	case "shim": // knows the pid that LISTEN_PID has to be
		os.Setenv("LISTEN_PID", strconv.Itoa(os.Getpid()))
		os.Setenv("READY_TEST_WORKER", os.Getenv("READY_TEST_NEXT"))
		panic(syscall.Exec("/proc/self/exe", os.Args, os.Environ()))
	default:
		workers[mode]()
		os.Exit(0)
	}
}

func say(format string, args ...any) { fmt.Printf(format+"\n", args...) }

// workers are what the test binary is as a worker.
var workers = map[string]func(){
	"notify": func() {
		say("%v", ready.Status("warming\nup") != nil)
		say("%v", ready.ExtendTimeout(3*time.Second))
		say("%v", ready.Notify())
		say("%v", ready.Notify())
		say("%v %v", ready.Status("serving"), ready.Stopping())
		for _, v := range os.Environ() {
			if strings.HasPrefix(v, "READY_FD") || strings.HasPrefix(v, "NOTIFY_") || strings.HasPrefix(v, "LISTEN_") {
				say("left: %s", v)
			}
		}
	},
	"inherit": func() {
		ready.Listeners()
		out, _ := exec.Command("sh", "-c", "ls -l /proc/self/fd; env").CombinedOutput()
		for line := range strings.Lines(string(out)) {
			if strings.Contains(line, "socket:") || strings.Contains(line, "READY_FD") || strings.Contains(line, os.Getenv("READY_TEST_PIPE")) {
				say("inherited: %s", strings.TrimSpace(line))
			}
		}
		say("%v", ready.Notify())
	},
	"listeners": func() {
		lns, err := ready.Listeners()
		say("%d %v", len(lns), err)
		for _, ln := range lns {
			say("%s", ln.Addr())
		}
		byName, err := ready.ListenersByName()
		say("%d %v", len(byName), err)
		ln, err := ready.Listener("admin")
		say("%v %v", err == nil && len(byName["admin"]) == 2 && ln == byName["admin"][0], err)
		_, err = ready.Listener("nobody")
		say("%v %v", errors.Is(err, ready.ErrNotPassed), err)
		for _, ln := range lns {
			ln.Close()
		}
	},
	"refused": func() {
		lns, err := ready.Listeners()
		say("%d %v", len(lns), err)
		byName, err := ready.ListenersByName()
		say("%d %v", len(byName), err != nil)
	},
	"server": func() {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
		defer stop()
		lns, err := ready.Listeners()
		if err != nil || len(lns) != 1 {
			say("%d %v", len(lns), err)
			return
		}
		begun := make(chan struct{}, 1)
		server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/slow" { // ends in the drain
				begun <- struct{}{}
				<-ctx.Done()
			}
			fmt.Fprint(w, os.Getpid())
		})}
		go server.Serve(lns[0]) // ends with Shutdown
		go func() { <-begun; say("begun") }()
		ready.Notify()
		<-ctx.Done()
		say("%v", server.Shutdown(context.Background()))
	},
}

// worker is the test binary, re-executed.
type worker struct {
	t   *testing.T
	pid int
	out *bufio.Reader
}

// start runs a worker with these descriptors from 3 up. They stay the caller's.
func start(t *testing.T, mode string, files []int, env ...string) *worker {
	t.Helper()
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	out := os.NewFile(uintptr(p[0]), "stdout")
	t.Cleanup(func() { out.Close() })
	all := []uintptr{uintptr(p[1]), uintptr(p[1]), 2} // 0 is not read
	for _, fd := range files {
		all = append(all, uintptr(fd))
	}
	if slices.ContainsFunc(env, func(v string) bool { return strings.HasPrefix(v, "LISTEN_FDS=") }) {
		env = append(env, "READY_TEST_NEXT="+mode)
		mode = "shim"
	}
	// The race detector lets a process linger for a second at its end.
	env = append(append(os.Environ(), "GORACE=atexit_sleep_ms=0", "READY_TEST_WORKER="+mode), env...)
	pid, err := syscall.ForkExec("/proc/self/exe", []string{"worker"}, &syscall.ProcAttr{Env: env, Files: all})
	unix.Close(p[1])
	if err != nil {
		t.Fatal(err)
	}
	w := &worker{t: t, pid: pid, out: bufio.NewReader(out)}
	t.Cleanup(func() {
		if w.pid != 0 {
			unix.Kill(w.pid, unix.SIGKILL)
			w.exit()
		}
	})
	return w
}

func (w *worker) line() string {
	w.t.Helper()
	s, err := w.out.ReadString('\n')
	if err != nil {
		w.t.Fatal(err)
	}
	return strings.TrimSpace(s)
}

// exit waits for the worker's end and returns what else it said.
func (w *worker) exit() (said []string, ws syscall.WaitStatus) {
	w.t.Helper()
	b, err := io.ReadAll(w.out)
	if err != nil {
		w.t.Fatal(err)
	}
	for {
		_, err := syscall.Wait4(w.pid, &ws, 0, nil)
		if err == nil {
			w.pid = 0
			return strings.Split(strings.TrimSpace(string(b)), "\n"), ws
		}
		if err != syscall.EINTR {
			w.t.Fatal(err)
		}
	}
}

func (w *worker) wantSaid(want ...string) {
	w.t.Helper()
	said, ws := w.exit()
	if !slices.Equal(said, want) || ws != 0 {
		w.t.Fatalf("said %q, exit %v; want %q", said, ws, want)
	}
}

// gates opens the supervisor's end.
func gates(t *testing.T, cfg gate.Config) (*gate.Gates, gate.Child, chan gate.Fact) {
	t.Helper()
	said := make(chan gate.Fact, 1000)
	cfg.Allow = func(int32, uint32) bool { return true }
	g, c, err := gate.Open(cfg, func(f gate.Fact) { said <- f })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	return g, c, said
}

func want(t *testing.T, said chan gate.Fact, facts ...gate.Fact) {
	t.Helper()
	for _, w := range facts {
		select {
		case f := <-said:
			if f != w {
				t.Fatalf("got %#v, want %#v", f, w)
			}
		case <-time.After(guard):
			t.Fatalf("%#v didn't come", w)
		}
	}
}

func TestWithoutSupervisor(t *testing.T) {
	start(t, "notify", nil).wantSaid("false", "<nil>", "<nil>", "<nil>", "<nil> <nil>")
	start(t, "refused", nil).wantSaid("0 <nil>", "0 false")
}

func TestNotifyByReadyFD(t *testing.T) {
	g, c, said := gates(t, gate.Config{FD: true})
	w := start(t, "notify", c.Files, c.Env(3)...)
	g.CloseChild()
	g.Start()
	want(t, said, gate.Ready{Via: gate.ReadyFD})
	w.wantSaid("false", "<nil>", "<nil>", "<nil>", "<nil> <nil>")
	if err := g.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestNotifyBySocket(t *testing.T) {
	g, c, said := gates(t, gate.Config{Notify: true})
	w := start(t, "notify", c.Files, c.Env(3)...)
	g.CloseChild()
	g.Start()
	want(t, said, gate.ExtendTimeout{D: 3 * time.Second}, gate.Ready{Via: gate.NotifySocket},
		gate.Status{Text: "serving"}, gate.Stopping{})
	w.wantSaid("true", "<nil>", "<nil>", "<nil>", "<nil> <nil>")
}

func TestNotifyByBoth(t *testing.T) {
	g, c, said := gates(t, gate.Config{FD: true, Notify: true})
	w := start(t, "notify", c.Files, c.Env(3)...)
	g.CloseChild()
	g.Start()
	var kinds []string
	for range 4 {
		kinds = append(kinds, fmt.Sprintf("%T", <-said))
	}
	slices.Sort(kinds) // two channels: no order between them
	if got := strings.Join(kinds, " "); got != "gate.ExtendTimeout gate.Ready gate.Status gate.Stopping" {
		t.Fatal(got)
	}
	w.wantSaid("true", "<nil>", "<nil>", "<nil>", "<nil> <nil>")
}

func TestBadReadyFDFallsBack(t *testing.T) {
	for _, value := range []string{"99", "x", "-1", "0"} {
		g, c, said := gates(t, gate.Config{Notify: true})
		null, err := os.Open("/dev/null")
		if err != nil {
			t.Fatal(err)
		}
		if value == "0" {
			value = "3" // not a pipe
		}
		w := start(t, "notify", []int{int(null.Fd())}, append(c.Env(3), "READY_FD="+value)...)
		null.Close()
		g.CloseChild()
		g.Start()
		want(t, said, gate.ExtendTimeout{D: 3 * time.Second}, gate.Ready{Via: gate.NotifySocket})
		w.wantSaid("true", "<nil>", "<nil>", "<nil>", "<nil> <nil>")
	}
	start(t, "notify", nil, "READY_FD=x").wantSaid("false", "<nil>",
		`cannot use READY_FD="x": not a descriptor`, `cannot use READY_FD="x": not a descriptor`, "<nil> <nil>")
}

func TestSupervisorIsGone(t *testing.T) {
	g, c, _ := gates(t, gate.Config{FD: true})
	var fd int
	fd, err := unix.FcntlInt(uintptr(c.Files[0]), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	g.Close()
	w := start(t, "notify", []int{fd}, "READY_FD=3")
	unix.Close(fd)
	const broken = "cannot say ready on READY_FD=3: broken pipe"
	w.wantSaid("false", "<nil>", broken, broken, "<nil> <nil>")
}

func TestChildrenInheritNothing(t *testing.T) {
	g, c, said := gates(t, gate.Config{FD: true})
	var st unix.Stat_t
	if err := unix.Fstat(c.Files[0], &st); err != nil {
		t.Fatal(err)
	}
	ln := listenOn(t, "tcp", "127.0.0.1:0")
	pipe := fmt.Sprintf("pipe:[%d]", st.Ino)
	w := start(t, "inherit", []int{ln, c.Files[0]}, append(c.Env(4), "LISTEN_FDS=1", "READY_TEST_PIPE="+pipe)...)
	g.CloseChild()
	g.Start()
	want(t, said, gate.Ready{Via: gate.ReadyFD})
	// The variable of this test itself is the only trace.
	w.wantSaid("inherited: READY_TEST_PIPE="+pipe, "<nil>")
}

// listenOn opens a listening socket as a raw, non-blocking descriptor.
func listenOn(t *testing.T, network, addr string) int {
	t.Helper()
	ln, err := net.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	f, err := ln.(interface{ File() (*os.File, error) }).File()
	if err != nil {
		t.Fatal(err)
	}
	var fd int
	raw, err := f.SyscallConn()
	if err == nil {
		err = raw.Control(func(u uintptr) { fd, err = unix.FcntlInt(u, unix.F_DUPFD_CLOEXEC, 0) })
	}
	f.Close()
	if u, ok := ln.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false)
	}
	ln.Close()
	if err != nil || !nonblocking(t, fd) {
		t.Fatal("no descriptor", err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

func nonblocking(t *testing.T, fd int) bool {
	t.Helper()
	fl, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil {
		t.Fatal(err)
	}
	return fl&unix.O_NONBLOCK != 0
}

func addr(t *testing.T, fd int) string {
	t.Helper()
	sa, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("127.0.0.1:%d", sa.(*unix.SockaddrInet4).Port)
}

func TestListeners(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	fds := []int{listenOn(t, "tcp", "127.0.0.1:0"), listenOn(t, "unix", path), listenOn(t, "tcp", "127.0.0.1:0")}
	w := start(t, "listeners", fds, "LISTEN_FDS=3", "LISTEN_FDNAMES=web:admin:admin")
	w.wantSaid("3 <nil>", addr(t, fds[0]), path, addr(t, fds[2]), "2 <nil>", "true <nil>",
		`true cannot use listener "nobody": not passed by the supervisor`)
	for _, fd := range fds {
		if !nonblocking(t, fd) {
			t.Errorf("descriptor %d has become blocking", fd)
		}
	}
	if _, err := os.Stat(path); err != nil {
		t.Error("the worker has removed the socket: ", err)
	}
}

func TestListenersRefused(t *testing.T) {
	tcp := listenOn(t, "tcp", "127.0.0.1:0")
	udp, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(udp)
	for _, c := range []struct {
		files []int
		env   []string
		said  string
	}{
		{[]int{tcp}, []string{"LISTEN_FDS=x"}, `0 cannot use LISTEN_FDS="x": not a number of descriptors`},
		{[]int{tcp}, []string{"LISTEN_FDS=-1"}, `0 cannot use LISTEN_FDS="-1": not a number of descriptors`},
		{[]int{tcp}, []string{"LISTEN_FDS=4000"}, `0 cannot use LISTEN_FDS=4000: descriptor `},
		{[]int{tcp}, []string{"LISTEN_FDS=1", "LISTEN_FDNAMES=a:b"}, `0 cannot use LISTEN_FDNAMES="a:b": 2 names for 1 descriptors`},
		{[]int{tcp, udp}, []string{"LISTEN_FDS=2"}, `0 cannot use the passed descriptor 4 as a listener: it doesn't listen`},
	} {
		w := start(t, "refused", c.files, c.env...)
		said, ws := w.exit()
		if len(said) != 2 || !strings.HasPrefix(said[0], c.said) || said[1] != "0 true" || ws != 0 {
			t.Errorf("%v: %q, exit %v; want %q", c.env, said, ws, c.said)
		}
	}
	// Another process's.
	w := start(t, "refused", []int{tcp}, "LISTEN_PID=1", "READY_TEST_NEXT=", "LISTEN_FDNAMES=a")
	w.wantSaid("0 <nil>", "0 false")
}

// TestServer replaces a server that follows the package's doc, with a request in flight.
func TestServer(t *testing.T) {
	fd := listenOn(t, "tcp", "127.0.0.1:0")
	url := "http://" + addr(t, fd)
	spawn := func() *worker {
		g, c, said := gates(t, gate.Config{FD: true})
		w := start(t, "server", append([]int{fd}, c.Files...), append(c.Env(4), "LISTEN_FDS=1")...)
		g.CloseChild()
		g.Start()
		want(t, said, gate.Ready{Via: gate.ReadyFD})
		return w
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: guard}
	get := func(path string) (pid int, err error) {
		resp, err := client.Get(url + path)
		if err != nil {
			return 0, err
		}
		defer resp.Body.Close()
		return pid, json.NewDecoder(resp.Body).Decode(&pid)
	}
	old := spawn()
	oldPID := old.pid
	slow := make(chan error, 1)
	go func() { // ends with the old worker's answer
		pid, err := get("/slow")
		if err == nil && pid != oldPID {
			err = fmt.Errorf("answered by %d", pid)
		}
		slow <- err
	}()
	if s := old.line(); s != "begun" {
		t.Fatal(s)
	}
	successor := spawn()
	unix.Kill(old.pid, unix.SIGINT)
	if err := <-slow; err != nil {
		t.Fatal(err)
	}
	old.wantSaid("<nil>")
	if pid, err := get("/"); err != nil || pid != successor.pid {
		t.Fatalf("answered by %d, %v; want %d", pid, err, successor.pid)
	}
	unix.Kill(successor.pid, unix.SIGINT)
	successor.wantSaid("<nil>")
	if !nonblocking(t, fd) {
		t.Error("the socket has become blocking")
	}
}
