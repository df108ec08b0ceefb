package usage

import (
	"bufio"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"
)

// childMode makes the test binary play a worker.
const childMode = "USAGE_TEST_CHILD"

func TestMain(m *testing.M) {
	switch os.Getenv(childMode) {
	case "":
		goleak.VerifyTestMain(m)
	case "idle":
		idleChild()
	case "family":
		familyChild()
	case "accept":
		acceptChild()
	}
}

// idleChild says that it lives and ends when its stdin does.
func idleChild() {
	os.Stdout.WriteString("up\n")
	io.Copy(io.Discard, os.Stdin)
}

// familyChild burns cpu and memory and has a child in its group and one in a
// group of its own.
func familyChild() {
	memory := make([]byte, 64<<20)
	for i := 0; i < len(memory); i += os.Getpagesize() {
		memory[i] = 1
	}
	var pids []*worker
	for _, group := range []bool{false, true} {
		w, err := spawn("idle", group, nil)
		if err != nil {
			panic(err)
		}
		pids = append(pids, w)
	}
	os.Stdout.WriteString("up\n")
	in := bufio.NewReader(os.Stdin)
	for {
		if _, err := in.ReadString('\n'); err != nil {
			break
		}
		spin()
		os.Stdout.WriteString("spun\n")
	}
	for _, w := range pids {
		w.end()
	}
	_ = memory[len(memory)-1]
}

// spin uses at least 200 ms of cpu time, by the process's own clock.
func spin() {
	var start, now syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &start)
	for {
		for i := range 1 << 20 {
			_ = i * i
		}
		syscall.Getrusage(syscall.RUSAGE_SELF, &now)
		if now.Utime.Nano()+now.Stime.Nano()-start.Utime.Nano()-start.Stime.Nano() > 200e6 {
			return
		}
	}
}

// acceptChild accepts on fd 3, says so per connection, and keeps them; a line
// on stdin makes a grandchild that inherits the last connection.
func acceptChild() {
	ln, err := net.FileListener(os.NewFile(3, "listener"))
	if err != nil {
		panic(err)
	}
	go func() { // ends with the process
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			f, err := c.(interface{ File() (*os.File, error) }).File()
			if err != nil {
				panic(err)
			}
			_ = f // open twice: counted once
			os.Stdout.WriteString("accepted\n")
			kept = append(kept, c, f)
		}
	}()
	os.Stdout.WriteString("up\n")
	io.Copy(io.Discard, os.Stdin)
}

// kept holds connections against the finalizer.
var kept []io.Closer

// worker is a child process that speaks in lines.
type worker struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func spawn(mode string, group bool, extra *os.File) (*worker, error) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childMode+"="+mode, "GORACE=atexit_sleep_ms=0") // else a second with the race detector
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: group}
	if extra != nil {
		cmd.ExtraFiles = []*os.File{extra}
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	w := &worker{cmd: cmd, in: in, out: bufio.NewReader(out)}
	_, err = w.out.ReadString('\n')
	return w, err
}

func (w *worker) end() error {
	w.in.Close()
	return w.cmd.Wait()
}

func start(t *testing.T, mode string, extra *os.File) *worker {
	t.Helper()
	w, err := spawn(mode, true, extra)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.end(); err != nil {
			t.Errorf("the worker ended with %v", err)
		}
	})
	return w
}

// hear waits for a line of the worker.
func (w *worker) hear(t *testing.T, want string) {
	t.Helper()
	got, err := w.out.ReadString('\n')
	if err != nil || strings.TrimSpace(got) != want {
		t.Fatalf("worker said %q, %v; want %q", got, err, want)
	}
}
