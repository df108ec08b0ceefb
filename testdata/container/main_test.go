package container

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"supervisor/testdata/lab"
)

func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == initWord {
		initMain(os.Args[2])
	}
	os.Exit(lab.Main(m))
}

// programs are paths of what is put into images.
type programs struct{ supervisor, worker, hello string }

var buildPrograms = sync.OnceValues(func() (programs, error) {
	p := programs{lab.Binary, filepath.Join(lab.Built, "worker"), filepath.Join(lab.Built, "hello")}
	for path, source := range map[string]string{p.worker: "./worker", p.hello: "../hello"} {
		cmd := exec.Command("go", "build", "-o", path, source)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return p, fmt.Errorf("cannot build %s: %w\n%s", source, err, out)
		}
	}
	return p, nil
})

func binaries(t *testing.T) programs {
	t.Helper()
	lab.Consult()
	p, err := buildPrograms()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// container is one that runs.
type container struct {
	t     *testing.T
	cmd   *exec.Cmd
	out   *said // its stdout
	err   *said // its stderr
	ended chan struct{}
}

// run starts a container.
func run(t *testing.T, i image, change func(*world)) *container {
	t.Helper()
	if os.Geteuid() != 0 {
		lab.Missing(t, "a container needs root")
	}
	w := world{Root: i.root, Dir: i.dir, Args: i.args, Env: i.env, UID: i.uid, Tmpfs: []string{"/home"}}
	if change != nil {
		change(&w)
	}
	text, err := json.Marshal(w)
	if err != nil {
		t.Fatal(err)
	}
	c := &container{t: t, cmd: exec.Command("/proc/self/exe", initWord, string(text)), out: newSaid(), err: newSaid(), ended: make(chan struct{})}
	c.cmd.Env = []string{}
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWNET}
	c.cmd.Stdout, c.cmd.Stderr, c.cmd.ExtraFiles = c.out, c.err, w.Passed
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { // ends with the container, which the clean-up ends
		c.cmd.Wait()
		close(c.ended)
	}()
	t.Cleanup(func() {
		c.cmd.Process.Kill()
		<-c.ended
	})
	return c
}

// code waits for the container's end and returns its exit code, 128 and more for a signal.
func (c *container) code() int {
	c.t.Helper()
	select {
	case <-c.ended:
	case <-time.After(lab.Guard):
		c.t.Fatalf("it goes on:\n%s", c.all())
	}
	status := c.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if status.Signaled() {
		return 128 + int(status.Signal())
	}
	return status.ExitStatus()
}

// ends fails the test unless the container ends with a code.
func (c *container) ends(code int) {
	c.t.Helper()
	if is := c.code(); is != code {
		c.t.Fatalf("exit code %d, want %d:\n%s", is, code, c.all())
	}
}

func (c *container) all() string { return c.out.String() + c.err.String() }

// await waits until a stream has a text, and returns the rest of its line.
func (c *container) await(s *said, text string) string {
	c.t.Helper()
	guard := time.After(lab.Guard)
	for {
		so, more := s.until()
		if _, after, found := strings.Cut(so, text); found {
			if line, _, whole := strings.Cut(after, "\n"); whole {
				return line
			}
		}
		select {
		case <-more:
		case <-c.ended:
			if so, _ := s.until(); !strings.Contains(so, text) {
				c.t.Fatalf("it ended without %q:\n%s", text, c.all())
			}
		case <-guard:
			c.t.Fatalf("no %q:\n%s", text, c.all())
		}
	}
}

// pid is a worker's, in the container.
func (c *container) pid(app string) (pid int) {
	c.t.Helper()
	fmt.Sscan(c.await(c.out, app+" is pid "), &pid)
	return pid
}

// signal sends one to the container's first process.
func (c *container) signal(s syscall.Signal) {
	c.t.Helper()
	if err := c.cmd.Process.Signal(s); err != nil {
		c.t.Fatal(err)
	}
}

// process opens a process of the container by the pid that it has there.
func (c *container) process(pid int) (pidfd int) {
	c.t.Helper()
	ours, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", c.cmd.Process.Pid))
	if err != nil {
		c.t.Fatal(err)
	}
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		if ns, _ := os.Readlink(dir + "/ns/pid"); ns != ours {
			continue
		}
		status, _ := os.ReadFile(dir + "/status")
		for line := range strings.Lines(string(status)) {
			f := strings.Fields(line)
			if len(f) > 1 && f[0] == "NSpid:" && f[len(f)-1] == fmt.Sprint(pid) {
				var outside int
				fmt.Sscan(filepath.Base(dir), &outside)
				fd, err := unix.PidfdOpen(outside, 0)
				if err != nil {
					c.t.Fatal(err)
				}
				c.t.Cleanup(func() { unix.Close(fd) })
				return fd
			}
		}
	}
	c.t.Fatalf("there is no pid %d in the container:\n%s", pid, c.all())
	return -1
}

// kill sends a signal to a process of the container.
func (c *container) kill(pid int, s syscall.Signal) {
	c.t.Helper()
	if err := unix.PidfdSendSignal(c.process(pid), s, nil, 0); err != nil {
		c.t.Fatal(err)
	}
}

// reaped fails the test unless a process that has been told to end leaves nothing, not even
// a zombie: since Linux 6.9 its pidfd says that by POLLHUP.
func (c *container) reaped(pidfd int) {
	c.t.Helper()
	for {
		fds := []unix.PollFd{{Fd: int32(pidfd)}}
		n, err := unix.Poll(fds, guardMS)
		if err == unix.EINTR {
			continue
		}
		if n != 1 || fds[0].Revents&unix.POLLHUP == 0 {
			c.t.Fatalf("it is a zombie: %v\n%s", err, c.all())
		}
		return
	}
}

// exec runs the supervisor in the container as an engine's exec does.
func (c *container) exec(w image, args ...string) string {
	c.t.Helper()
	enter := []string{"--target", fmt.Sprint(c.cmd.Process.Pid), "--mount", "--pid", "--net", "--root", "--wd",
		"--setgid", fmt.Sprint(w.uid), "--setuid", fmt.Sprint(w.uid), w.args[0]}
	cmd := exec.Command(lab.Need(c.t, "nsenter"), append(enter, args...)...)
	cmd.Env = w.env
	out, err := cmd.CombinedOutput()
	if err != nil {
		c.t.Fatalf("%s: %v\n%s\n%s", strings.Join(args, " "), err, out, c.all())
	}
	return string(out)
}

// said is what came on a stream so far.
type said struct {
	mu   sync.Mutex
	buf  bytes.Buffer
	more chan struct{} // closed when there is more
}

var _ io.Writer = (*said)(nil)

func newSaid() *said { return &said{more: make(chan struct{})} }

func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.more)
	s.more = make(chan struct{})
	return s.buf.Write(p)
}

func (s *said) until() (string, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.String(), s.more
}

func (s *said) String() string {
	text, _ := s.until()
	return text
}
