package handover

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
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

	"supervisor/supervisor/notify"
)

// guard is when a test gives up on an event that must come.
const guard = 60 * time.Second

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

// stage is a home with a keeper, and the orders for its daemons.
type stage struct {
	t    *testing.T
	home string
	ln   *net.UnixListener
	cmd  *exec.Cmd
}

// newStage prepares a home. At the end of the test no process, descriptor or goroutine of
// it is left.
func newStage(t *testing.T) *stage {
	t.Helper()
	unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) // what a killed keeper leaves comes to us
	r, w, _ := os.Pipe()                                // opens Go's poller before descriptors are counted
	r.Close()
	w.Close()
	before := openFiles()
	home, err := os.MkdirTemp("", "keeper")
	if err != nil {
		t.Fatal(err)
	}
	s := &stage{t: t, home: home}
	s.ln, err = net.ListenUnix("unix", &net.UnixAddr{Name: s.path(stageSock), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	s.ln.SetDeadline(time.Now().Add(guard))
	t.Cleanup(func() {
		s.ln.Close()
		if s.cmd != nil && s.cmd.ProcessState == nil {
			s.cmd.Process.Kill()
			s.cmd.Wait()
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
func (s *stage) reapAll() {
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

func children() (pids []int) {
	tasks, _ := filepath.Glob("/proc/self/task/*/children")
	for _, task := range tasks {
		data, _ := os.ReadFile(task)
		for _, f := range strings.Fields(string(data)) {
			pid, _ := strconv.Atoi(f)
			pids = append(pids, pid)
		}
	}
	return pids
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

func (s *stage) path(name string) string { return filepath.Join(s.home, name) }

// keep starts the keeper.
func (s *stage) keep(ready *os.File, change ...func(*exec.Cmd)) {
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
func (s *stage) barrier() (wait func()) {
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
func (s *stage) said() string {
	data, _ := os.ReadFile(s.path("stderr"))
	return string(data)
}

// ended waits for the keeper's end and returns its exit code, -1 for a signal.
func (s *stage) ended() int {
	s.t.Helper()
	timer := time.AfterFunc(guard, func() { s.cmd.Process.Kill() })
	defer timer.Stop()
	s.cmd.Wait()
	return s.cmd.ProcessState.ExitCode()
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
func (s *stage) daemon() *actor {
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

// act is a daemon's life; it never returns. It ends when the stage is gone.
func act(home string) {
	ready, args := 0, os.Args[2:]
	if len(args) == 2 && args[0] == "--ready-fd" {
		ready, _ = strconv.Atoi(args[1])
		unix.CloseOnExec(ready)
	}
	caught := make(chan os.Signal, 16)
	signal.Notify(caught, forwarded()...)
	holder, err := NewHolder(os.Getenv("NOTIFY_SOCKET"), Inherited(os.Getenv, os.Getppid()))
	if err != nil {
		panic(err)
	}
	for _, name := range ListenVariables() {
		os.Unsetenv(name)
	}
	conn, err := net.Dial("unix", filepath.Join(home, stageSock))
	if err != nil {
		os.Exit(0) // the test is over
	}
	fmt.Fprintln(conn, os.Getpid(), strings.Join(args, " "))
	p := &part{home: home, ready: ready, holder: holder, caught: caught}
	for orders := bufio.NewScanner(conn); orders.Scan(); {
		words := strings.Fields(orders.Text())
		fmt.Fprintln(conn, p.obey(words[0], words[1:]))
	}
	os.Exit(0)
}

// part is what an actor has to play with.
type part struct {
	home   string
	ready  int
	holder *Holder
	caught chan os.Signal
	exits  *Exits
}

func (p *part) obey(verb string, args []string) string {
	switch verb {
	case "exit":
		code, _ := strconv.Atoi(args[0])
		os.Exit(code)
	case "say":
		return result(p.holder.Say(args...))
	case "barrier":
		return result(p.holder.Barrier(context.Background()))
	case "push": // NAME PATH, opened without waiting
		flags := unix.O_RDWR
		if strings.HasSuffix(args[0], ".o") || strings.HasSuffix(args[0], ".e") {
			flags = unix.O_RDONLY
		} else if args[0] == ExeName {
			flags = unix.O_PATH
		}
		fd, err := unix.Open(args[1], flags|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			return err.Error()
		}
		return result(p.holder.Push(args[0], fd))
	case "remove":
		return result(p.holder.Remove(args[0]))
	case "names":
		return strings.Join(p.holder.Names(), " ")
	case "read": // an inherited pipe
		fd, ok := p.holder.Take(args[0])
		if !ok {
			return "not held"
		}
		buf := make([]byte, 4096)
		n, err := unix.Read(fd, buf)
		return fmt.Sprintf("%q %v", buf[:max(n, 0)], err)
	case "take":
		_, ok := p.holder.Take(args[0])
		return fmt.Sprint(ok)
	case "flags": // O_NONBLOCK of an inherited one, which stays untaken
		flags, err := unix.FcntlInt(uintptr(p.holder.inherited[args[0]]), unix.F_GETFL, 0)
		return fmt.Sprint(flags&unix.O_NONBLOCK != 0, err)
	case "ready": // the starter's line
		_, err := unix.Write(p.ready, []byte("ok\n"))
		unix.Close(p.ready)
		return result(err)
	case "env":
		return strconv.Quote(os.Getenv(args[0]))
	case "ppid":
		return strconv.Itoa(os.Getppid())
	case "signal": // waits for one
		return (<-p.caught).String()
	}
	return p.fork(verb, args)
}

// fork has the verbs that start processes.
func (p *part) fork(verb string, args []string) string {
	switch verb {
	case "successor": // another daemon, as an upgrade starts it
		pid, err := syscall.ForkExec("/proc/self/exe", []string{actorName, p.home}, &syscall.ProcAttr{Env: os.Environ(), Files: []uintptr{0, 1, 2}})
		if err != nil {
			return err.Error()
		}
		return strconv.Itoa(pid)
	case "shell": // a command of which the shell's last word is the output
		out, err := exec.Command("/bin/sh", "-c", strings.Join(args, " ")).Output()
		if err != nil {
			return err.Error()
		}
		return strings.TrimSpace(string(out))
	case "reported": // PID START: waits for the keeper's report
		fd, _ := p.holder.Take(ExitsName)
		if p.exits == nil {
			p.exits = NewExits(fd)
		}
		pid, _ := strconv.Atoi(args[0])
		start, _ := strconv.ParseUint(args[1], 10, 64)
		for {
			if status, ok := p.exits.Reported(Proc{pid, start}); ok {
				return howEnded(status, true)
			}
			unix.Poll([]unix.PollFd{{Fd: int32(p.exits.fd), Events: unix.POLLIN}}, -1)
		}
	case "watch": // waits for the end of the keeper, and starts another
		keeper, _ := strconv.Atoi(args[0])
		gone, err := Watch(context.Background(), keeper)
		if err != nil {
			return err.Error()
		}
		unix.Kill(keeper, unix.SIGKILL)
		<-gone
		pid, err := NewKeeper(context.Background(), p.home, "/proc/self/exe", p.holder.Held(), []string{actorName, p.home})
		if err != nil {
			return err.Error()
		}
		os.Setenv(KeeperVariable, strconv.Itoa(pid))
		return strconv.Itoa(pid)
	}
	return "no such order: " + verb
}

func result(err error) string {
	if err != nil {
		return err.Error()
	}
	return "ok"
}

// fifo makes a pipe with a name, of which the test has a writing end that no reader is
// needed for.
func (s *stage) fifo(name string) *os.File {
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
