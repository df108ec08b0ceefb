package workers_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
	"supervisor/testdata/workers"
)

// deadline is a failure guard: nothing here takes a tenth of it.
const deadline = 30 * time.Second

func TestMain(m *testing.M) {
	folder, err := os.MkdirTemp("", "workers")
	if err == nil {
		goServer, err = workers.BuildServer(folder)
	}
	if err == nil {
		python, err = workers.Python()
	}
	if err == nil {
		err = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		os.RemoveAll(folder)
		os.Exit(code)
	}))
}

// goServer and python are found once by TestMain.
var goServer, python string

// program is one way to start a server.
type program struct {
	name string
	args []string
}

func (p program) String() string { return p.name }

func node(script string) program {
	return program{name: script, args: []string{"node", workers.Path("node/" + script)}}
}

func py(script string) program {
	return program{name: script, args: []string{python, "-B", workers.Path("python/" + script)}}
}

func golang(mode string, args ...string) program {
	return program{name: "go " + mode, args: append([]string{goServer, "-mode", mode}, args...)}
}

// proc is a running program; its stdout is heard line by line.
type proc struct {
	t     *testing.T
	cmd   *exec.Cmd
	lines chan string // closed at EOF
	said  []string
	errs  *bytes.Buffer
	wait  func() error
}

// launch starts a program as leader of a group. It is killed at the end of the
// test if it still runs.
func launch(t *testing.T, p program, env ...string) *proc {
	t.Helper()
	return launchWith(t, p, nil, env...)
}

// launchWith also gives the program a file as fd 3.
func launchWith(t *testing.T, p program, file *os.File, env ...string) *proc {
	t.Helper()
	cmd := exec.Command(p.args[0], p.args[1:]...)
	if file != nil {
		cmd.ExtraFiles = []*os.File{file}
	}
	cmd.Env = append(append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1"), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	w := &proc{t: t, cmd: cmd, lines: make(chan string, 1024), errs: new(bytes.Buffer)}
	cmd.Stderr = w.errs
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go w.listen(out) // ends at EOF, when the whole group is gone
	w.wait = sync.OnceValue(cmd.Wait)
	t.Cleanup(func() {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		for range w.lines {
		}
		w.wait()
	})
	return w
}

func (w *proc) listen(out io.Reader) {
	sc := bufio.NewScanner(out)
	for sc.Scan() {
		w.lines <- sc.Text()
	}
	close(w.lines)
}

// hear waits for a line with this beginning and returns the rest of it.
func (w *proc) hear(prefix string) string {
	w.t.Helper()
	guard := time.After(deadline)
	for {
		select {
		case line, ok := <-w.lines:
			if !ok {
				w.t.Fatalf("the worker ended before it said %q; it said %q, %s", prefix, w.said, w.errs)
			}
			w.said = append(w.said, line)
			if rest, ok := strings.CutPrefix(line, prefix); ok {
				return strings.TrimSpace(rest)
			}
		case <-guard:
			w.t.Fatalf("the worker does not say %q; it said %q", prefix, w.said)
		}
	}
}

// exited waits for the end of every process that holds stdout, reaps the
// leader and checks its exit code.
func (w *proc) exited(code int) {
	w.t.Helper()
	guard := time.After(deadline)
	for open := true; open; {
		var line string
		select {
		case line, open = <-w.lines:
			w.said = append(w.said, line)
		case <-guard:
			w.t.Fatalf("the worker does not end; it said %q, %s", w.said, w.errs)
		}
	}
	err := w.wait()
	if got := w.cmd.ProcessState.ExitCode(); got != code {
		w.t.Errorf("exit code %d (%v), want %d; stderr: %s", got, err, code, w.errs)
	}
	// Orphans of the group are ours (TestMain): reap them, there is no other.
	for err = nil; err == nil || err == syscall.EINTR; {
		_, err = syscall.Wait4(-w.cmd.Process.Pid, nil, 0, nil)
	}
	if err := syscall.Kill(-w.cmd.Process.Pid, 0); err != syscall.ESRCH {
		w.t.Errorf("something of the group is left: %v", err)
	}
}

// freePort returns a port that nothing uses. Another program may take it
// before the worker does; nothing on a test machine is likely to.
func freePort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return strconv.Itoa(ln.Addr().(*net.TCPAddr).Port)
}

// address is where a worker is to listen, for it and for a client.
type address struct {
	network, at string
	env         []string
}

func tcp(t *testing.T) address {
	port := freePort(t)
	return address{"tcp", "127.0.0.1:" + port, []string{"PORT=" + port}}
}

func unixSocket(t *testing.T) address {
	path := filepath.Join(t.TempDir(), "s")
	return address{"unix", path, []string{"SOCKET_PATH=" + path}}
}

// call is one connection for one request.
type call struct{ conn net.Conn }

func dial(t *testing.T, a address) call {
	t.Helper()
	conn, err := net.DialTimeout(a.network, a.at, deadline)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(deadline))
	return call{conn}
}

// get sends a request and returns the pid of the answer.
func (c call) get(path string) (string, error) {
	if _, err := fmt.Fprintf(c.conn, "GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", path); err != nil {
		return "", err
	}
	resp, err := http.ReadResponse(bufio.NewReader(c.conn), nil)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", err
	}
	if pid := resp.Header.Get("X-Pid"); resp.StatusCode != 200 || pid != string(body) {
		return "", fmt.Errorf("status %d, X-Pid %q, body %q", resp.StatusCode, pid, body)
	}
	return string(body), nil
}

// holdListener takes a copy of the listening socket at addr from a process,
// as the supervisor does: so its accept queue outlives the process.
func holdListener(t *testing.T, pid int) []int {
	t.Helper()
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pidfd)
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	var held []int
	for _, e := range entries {
		n, _ := strconv.Atoi(e.Name())
		fd, err := unix.PidfdGetfd(pidfd, n, 0)
		if err == unix.EBADF { // closed since: no listener, which stays
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if on, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN); err != nil || on == 0 {
			unix.Close(fd)
			continue
		}
		held = append(held, fd)
	}
	if len(held) == 0 {
		t.Fatalf("process %d does not listen", pid)
	}
	return held
}
