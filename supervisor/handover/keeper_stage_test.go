package handover

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"supervisor/supervisor/notify"
)

const (
	actorName = "test-daemon" // argv[0] of a daemon that the test binary plays
	stageSock = "stage.sock"  // in HOME, where an actor takes its orders
)

// The test binary is the keeper and every daemon as well. It is an init, and no TestMain,
// since these processes must not see the flags of a test.
func init() {
	switch {
	case IsKeeper(os.Args):
		os.Exit(KeeperMain(os.Args))
	case os.Args[0] == actorName:
		act(os.Args[1])
	}
}

// keeperStage is a home with a keeper, and the orders for its daemons.
type keeperStage struct {
	t    *testing.T
	home string
	ln   *net.UnixListener
	cmd  *exec.Cmd
}

// newKeeperStage prepares a home. At the end of the test no process, descriptor or goroutine of
// it is left.
func newKeeperStage(t *testing.T) *keeperStage {
	t.Helper()
	t.Setenv("GORACE", "atexit_sleep_ms=0") // a race detector's exit takes a second else
	adoptOrphans(t)
	r, w, _ := os.Pipe() // opens Go's poller before descriptors are counted
	r.Close()
	w.Close()
	before := openFiles()
	home, err := os.MkdirTemp("", "keeper")
	if err != nil {
		t.Fatal(err)
	}
	s := &keeperStage{t: t, home: home}
	s.ln, err = net.ListenUnix("unix", &net.UnixAddr{Name: s.path(stageSock), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	s.ln.SetDeadline(time.Now().Add(guard))
	t.Cleanup(func() {
		s.ln.Close()
		if s.cmd != nil && s.cmd.ProcessState == nil {
			s.cmd.Process.Kill()
			s.wait()
		}
		if t.Failed() {
			t.Logf("the keeper said:\n%s", s.said())
		}
		os.RemoveAll(home)
		s.reapAll()
		if err := goleak.Find(); err != nil {
			t.Error(err)
		}
		if after := openFiles(); len(after) > len(before) {
			t.Errorf("descriptors before: %q, after: %q", before, after)
		}
	})
	return s
}

// reapAll waits for what the keeper has left: an actor ends when its stage is gone, a
// keeper that replaced another is killed.
func (s *keeperStage) reapAll() {
	timer := time.AfterFunc(guard, func() {
		for _, pid := range children() {
			cmdline, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
			fmt.Fprintf(os.Stderr, "left: pid %d, %q\n", pid, cmdline)
		}
		panic(s.t.Name() + " has left processes")
	})
	defer timer.Stop()
	for {
		for _, pid := range children() {
			if cmdline, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); bytes.HasPrefix(cmdline, []byte(KeeperName+"\x00")) {
				unix.Kill(pid, unix.SIGKILL)
			}
		}
		if _, err := unix.Wait4(-1, nil, 0, nil); err != nil && err != unix.EINTR {
			return
		}
	}
}

func openFiles() (list []string) {
	entries, _ := os.ReadDir("/proc/self/fd")
	for _, e := range entries {
		if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && !strings.HasPrefix(to, "/proc/") {
			list = append(list, e.Name()+" "+to)
		}
	}
	return list
}

func (s *keeperStage) path(name string) string { return filepath.Join(s.home, name) }

// keep starts the keeper.
func (s *keeperStage) keep(ready *os.File, change ...func(*exec.Cmd)) {
	s.t.Helper()
	exe, err := os.Executable()
	if err != nil {
		s.t.Fatal(err)
	}
	o := KeeperOptions{Home: s.home, Daemon: []string{actorName, s.home}}
	s.cmd = &exec.Cmd{Path: exe}
	if ready != nil {
		s.cmd.ExtraFiles, o.ReadyFD = []*os.File{ready}, firstFD
	}
	s.cmd.Args = o.Args()
	stderr, err := os.OpenFile(s.path("stderr"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		s.t.Fatal(err)
	}
	defer stderr.Close()
	s.cmd.Stderr = stderr
	for _, f := range change {
		f(s.cmd)
	}
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
}

// barrier sends one, which anybody may; wait returns when the keeper has come to it.
func (s *keeperStage) barrier() (wait func()) {
	s.t.Helper()
	sender, err := notify.NewSender(s.path(NotifySocket))
	if err != nil {
		s.t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := sender.Send(s.t.Context(), notify.Message{Barrier: true}, fdOf(s.t, w)); err != nil {
		s.t.Fatal(err)
	}
	w.Close()
	r.SetDeadline(time.Now().Add(guard))
	return func() {
		if _, err := r.Read(make([]byte, 1)); err != io.EOF {
			s.t.Fatal(err)
		}
		r.Close()
	}
}

// said is what the keepers have said so far; a barrier before it makes that definite.
func (s *keeperStage) said() string {
	data, _ := os.ReadFile(s.path("stderr"))
	return string(data)
}

// ended waits for the keeper's end and returns its exit code, -1 for a signal.
func (s *keeperStage) ended() int {
	s.t.Helper()
	timer := time.AfterFunc(guard, func() { s.cmd.Process.Kill() })
	defer timer.Stop()
	s.wait()
	return s.cmd.ProcessState.ExitCode()
}

// wait waits for the keeper. A Watch that was given up in that instant may have taken its
// zombie, and then os.Process keeps its own pidfd open until it is released.
func (s *keeperStage) wait() {
	s.cmd.Wait()
	s.cmd.Process.Release()
}

// actor is the test's end of a daemon.
type actor struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Reader
	pid  int
	args []string // behind the home
}

// daemon waits for the next daemon.
func (s *keeperStage) daemon() *actor {
	s.t.Helper()
	conn, err := s.ln.Accept()
	if err != nil {
		s.t.Fatalf("no daemon has come: %v", err)
	}
	s.t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(guard))
	a := &actor{t: s.t, conn: conn, in: bufio.NewReader(conn)}
	words := strings.Fields(a.line())
	if a.pid, err = strconv.Atoi(words[0]); err != nil {
		s.t.Fatal(err)
	}
	a.args = words[1:]
	return a
}

func (a *actor) line() string {
	a.t.Helper()
	line, err := a.in.ReadString('\n')
	if err != nil {
		a.t.Fatalf("the daemon (pid %d) does not answer: %v", a.pid, err)
	}
	return strings.TrimSuffix(line, "\n")
}

// do gives an order and returns the answer.
func (a *actor) do(words ...string) string {
	a.t.Helper()
	fmt.Fprintln(a.conn, strings.Join(words, " "))
	return a.line()
}

// ok gives an order that must succeed.
func (a *actor) ok(words ...string) {
	a.t.Helper()
	if got := a.do(words...); got != "ok" {
		a.t.Fatalf("%v: %s", words, got)
	}
}

// exit makes the daemon exit, and returns when it has.
func (a *actor) exit(code int) {
	fmt.Fprintln(a.conn, "exit", code)
	a.gone()
}

func (a *actor) kill() {
	unix.Kill(a.pid, unix.SIGKILL)
	a.gone()
}

// gone waits until the daemon's descriptors are closed.
func (a *actor) gone() {
	a.t.Helper()
	if line, err := a.in.ReadString('\n'); line != "" || os.IsTimeout(err) {
		a.t.Fatalf("the daemon (pid %d) lives: %q, %v", a.pid, line, err)
	}
	a.conn.Close()
}

// fifo makes a pipe with a name, of which the test has a writing end that no reader is
// needed for.
func (s *keeperStage) fifo(name string) *os.File {
	s.t.Helper()
	if err := unix.Mkfifo(s.path(name), 0o600); err != nil {
		s.t.Fatal(err)
	}
	f, err := os.OpenFile(s.path(name), os.O_RDWR, 0)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { f.Close() })
	return f
}

func names(words ...string) string {
	slices.Sort(words)
	return strings.Join(words, " ")
}
