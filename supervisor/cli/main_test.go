package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"supervisor/supervisor/control"
	"supervisor/supervisor/state"
)

// guard is how long a test waits for what must come: a failure guard, no timing.
const guard = 30 * time.Second

// testBoot names the life of the machine that the tests run in.
func testBoot() string { return "this" }

// TestMain is also the program that is started in the background: the real
// command line with a fake daemon behind it.
func TestMain(m *testing.M) {
	if os.Getenv("CLI_TEST_PROGRAM") != "" {
		if os.Args[0] == "supervisor-keeper" {
			os.Exit(backgroundKeeper(os.Args))
		}
		os.Exit(Run(os.Args, Env{Daemon: fakeDaemon, Keeper: fakeKeeper, Boot: testBoot, Version: "1.2.3"}))
	}
	goleak.VerifyTestMain(m)
}

// fakeKeeper is one in the foreground.
func fakeKeeper(o KeeperOptions) int {
	fmt.Fprintf(o.Stdout, "keeper of %s", strings.Join(o.Daemon, " "))
	if o.Upward != "" {
		fmt.Fprintf(o.Stdout, ", which tells %s", o.Upward)
	}
	fmt.Fprintln(o.Stdout)
	return 8
}

// backgroundKeeper runs one daemon, ends as it does, and leaves its pid.
func backgroundKeeper(args []string) int {
	home, daemon := args[1], append(args[5:], "--ready-fd", "3") // as the first daemon gets it
	os.WriteFile(filepath.Join(home, "keeper"), []byte(strconv.Itoa(os.Getpid())), 0o600)
	if !slices.Equal(args[2:5], []string{"--ready-fd", "3", "--"}) {
		return 99
	}
	pid, err := syscall.ForkExec("/proc/self/exe", daemon, &syscall.ProcAttr{
		Env: append(os.Environ(), "NOTIFY_SOCKET="+filepath.Join(home, "notify.sock")), Files: []uintptr{0, 1, 2, 3},
	})
	if err != nil {
		return 98
	}
	unix.Close(3)
	var ws unix.WaitStatus
	unix.Wait4(pid, &ws, 0, nil)
	return ws.ExitStatus()
}

// fakeDaemon keeps the daemon's promises: one per home, a line on the ready
// pipe once the socket accepts, an end after kill.
func fakeDaemon(o DaemonOptions) int {
	ready := func(line string) {
		if o.ReadyFD >= 0 {
			unix.Write(o.ReadyFD, []byte(line+"\n"))
			unix.Close(o.ReadyFD)
		}
	}
	switch os.Getenv("FAKE_DAEMON") {
	case "dies":
		fmt.Fprintln(o.Stderr, "the first line\npanic: out of cheese")
		return 2
	case "refuses the file":
		return 2
	case "refuses":
		ready("error: cannot listen: the disk is full")
		return 1
	}
	if o.Foreground {
		what := o.Request.File
		if o.Request.Script != nil {
			what = o.Request.Script.Path
		}
		fmt.Fprintf(o.Stdout, "foreground %s of %s\n", o.Request.Verb, what)
		return 7
	}
	lock, err := unix.Open(filepath.Join(o.Home, "lock"), unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC, 0o600)
	if err != nil || unix.Flock(lock, unix.LOCK_EX|unix.LOCK_NB) != nil {
		ready(ReadyRunning)
		return 1
	}
	f, _ := os.OpenFile(filepath.Join(o.Home, "starts"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	fmt.Fprintln(f, os.Getpid())
	f.Close()
	ln, err := net.Listen("unix", filepath.Join(o.Home, socketName))
	if err != nil {
		ready(ReadyError + err.Error())
		return 1
	}
	b := newFake()
	if os.Getenv("NOTIFY_SOCKET") != "" {
		b.pong.KeeperPID = os.Getppid()
	}
	s := control.Serve(ln, b)
	ready(ReadyOK)
	<-b.killed
	ctx, cancel := context.WithTimeout(context.Background(), guard)
	defer cancel()
	s.Close(ctx)
	return 0
}

// world is one home, one current folder, and what commands printed.
type world struct {
	t          testing.TB
	home, dir  string
	env        map[string]string
	terminal   bool
	init       bool // the process is a container's first
	ctx        context.Context
	out, err   string
	backend    *fakeBackend
	executable string
	systemd    Systemd
	printing   func(text string) // sees what goes to stdout, before it is there
}

// seenWriter shows what is written before it writes.
type seenWriter struct {
	io.Writer
	see func(string)
}

func (w seenWriter) Write(b []byte) (int, error) {
	if w.see != nil {
		w.see(string(b))
	}
	return w.Writer.Write(b)
}

func newWorld(t testing.TB) *world {
	t.Helper()
	home, err := os.MkdirTemp("", "cli") // short: sun_path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(home) })
	return &world{t: t, home: home, dir: t.TempDir(), ctx: context.Background(),
		env: map[string]string{"SUPERVISOR_HOME": home, "PATH": "/usr/bin:/bin", "CLI_TEST_PROGRAM": "1"}}
}

// withDaemon serves a fake backend in this process; set prepares it before it
// answers.
func (w *world) withDaemon(set ...func(*fakeBackend)) *fakeBackend {
	w.t.Helper()
	ln, err := net.Listen("unix", filepath.Join(w.home, socketName))
	if err != nil {
		w.t.Fatal(err)
	}
	w.backend = newFake()
	for _, f := range set {
		f(w.backend)
	}
	s := control.Serve(ln, w.backend)
	w.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), guard)
		defer cancel()
		s.Close(ctx)
	})
	// As the daemon does: whoever waits for the socket is woken once it listens.
	os.WriteFile(filepath.Join(w.home, "supervisor.pid"), []byte("1\n"), 0o600)
	return w.backend
}

func (w *world) write(name, text string) {
	w.t.Helper()
	if err := os.WriteFile(filepath.Join(w.dir, name), []byte(text), 0o755); err != nil {
		w.t.Fatal(err)
	}
}

// run runs one command line and returns its exit code; what it printed is in
// out and err.
func (w *world) run(args ...string) int {
	w.t.Helper()
	code, out, errOut := w.try(args...)
	w.out, w.err = out, errOut
	return code
}

func (w *world) try(args ...string) (int, string, string) {
	var out, errOut bytes.Buffer
	code := Run(append([]string{"supervisor"}, args...), Env{
		Stdin: strings.NewReader(""), Stdout: seenWriter{&out, w.printing}, Stderr: &errOut,
		Getenv: func(k string) string { return w.env[k] },
		Environ: func() []string {
			var list []string
			for k, v := range w.env {
				list = append(list, k+"="+v)
			}
			return list
		},
		Getwd:    func() (string, error) { return w.dir, nil },
		Terminal: func() (int, int, bool) { return 80, 24, w.terminal },
		Context:  w.ctx, Daemon: fakeDaemon, Keeper: fakeKeeper, Init: w.init, Boot: testBoot, Executable: w.executable, Version: "1.2.3",
		Systemd: w.systemd,
	})
	return code, out.String(), errOut.String()
}

// want checks an exit code and words that must be in what was printed.
func (w *world) want(code, wantCode int, words ...string) {
	w.t.Helper()
	if code != wantCode {
		w.t.Errorf("exit code %d, want %d\nstdout: %s\nstderr: %s", code, wantCode, w.out, w.err)
	}
	for _, word := range words {
		if !strings.Contains(w.out+w.err, word) {
			w.t.Errorf("no %q in\nstdout: %s\nstderr: %s", word, w.out, w.err)
		}
	}
}

const valid = "apps:\n  - name: web\n    script: app.js\n    interpreter: none\n"

func intp(n int) *int       { return &n }
func int64p(n int64) *int64 { return &n }

var _ control.Backend = (*fakeBackend)(nil)

func receipt() state.Receipt {
	return state.Receipt{Name: "web", Result: state.Complete, FromGeneration: 4, ToGeneration: 5, DurationMS: 1200,
		Workers: []state.WorkerReceipt{{Slot: 0, OldPID: 4211, NewPID: 4388, ReadyMS: int64p(41), ReadyBy: "node ipc", DrainMS: int64p(120), ExitCode: intp(0), SlotRuns: 5}}}
}
