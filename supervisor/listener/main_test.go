package listener_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"supervisor/supervisor/listener"
	"supervisor/supervisor/process"
)

// patience is the deadline of every wait: a guard against hanging, no measure.
const patience = 30 * time.Second

// The test binary plays the exec shim and some of the programs.
const roleEnv = "LISTENER_TEST_ROLE"

func TestMain(m *testing.M) {
	switch os.Getenv(roleEnv) {
	case "":
		os.Exit(m.Run())
	case "shim":
		fmt.Fprintln(os.Stderr, "shim:", shim())
	case "serve":
		fmt.Fprintln(os.Stderr, "serve:", serve())
	default:
		fmt.Fprintln(os.Stderr, program(os.Getenv(roleEnv)))
	}
	os.Exit(1)
}

// shim installs the filter, gives its descriptor away and becomes the program.
func shim() error {
	runtime.LockOSThread()
	fd, err := process.InstallFilter(os.Getenv("SHIM_UNLINK") != "")
	if err != nil {
		return err
	}
	if err := unix.Sendmsg(3, []byte{1}, unix.UnixRights(fd), nil, 0); err != nil {
		return err
	}
	unix.Close(fd)
	if n, err := unix.Read(3, make([]byte, 1)); n != 1 {
		return fmt.Errorf("no go byte: %v", err)
	}
	unix.CloseOnExec(3)
	if n, _ := strconv.Atoi(os.Getenv("SHIM_UID")); n != 0 {
		if err := syscall.Setuid(n); err != nil {
			return err
		}
	}
	path, err := exec.LookPath(os.Args[1])
	if err != nil {
		return err
	}
	os.Setenv(roleEnv, os.Getenv("SHIM_ROLE"))
	return syscall.Exec(path, os.Args[1:], os.Environ())
}

// serve is an ordinary Go server that drains on SIGINT.
func serve() error {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt)
	network := "tcp"
	if strings.HasPrefix(os.Getenv("ADDR"), "/") {
		network = "unix"
	}
	ln, err := net.Listen(network, os.Getenv("ADDR"))
	if err != nil {
		return err
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, os.Getpid())
	})}
	done := make(chan struct{})
	go func() { // ends with the program
		<-stop
		srv.Shutdown(context.Background())
		close(done)
	}()
	if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	<-done
	os.Exit(0)
	return nil
}

// rig is a table with the facts that it told.
type rig struct {
	*listener.Table
	t     *testing.T
	mu    sync.Mutex
	facts []listener.Fact
	more  chan struct{} // closed and replaced with every fact
	ids   atomic.Uint64
}

func newRig(t *testing.T) *rig {
	t.Helper()
	fds := countFDs(t)
	goroutines := runtime.NumGoroutine()
	r := &rig{t: t, more: make(chan struct{})}
	r.Table = listener.New(listener.Config{Facts: r.record})
	t.Cleanup(func() {
		r.Close()
		http.DefaultClient.CloseIdleConnections()
		await(t, "goroutines to end", func() bool { return runtime.NumGoroutine() <= goroutines })
		if n := countFDs(t); n > fds {
			t.Errorf("%d descriptors before, %d after:\n%s", fds, n, listFDs())
		}
	})
	return r
}

// await is for what has no event: the end of other goroutines.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !ok() {
		if time.Now().After(deadline) {
			buf := make([]byte, 1<<16)
			t.Errorf("waited in vain for %s:\n%s", what, buf[:runtime.Stack(buf, true)])
			return
		}
		runtime.Gosched()
	}
}

func (r *rig) record(f listener.Fact) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.facts = append(r.facts, f)
	close(r.more)
	r.more = make(chan struct{})
}

func (r *rig) all() []listener.Fact {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]listener.Fact(nil), r.facts...)
}

// want waits for a fact of type F that matches.
func want[F listener.Fact](r *rig, match func(F) bool) F {
	r.t.Helper()
	timeout := time.After(patience)
	for i := 0; ; {
		r.mu.Lock()
		facts, more := r.facts, r.more
		r.mu.Unlock()
		for ; i < len(facts); i++ {
			if f, ok := facts[i].(F); ok && match(f) {
				return f
			}
		}
		select {
		case <-more:
		case <-timeout:
			var f F
			r.t.Fatalf("no such %T among %+v", f, facts)
		}
	}
}

func (r *rig) listening(w *worker) listener.Listening {
	r.t.Helper()
	return want(r, func(f listener.Listening) bool { return f.Worker == w.id })
}

// worker is a program under the filter.
type worker struct {
	r      *rig
	id     uint64
	cmd    *exec.Cmd
	out    *strings.Builder
	exited chan struct{}
}

// spec says what to start.
type spec struct {
	app    string
	slot   int
	unlink bool
	uid    int
	role   string // of the test binary, when args is empty
	args   []string
	env    []string
	dir    string
}

func (r *rig) start(s spec) *worker {
	r.t.Helper()
	self, err := os.Executable()
	if err != nil {
		r.t.Fatal(err)
	}
	if len(s.args) == 0 {
		s.args = []string{self}
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		r.t.Fatal(err)
	}
	defer unix.Close(pair[0])
	theirs := os.NewFile(uintptr(pair[1]), "shim")
	w := &worker{r: r, id: r.ids.Add(1), out: &strings.Builder{}, exited: make(chan struct{})}
	w.cmd = exec.Command(self, s.args...)
	w.cmd.Env = append(os.Environ(), append(s.env, roleEnv+"=shim", "SHIM_ROLE="+s.role)...)
	if s.unlink {
		w.cmd.Env = append(w.cmd.Env, "SHIM_UNLINK=1")
	}
	if s.uid != 0 {
		w.cmd.Env = append(w.cmd.Env, "SHIM_UID="+strconv.Itoa(s.uid))
	}
	w.cmd.Dir = s.dir
	w.cmd.ExtraFiles = []*os.File{theirs}
	w.cmd.Stdout, w.cmd.Stderr = w.out, w.out
	w.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := w.cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	theirs.Close()
	go func() { w.cmd.Wait(); close(w.exited) }() // ends with the program
	r.t.Cleanup(func() {
		syscall.Kill(-w.cmd.Process.Pid, syscall.SIGKILL)
		<-w.exited
		r.Detach(w.id)
		if r.t.Failed() {
			r.t.Logf("worker %d (%v): %v\n%s", w.id, s.args, w.cmd.ProcessState, w.out)
		}
	})
	oob := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(pair[0], make([]byte, 1), oob, unix.MSG_CMSG_CLOEXEC)
	if err != nil || n == 0 {
		<-w.exited
		r.t.Fatalf("no notify descriptor: %v: %s", err, w.out)
	}
	messages, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil {
		r.t.Fatal(err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		r.t.Fatal(err)
	}
	if err := r.Attach(listener.Worker{ID: w.id, App: s.app, Slot: s.slot, PID: w.cmd.Process.Pid}, fds[0]); err != nil {
		r.t.Fatal(err)
	}
	if _, err := unix.Write(pair[0], []byte{1}); err != nil {
		r.t.Fatal(err)
	}
	return w
}

// stop sends a signal and waits for the end.
func (w *worker) stop(sig syscall.Signal) {
	w.r.t.Helper()
	w.cmd.Process.Signal(sig)
	w.wait()
	w.r.Detach(w.id)
}

func (w *worker) wait() {
	w.r.t.Helper()
	select {
	case <-w.exited:
	case <-time.After(patience):
		w.r.t.Fatalf("worker %d does not end", w.id)
	}
}

// freePort is one that nobody listens on at the moment.
func freePort(t *testing.T) int {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).Port
}

// load is clients that make a new connection for each request.
type load struct {
	t            *testing.T
	stop         chan struct{}
	wg           sync.WaitGroup
	ok, failed   atomic.Int64
	answers      sync.Map // body -> struct{}
	firstFailure atomic.Value
}

func startLoad(t *testing.T, network, addr string, clients int) *load {
	l := &load{t: t, stop: make(chan struct{})}
	for range clients {
		l.wg.Add(1)
		go func() { // ends with finish
			defer l.wg.Done()
			for {
				select {
				case <-l.stop:
					return
				default:
				}
				body, err := get(network, addr)
				if err != nil {
					l.failed.Add(1)
					l.firstFailure.CompareAndSwap(nil, err.Error())
					continue
				}
				l.ok.Add(1)
				l.answers.Store(body, struct{}{})
			}
		}()
	}
	return l
}

// get makes one request on a connection of its own.
func get(network, addr string) (string, error) {
	c, err := net.DialTimeout(network, addr, patience)
	if err != nil {
		return "", err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"); err != nil {
		return "", err
	}
	b, err := io.ReadAll(c)
	if err != nil {
		return "", err
	}
	_, body, ok := strings.Cut(string(b), "\r\n\r\n")
	if !ok || !strings.Contains(string(b[:min(len(b), 16)]), " 200 ") {
		return "", fmt.Errorf("no answer: %q", b)
	}
	return body, nil
}

// finish ends the clients and complains about every lost request.
func (l *load) finish() {
	l.t.Helper()
	close(l.stop)
	l.wg.Wait()
	l.t.Logf("%d requests", l.ok.Load())
	if n := l.failed.Load(); n > 0 {
		l.t.Errorf("%d of %d requests failed, the first: %v", n, n+l.ok.Load(), l.firstFailure.Load())
	}
	if l.ok.Load() == 0 {
		l.t.Error("no request at all")
	}
}

func countFDs(t *testing.T) int {
	t.Helper()
	return len(strings.Fields(listFDs()))
}

func listFDs() string {
	entries, _ := os.ReadDir("/proc/self/fd")
	var s strings.Builder
	for _, e := range entries {
		link, err := os.Readlink("/proc/self/fd/" + e.Name())
		if err == nil {
			fmt.Fprintf(&s, "%s:%s\n", e.Name(), strings.ReplaceAll(link, " ", "_"))
		}
	}
	return s.String()
}

func has(t *testing.T, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		t.Skipf("%s is not here", program)
	}
	return path
}
