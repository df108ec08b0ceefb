package process

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// guard is when a test gives up on an event that must come.
const guard = 30 * time.Second

// The test binary is the shim and every worker as well.
func TestMain(m *testing.M) {
	if IsShim(os.Args) {
		ShimMain()
	}
	if os.Args[0] == workerName {
		work(os.Args[1:])
	}
	// What a worker leaves behind comes to us, to be counted.
	unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
	r, w, _ := os.Pipe() // opens Go's poller before descriptors are counted
	r.Close()
	w.Close()
	os.Setenv("GORACE", "atexit_sleep_ms=0") // spares each process with the race detector a second at its end
	before := openFiles()
	code := m.Run()
	if err := leaks(before); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// leaks tells what the tests have left behind.
func leaks(before []string) error {
	if err := goleak.Find(); err != nil {
		return err
	}
	reapOrphans()
	if left, _ := tree(os.Getpid()); len(left) > 0 {
		return fmt.Errorf("processes left: %v", left)
	}
	if after := openFiles(); len(after) > len(before) {
		return fmt.Errorf("descriptors before: %q, after: %q", before, after)
	}
	return nil
}

// reapOrphans reaps what has ended; the tests' own children are reaped by then.
func reapOrphans() {
	for {
		if pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); pid <= 0 || err != nil {
			return
		}
	}
}

func openFiles() []string {
	entries, _ := os.ReadDir("/proc/self/fd")
	var list []string
	for _, e := range entries {
		if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && !strings.HasPrefix(to, "/proc/") {
			list = append(list, e.Name()+" "+to)
		}
	}
	return list
}

const (
	workerName = "test-worker"
	// forkedReady tells a worker that its parent waits for the end of 3.
	forkedReady = "TEST_READY=3"
)

// work is a worker's life; it never returns. A worker that has nothing to do
// waits in pause.
func work(args []string) {
	say := func(words ...any) {
		fmt.Println(words...)
		if words[0] == "up" && os.Getenv("TEST_READY") != "" {
			unix.Close(3)
			os.Unsetenv("TEST_READY")
		}
	}
	pause := func() { <-make(chan int) }
	// A process whose goroutines all wait is a deadlock to Go.
	signal.Notify(make(chan os.Signal, 1), unix.SIGURG)
	switch role := args[0]; role {
	case "exit":
		code, _ := strconv.Atoi(args[1])
		os.Exit(code)
	case "die":
		n, _ := strconv.Atoi(args[1])
		unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{})
		signal.Reset()
		unix.Kill(os.Getpid(), unix.Signal(n))
		pause()
	case "wait":
		say("up")
		pause()
	case "ignore":
		signal.Ignore(unix.SIGINT, unix.SIGTERM)
		say("up")
		pause()
	case "count": // says each SIGINT, ends with SIGTERM
		ch := make(chan os.Signal, 16)
		signal.Notify(ch, unix.SIGINT, unix.SIGTERM)
		say("up")
		for s := range ch {
			say(s)
			if s == unix.SIGTERM {
				os.Exit(0)
			}
		}
	case "parent": // starts a worker of the rest; with it waits
		say("child", fork(args[1:], nil))
		say("up")
		pause()
	case "orphan": // starts a worker of the rest and exits when it is up
		fmt.Println("child", forkReady(args[1:], nil))
		os.Exit(7)
	case "setsid":
		say("child", forkReady(args[1:], &syscall.SysProcAttr{Setsid: true}))
		say("up")
		pause()
	case "leave": // an orphan that leaves the group when it gets SIGUSR1
		ch := make(chan os.Signal, 1)
		signal.Notify(ch, unix.SIGUSR1)
		signal.Ignore(unix.SIGINT)
		say("up")
		<-ch
		unix.Setsid()
		say("left")
		pause()
	case "daemon": // starts a worker, says its record and dies
		s := spec(args[1:]...)
		s.Stdout = 1
		c, err := Start(s)
		if err == nil {
			err = c.Go()
		}
		if err != nil {
			fmt.Println("cannot start:", err)
			os.Exit(97)
		}
		say("record", c.PID(), c.StartTime())
		if args[1] == "orphan" {
			<-c.Exited()
		}
	case "keeper": // has a daemon start a worker, reaps one process per byte of 0
		unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
		unix.Wait4(fork(append([]string{"daemon"}, args[1:]...), nil), nil, 0, nil)
		say("kept")
		for {
			if n, _ := os.Stdin.Read(make([]byte, 1)); n == 0 {
				os.Exit(0)
			}
			unix.Wait4(-1, nil, 0, nil)
			say("reaped")
		}
	case "quit": // says up, and exits with a code at SIGTERM
		ch := make(chan os.Signal, 1)
		signal.Notify(ch, unix.SIGTERM)
		say("up")
		<-ch
		code, _ := strconv.Atoi(args[1])
		os.Exit(code)
	case "bomb": // forks for ever, the forked too, up to a bound
		depth, _ := strconv.Atoi(args[1])
		signal.Ignore(unix.SIGINT)
		for range 3 {
			if depth > 0 {
				fork([]string{"bomb", strconv.Itoa(depth - 1)}, nil)
			}
		}
		say("up")
		pause()
	default:
		report(role)
	}
	os.Exit(0)
}

// report prints one fact about the worker.
func report(what string) {
	switch what {
	case "env":
		for _, e := range os.Environ() {
			fmt.Println(e)
		}
	case "pid":
		fmt.Println(os.Getpid(), os.Getenv("LISTEN_PID"))
	case "fds":
		for _, f := range openFiles() {
			fmt.Println(f)
		}
	default:
		fmt.Println("unknown role", what)
		os.Exit(99)
	}
}

// fork starts another worker, whose output is ours, and gives its pid.
func fork(args []string, attr *syscall.SysProcAttr, ready ...uintptr) int {
	env := os.Environ()
	if len(ready) > 0 {
		env = append(env, forkedReady)
	}
	pid, err := syscall.ForkExec("/proc/self/exe", append([]string{workerName}, args...), &syscall.ProcAttr{Env: env, Files: append([]uintptr{0, 1, 2}, ready...), Sys: attr})
	if err != nil {
		fmt.Println("cannot fork:", err)
		os.Exit(98)
	}
	return pid
}

// forkReady is fork that waits until the worker has said "up".
func forkReady(args []string, attr *syscall.SysProcAttr) int {
	r, w, _ := os.Pipe()
	pid := fork(args, attr, w.Fd())
	w.Close()
	r.Read(make([]byte, 1)) // EOF
	return pid
}

// worker is a child under test, with its output by lines.
type worker struct {
	*Child
	t     *testing.T
	out   *os.File
	lines *bufio.Scanner
	over  bool
}

// spec is a worker of the test binary in the given role.
func spec(args ...string) Spec {
	exe, _ := os.Executable()
	return Spec{Path: exe, Argv: append([]string{workerName}, args...), Env: os.Environ(), Stdin: -1, Stdout: -1, Stderr: 2}
}

// start brings up a worker as spec says, its stdout a pipe to us. It is killed
// when the test ends.
func start(t *testing.T, s Spec) *worker {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	raw, _ := w.SyscallConn()
	raw.Control(func(fd uintptr) { s.Stdout, _ = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0) })
	w.Close()
	unix.SetNonblock(s.Stdout, false)
	c, err := Start(s)
	unix.Close(s.Stdout)
	if err == nil {
		err = c.Go()
	}
	if err != nil {
		r.Close()
		t.Fatalf("start: %v", err)
	}
	r.SetReadDeadline(time.Now().Add(guard))
	wk := &worker{Child: c, t: t, out: r, lines: bufio.NewScanner(r)}
	t.Cleanup(func() {
		if err := c.Kill(); err != nil {
			t.Error(err)
		}
		wk.awaitGone()
		r.Close()
	})
	return wk
}

// line is the next line of the worker's output, "" at its end.
func (w *worker) line() string {
	w.t.Helper()
	if w.lines.Scan() {
		return w.lines.Text()
	}
	if err := w.lines.Err(); err != nil {
		w.t.Fatalf("no line from the worker: %v", err)
	}
	return ""
}

// expect takes lines until one is want.
func (w *worker) expect(want string) {
	w.t.Helper()
	for {
		switch got := w.line(); got {
		case want:
			return
		case "":
			w.t.Fatalf("the worker ended without the line %q", want)
		}
	}
}

// childPID takes the line "child PID".
func (w *worker) childPID() int {
	w.t.Helper()
	line := w.line()
	for line == "up" { // another's
		line = w.line()
	}
	pid, err := strconv.Atoi(strings.TrimPrefix(line, "child "))
	if err != nil {
		w.t.Fatalf("want the child's pid, got %q", line)
	}
	return pid
}

func (w *worker) awaitExit() Exit {
	w.t.Helper()
	select {
	case e := <-w.Exited():
		return e
	case <-time.After(guard):
		w.t.Fatal("the main process does not end")
	}
	return Exit{}
}

func (w *worker) awaitGone() {
	w.t.Helper()
	select {
	case <-w.Gone():
	case <-time.After(guard):
		members, err := group(w.PID())
		w.t.Fatalf("the group of %d is not gone: %v, %v", w.PID(), members, err)
	}
}

// rest is the worker's whole output.
func (w *worker) rest() []string {
	var all []string
	for line := w.line(); line != ""; line = w.line() {
		all = append(all, line)
	}
	return all
}

func alive(pid int) bool {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	return !ended(fd)
}

func sorted(list []int) []int {
	slices.Sort(list)
	return list
}

func stage(err error) Stage {
	var e *StageError
	errors.As(err, &e)
	if e == nil {
		return ""
	}
	return e.Stage
}

func nonblocking(fd uintptr) bool {
	flags, _ := unix.FcntlInt(fd, unix.F_GETFL, 0)
	return flags&unix.O_NONBLOCK != 0
}
