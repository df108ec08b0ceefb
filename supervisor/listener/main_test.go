package listener_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
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
		os.Exit(run(m))
	case "shim":
		fmt.Fprintln(os.Stderr, "shim:", shim())
	case "serve":
		fmt.Fprintln(os.Stderr, "serve:", serve())
	default:
		fmt.Fprintln(os.Stderr, program(os.Getenv(roleEnv)))
	}
	os.Exit(1)
}

// run executes the tests. They wait more than they work, so more of them go on at once
// than there are processors.
func run(m *testing.M) (code int) {
	flag.Parse()
	flag.Set("test.parallel", strconv.Itoa(max(8, runtime.GOMAXPROCS(0))))
	if a, b, err := os.Pipe(); err == nil { // the runtime opens what it polls with
		a.Close()
		b.Close()
	}
	before := descriptors()
	if flag.Lookup("test.run").Value.String()+flag.Lookup("test.list").Value.String() == "" {
		buildFaulty() // while tests wait that don't need it
	}
	code = m.Run()
	if faulty.done != nil {
		<-faulty.done
		os.RemoveAll(faulty.dir)
	}
	// Of tests that go on beside each other nobody can tell which has left something.
	if after := descriptors(); after > before && code == 0 {
		fmt.Fprintf(os.Stderr, "%d descriptors before all tests, %d after:\n%s", before, after, listFDs())
		return 1
	}
	return code
}

// shim installs the filter, gives its descriptor away and becomes the program.
func shim() error {
	runtime.LockOSThread()
	var fd int
	var err error
	if os.Getenv("SHIM_BARE") != "" {
		fd, err = unix.Eventfd(0, unix.EFD_CLOEXEC) // never readable
	} else {
		fd, err = process.InstallFilter(os.Getenv("SHIM_UNLINK") != "")
	}
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

// programs is the binary that plays the shim and the programs. With the race detector
// each of them would take a quarter of a second to come up.
func programs(t testing.TB) string {
	t.Helper()
	if raceDetector {
		return faultyBinary(t)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return self
}

// rig is a table with the facts that it told.
type rig struct {
	*listener.Table
	t     testing.TB
	mu    sync.Mutex
	facts []listener.Fact
	more  chan struct{} // closed and replaced with every fact
	ids   atomic.Uint64
}

func newRig(t testing.TB) *rig {
	t.Helper()
	return newRigWith(t, listener.Config{})
}

// newRigWith is newRig with more than facts.
func newRigWith(t testing.TB, cfg listener.Config) *rig {
	t.Helper()
	leaktight(t)
	r := &rig{t: t, more: make(chan struct{})}
	cfg.Facts = r.record
	r.Table = listener.New(cfg)
	t.Cleanup(func() {
		r.Close()
		if t.Failed() {
			for _, f := range r.all() {
				t.Logf("%T%+v", f, f)
			}
		}
	})
	return r
}

// await is for what has no event: the end of other goroutines, a queue of the kernel's.
func await(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	ticks := time.NewTicker(time.Millisecond)
	defer ticks.Stop()
	for !ok() {
		if time.Now().After(deadline) {
			buf := make([]byte, 1<<16)
			t.Errorf("waited in vain for %s:\n%s", what, buf[:runtime.Stack(buf, true)])
			return
		}
		<-ticks.C
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
	out    *output
	exited chan struct{}
}

// output is what a program writes.
type output struct {
	mu   sync.Mutex
	text strings.Builder
	more chan struct{}
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text.Write(b)
	close(o.more)
	o.more = make(chan struct{})
	return len(b), nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// says waits until the program has written something.
func (w *worker) says(what string) {
	w.r.t.Helper()
	timeout := time.After(patience)
	for {
		w.out.mu.Lock()
		found, more := strings.Contains(w.out.text.String(), what), w.out.more
		w.out.mu.Unlock()
		if found {
			return
		}
		select {
		case <-more:
		case <-timeout:
			w.r.t.Fatalf("worker %d does not say %q", w.id, what)
		}
	}
}

// spec says what to start.
type spec struct {
	app    string
	slot   int
	even   bool
	unlink bool
	uid    int
	role   string // of the test binary, when args is empty
	args   []string
	env    []string
	dir    string
	hand   int // slot of the notification memory
}

func (r *rig) start(s spec) *worker {
	r.t.Helper()
	return r.startWith(s, func(w listener.Worker, fd int) {
		if err := r.Attach(w, fd); err != nil {
			r.t.Fatal(err)
		}
	})
}

// startWith starts a program, which runs when attach has done with its notify
// descriptor what it has to.
func (r *rig) startWith(s spec, attach func(w listener.Worker, fd int)) *worker {
	r.t.Helper()
	self := programs(r.t)
	if len(s.args) == 0 {
		s.args = []string{self}
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		r.t.Fatal(err)
	}
	defer unix.Close(pair[0])
	theirs := os.NewFile(uintptr(pair[1]), "shim")
	w := &worker{r: r, id: r.ids.Add(1), out: &output{more: make(chan struct{})}, exited: make(chan struct{})}
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
	attach(listener.Worker{ID: w.id, App: s.app, Slot: s.slot, PID: w.cmd.Process.Pid, Even: s.even, Hand: s.hand}, fds[0])
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

// ports are all that freePort has given.
var ports sync.Map

// freePort is one that nobody listens on at the moment. It lies below the
// ports that the kernel gives to clients: of those, some client of a test that
// runs beside this one would have it before the worker binds. Package daemon's tests have
// those from 20000.
func freePort(t testing.TB) int {
	t.Helper()
	for range 1000 {
		port := 23000 + rand.IntN(9000)
		if _, given := ports.LoadOrStore(port, true); given {
			continue // to a test beside this one, which may not listen yet
		}
		ln, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
		if err != nil {
			continue
		}
		ln.Close()
		return port
	}
	t.Fatal("no free port")
	return 0
}

// descriptors is how many of them are open.
func descriptors() int { return len(strings.Fields(listFDs())) }

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
		if os.Getenv("CI") != "" {
			t.Fatalf("%s is missing", program)
		}
		t.Skipf("%s is missing", program)
	}
	return path
}
