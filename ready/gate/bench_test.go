package gate

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// playReady makes the test binary a worker that says this on descriptor 3, or on its
// NOTIFY_SOCKET if there is one, and on stdout when it did.
const playReady = "GATE_BENCH_READY"

// BenchmarkReady is the time from a worker's write of its ready message to the fact:
// open-us, the median of a real process per operation, whose own boot (all of ns/op)
// does not count.
func BenchmarkReady(b *testing.B) {
	for _, channel := range []struct {
		name    string
		config  Config
		message string
	}{
		{"READY_FD", Config{FD: true}, "\n"},
		{"NOTIFY_SOCKET", Config{Notify: true, Allow: func(int32, uint32) bool { return true }}, "READY=1"},
		{"node", Config{Node: true}, "\"ready\"\n"},
	} {
		b.Run(channel.name, func(b *testing.B) {
			var took []time.Duration
			for b.Loop() {
				took = append(took, readyTime(b, channel.config, channel.message))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Nanoseconds())/1e3, "open-us")
		})
	}
}

func readyTime(b *testing.B, config Config, message string) time.Duration {
	came := make(chan time.Duration, 1)
	g, child, err := Open(config, func(f Fact) {
		if _, ok := f.(Ready); ok {
			came <- monotonic()
		}
	})
	if err != nil {
		b.Fatal(err)
	}
	defer g.Close()
	r, w, err := os.Pipe()
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	files := []uintptr{2, uintptr(dup(b, w)), 2}
	w.Close()
	for _, fd := range child.Files {
		files = append(files, uintptr(fd))
	}
	env := append(append(os.Environ(), playReady+"="+message), child.Env(3)...)
	pid, err := syscall.ForkExec("/proc/self/exe", os.Args[:1], &syscall.ProcAttr{Env: env, Files: files})
	unix.Close(int(files[1]))
	if err != nil {
		b.Fatal(err)
	}
	g.CloseChild()
	g.Start()
	var said int64
	if _, err := fmt.Fscan(r, &said); err != nil {
		b.Fatal(err)
	}
	unix.Wait4(pid, nil, 0, nil)
	select {
	case at := <-came:
		return at - time.Duration(said)
	case <-time.After(guard):
		b.Fatal("the gate does not open")
	}
	return 0
}

func dup(b *testing.B, f *os.File) int {
	raw, err := f.SyscallConn()
	if err != nil {
		b.Fatal(err)
	}
	var fd int
	if cerr := raw.Control(func(n uintptr) { fd, err = unix.FcntlInt(n, unix.F_DUPFD_CLOEXEC, 0) }); cerr != nil || err != nil {
		b.Fatal(cerr, err)
	}
	return fd
}

// monotonic is a clock that all processes share.
func monotonic() time.Duration {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts) // can't fail
	return time.Duration(ts.Nano())
}

// readyProgram is the worker of BenchmarkReady.
func readyProgram(message string) int {
	fd := 3
	if address := os.Getenv("NOTIFY_SOCKET"); address != "" {
		fd, _ = unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err := unix.Connect(fd, &unix.SockaddrUnix{Name: address}); err != nil {
			return 1
		}
	}
	at := monotonic()
	if _, err := unix.Write(fd, []byte(message)); err != nil {
		return 1
	}
	os.Stdout.WriteString(strconv.FormatInt(int64(at), 10) + "\n")
	return 0
}
