package cli

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// program runs this test binary as the command line, in a process of its own.
func (w *world) program(args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Args[0] = "supervisor"
	cmd.Dir = w.dir
	for k, v := range w.env {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	return cmd
}

// starts returns the pids of the daemons that took the lock.
func (w *world) starts() []string {
	b, _ := os.ReadFile(filepath.Join(w.home, "starts"))
	return strings.Fields(string(b))
}

// stat are the fields of a process from its state on (proc_pid_stat(5)).
func stat(t *testing.T, pid string) []string {
	t.Helper()
	b, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(b[bytes.LastIndexByte(b, ')')+2:]))
}

func TestStartSpawnsADaemonThatKillEnds(t *testing.T) {
	w := newWorld(t)
	w.write("eco.yaml", valid)
	w.write("app.js", "#!/bin/true\n")
	w.want(w.run("start", "eco.yaml"), 0, "no apps")
	pids := w.starts()
	if len(pids) != 1 {
		t.Fatalf("daemons: %q", pids)
	}
	cwd, _ := os.Readlink("/proc/" + pids[0] + "/cwd")
	in, _ := os.Readlink("/proc/" + pids[0] + "/fd/0")
	out, _ := os.Readlink("/proc/" + pids[0] + "/fd/1")
	if cwd != "/" || in != "/dev/null" || out != filepath.Join(w.home, daemonLogName) {
		t.Errorf("the daemon has cwd %s, stdin %s, stdout %s", cwd, in, out)
	}
	keeper, _ := os.ReadFile(filepath.Join(w.home, "keeper"))
	if f := stat(t, pids[0]); f[1] != string(keeper) || f[3] != string(keeper) {
		t.Errorf("the daemon has parent %s and session %s, not the keeper's %s", f[1], f[3], keeper)
	}
	w.want(w.run("ping"), 0, "pid "+pids[0])
	w.want(w.run("start", "eco.yaml"), 0)
	if n := len(w.starts()); n != 1 {
		t.Errorf("%d daemons after a second start", n)
	}
	w.want(w.run("kill"), 0, "the daemon has ended")
	if f := stat(t, string(keeper)); f[0] != "Z" {
		t.Errorf("the keeper is %s when kill returns", f[0])
	}
	w.want(w.run("ping"), 3)
	reapAll()
}

// reapAll takes the exit status of daemons that this process is the parent of.
func reapAll() {
	for {
		var ws unix.WaitStatus
		if pid, err := unix.Wait4(-1, &ws, 0, nil); err != nil && err != unix.EINTR || pid == 0 {
			return
		}
	}
}

func TestTwoStartsYieldOneDaemon(t *testing.T) {
	w := newWorld(t)
	w.write("eco.yaml", valid)
	w.write("app.js", "#!/bin/true\n")
	const n = 8
	var wg sync.WaitGroup
	outs := make([]bytes.Buffer, n)
	errs := make([]error, n)
	for i := range n {
		cmd := w.program("start", "eco.yaml")
		cmd.Stdout, cmd.Stderr = &outs[i], &outs[i]
		wg.Go(func() { errs[i] = cmd.Run() })
	}
	wg.Wait()
	for i := range n {
		if errs[i] != nil {
			t.Errorf("start %d: %v\n%s", i, errs[i], outs[i].String())
		}
	}
	if pids := w.starts(); len(pids) != 1 {
		t.Errorf("daemons: %q", pids)
	}
	w.want(w.run("kill"), 0)
}

// A daemon that came up outside of our lock (start --no-daemon) makes ours the
// loser, which says so; the socket then is the winner's.
func TestLoserConnectsToTheWinner(t *testing.T) {
	w := newWorld(t)
	w.write("eco.yaml", valid)
	w.write("app.js", "#!/bin/true\n")
	lock, err := unix.Open(filepath.Join(w.home, "lock"), unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(lock)
	if err := unix.Flock(lock, unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	code := make(chan int, 1)
	go func() { code <- w.run("start", "eco.yaml") }()
	// The loser has run once the log exists; the socket comes after it or before,
	// both must do.
	w.withDaemon()
	if c := <-code; c != 0 {
		t.Errorf("exit code %d\n%s%s", c, w.out, w.err)
	}
	reapAll()
}

func TestDaemonThatDoesNotStart(t *testing.T) {
	w := newWorld(t)
	w.write("eco.yaml", valid)
	w.write("app.js", "#!/bin/true\n")
	os.WriteFile(filepath.Join(w.home, daemonLogName), []byte("old news\n"), 0o600)
	w.env["FAKE_DAEMON"] = "dies"
	w.want(w.run("start", "eco.yaml"), 1, "cannot start the supervisor: it ended before it was ready", "  the first line\n  panic: out of cheese\n")
	if strings.Contains(w.err, "old news") {
		t.Errorf("quotes an older run: %s", w.err)
	}
	w.want(w.run("start", "eco.yaml", "--json"), 1)
	w.wantErrorJSON(1)
	w.env["FAKE_DAEMON"] = "refuses"
	w.want(w.run("start", "eco.yaml"), 1, "cannot start the supervisor: cannot listen: the disk is full")
	reapAll()
	file := filepath.Join(w.dir, "eco.yaml")
	w.env["SUPERVISOR_HOME"] = filepath.Join(file, "home")
	w.want(w.run("start", "eco.yaml"), 1, "cannot make "+file+"/home")
}

// Ctrl-C while the daemon works, as a shell sends it.
func TestSIGINT(t *testing.T) {
	w := newWorld(t)
	b := w.withDaemon(func(b *fakeBackend) { b.hold = make(chan struct{}) })
	defer close(b.hold)
	cmd := w.program("reload", "web")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	<-b.begun
	cmd.Process.Signal(unix.SIGINT)
	cmd.Wait()
	if c := cmd.ProcessState.ExitCode(); c != 130 || !strings.Contains(out.String(), "the work goes on") {
		t.Errorf("exit code %d: %s", c, out.String())
	}
}
