package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// stage is where one side works: a folder, an environment, and all the processes that
// have its mark.
type stage struct {
	*tools
	ctx  context.Context // of the measurement that goes on
	dir  string
	mark string // in the environment of everything started here
	env  []string
	done []func() // for close
}

// mark is the variable that says whose a process is.
const mark = "SUPERVISOR_BENCH="

// stage makes an empty one.
func (t *tools) stage() (*stage, error) {
	t.stages++
	dir := filepath.Join(t.dir, strconv.Itoa(t.stages))
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	s := &stage{tools: t, dir: dir, mark: mark + dir}
	path := os.Getenv("PATH")
	if t.node != "" {
		path = filepath.Dir(t.node) + ":" + path
	}
	for _, e := range os.Environ() {
		name, _, _ := strings.Cut(e, "=")
		switch {
		case name == "PATH", name == "PORT", name == "NODE_OPTIONS", strings.HasPrefix(name, "SUPERVISOR_"), strings.HasPrefix(name, "PM2_"):
		default:
			s.env = append(s.env, e)
		}
	}
	s.env = append(s.env, "PATH="+path, s.mark)
	return s, nil
}

// sweeps bounds how often close looks for what was started while it killed.
const sweeps = 100

// close ends every process of the stage, and removes its folder.
func (s *stage) close() {
	for range sweeps {
		left := s.processes()
		if len(left) == 0 {
			break
		}
		for _, p := range left {
			p.kill()
		}
	}
	for _, f := range s.done {
		f()
	}
	os.RemoveAll(s.dir)
}

// proc is a process of a stage.
type proc struct {
	stage *stage
	pid   int
	exe   string // its program's path
}

// processes finds those with the stage's mark. A program that has written over its
// environment (nginx, to set its title) is known by its folder, or by where its binary
// lies.
func (s *stage) processes() (found []proc) {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err == nil && s.owns(pid) {
			exe, _ := os.Readlink(filepath.Join(dir, "exe"))
			found = append(found, proc{s, pid, exe})
		}
	}
	return found
}

// owns tells whether a process is the stage's. A zombie is nobody's.
func (s *stage) owns(pid int) bool {
	dir := "/proc/" + strconv.Itoa(pid)
	env, err := os.ReadFile(dir + "/environ")
	if err == nil && bytes.Contains(append(env, 0), []byte(s.mark+"\x00")) {
		return true
	}
	for _, link := range []string{"/cwd", "/exe"} {
		path, err := os.Readlink(dir + link)
		if err == nil && (path == s.dir || strings.HasPrefix(path, s.dir+"/")) {
			return true
		}
	}
	return false
}

// kill sends SIGKILL to the process, whose number may not be another's by now, and
// waits for its end.
func (p proc) kill() {
	fd, err := unix.PidfdOpen(p.pid, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	if !p.stage.owns(p.pid) {
		return
	}
	if unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0) == nil {
		ctx, cancel := context.WithTimeout(context.Background(), killGuard)
		defer cancel()
		ended(ctx, fd)
	}
}

// killGuard is how long a killed process may take to end before it is asked again.
const killGuard = 10 * time.Second

// ended waits until a pidfd's process has ended; false if ctx ends before.
func ended(ctx context.Context, pidfd int) bool {
	poll := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	for ctx.Err() == nil {
		if n, _ := unix.Poll(poll, 250); n == 1 { // ms, to look at ctx
			return true
		}
	}
	return false
}

// write makes a file in the stage's folder.
func (s *stage) write(name, text string) (path string, err error) {
	path = filepath.Join(s.dir, name)
	return path, os.WriteFile(path, []byte(text), 0o644)
}

// command prepares a program. It ends with the measurement at the latest.
func (s *stage) command(env []string, path string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(s.ctx, path, args...)
	cmd.Dir, cmd.Env, cmd.WaitDelay = s.dir, append(s.env[:len(s.env):len(s.env)], env...), 5*time.Second
	return cmd
}

// cost is what a command took.
type cost struct {
	wall, cpu time.Duration
	out       string
}

// run runs a command that has to succeed.
func (s *stage) run(env []string, path string, args ...string) (cost, error) {
	cmd := s.command(env, path, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	begun := time.Now()
	err := cmd.Run()
	c := cost{wall: time.Since(begun), out: stdout.String()}
	if err != nil {
		return c, fmt.Errorf("%s %s: %w\n%s%s", filepath.Base(path), strings.Join(args, " "), err, &stdout, &stderr)
	}
	c.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	return c, nil
}

// bare is a program that nobody supervises.
type bare struct {
	cmd    *exec.Cmd
	stderr *bytes.Buffer // to be read after its end
	ended  chan struct{} // closed when it was reaped
}

func (b *bare) pid() int { return b.cmd.Process.Pid }

// start starts a program, which lives until the stage is closed. It has a session of
// its own, as a daemon has: the kernel shares processors among sessions first
// (sched(7), autogroup), and on a busy machine a side in the session of this command
// would have another share than one in a daemon's.
func (s *stage) start(stdout *os.File, env []string, path string, args ...string) (*bare, error) {
	b := &bare{exec.Command(path, args...), new(bytes.Buffer), make(chan struct{})}
	b.cmd.Dir, b.cmd.Env = s.dir, append(s.env[:len(s.env):len(s.env)], env...)
	b.cmd.Stdout, b.cmd.Stderr = stdout, b.stderr
	b.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := b.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { // ended by the program, which the stage ends
		b.cmd.Wait()
		close(b.ended)
	}()
	return b, nil
}

// serve starts a program, and returns when it has printed so many lines "ready".
func (s *stage) serve(lines int, env []string, path string, args ...string) (*bare, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	b, err := s.start(w, env, path, args...)
	w.Close()
	if err != nil {
		r.Close()
		return nil, err
	}
	text := bufio.NewScanner(r)
	stop := context.AfterFunc(s.ctx, func() { r.SetReadDeadline(time.Now()) })
	defer stop()
	for n := 0; n < lines; {
		if !text.Scan() {
			r.Close()
			if s.ctx.Err() != nil {
				return nil, s.ctx.Err()
			}
			<-b.ended
			return nil, fmt.Errorf("%s has ended before it was ready: %s", filepath.Base(path), b.stderr)
		}
		if text.Text() == "ready" {
			n++
		}
	}
	go func() { // ended by the last who holds the pipe, which the stage ends
		io.Copy(io.Discard, r)
		r.Close()
	}()
	return b, nil
}

// answers waits until somebody answers at a port: for programs that do not say that
// they are ready.
func (s *stage) answers(port int) error {
	for s.ctx.Err() == nil {
		if _, err := once(port); err == nil {
			return nil
		}
		if err := pause(s.ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
	return s.ctx.Err()
}

// pause lets time pass, which is part of what is measured: a daemon that is left
// alone, a crash after a while.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// The ports are below the kernel's own range (ip_local_port_range), of which any may be
// a connection's, and outside those of the other tests.
const (
	firstPort = 12000
	ports     = 3000
)

// freePort finds a port that nobody has.
func freePort() (int, error) {
	for range ports {
		port := firstPort + rand.IntN(ports)
		ln, err := net.Listen("tcp", local(port))
		if err == nil {
			return port, ln.Close()
		}
	}
	return 0, errors.New("no port is free")
}

// local is a port's address.
func local(port int) string { return "127.0.0.1:" + strconv.Itoa(port) }

// portEnv is its variable.
func portEnv(port int) string { return "PORT=" + strconv.Itoa(port) }

// now is CLOCK_MONOTONIC, which the workers tell too.
func now() time.Duration {
	var t unix.Timespec
	unix.ClockGettime(unix.CLOCK_MONOTONIC, &t)
	return time.Duration(t.Nano())
}

// send is kill(2).
func send(pid int, sig syscall.Signal) error { return unix.Kill(pid, sig) }
