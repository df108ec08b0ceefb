package gate

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// guard is how long a test waits before it says that something hangs.
const guard = 60 * time.Second

func TestMain(m *testing.M) {
	if address := os.Getenv(playTableflip); address != "" {
		os.Exit(tableflipProgram(address))
	}
	if message := os.Getenv(playReady); message != "" {
		os.Exit(readyProgram(message))
	}
	if held := os.Getenv(playDaemon); held != "" {
		os.Exit(daemonProgram(held))
	}
	goleak.VerifyTestMain(m)
}

// rig is a worker's Gates with what they say.
type rig struct {
	*Gates
	t     *testing.T
	child Child
	said  chan Fact
	pid   int // 0 when it has been waited for
	group int // set before Start
}

// open opens Gates; at the end of the test they are closed, and every descriptor is gone.
func open(t *testing.T, cfg Config) *rig {
	t.Helper()
	before := fds(t)
	r := &rig{t: t, said: make(chan Fact, 100_000)}
	cfg.Worker = 7
	if cfg.Notify && cfg.Allow == nil {
		cfg.Allow = func(pid int32, uid uint32) bool {
			pgid, err := unix.Getpgid(int(pid))
			return int(pid) == os.Getpid() || err == nil && pgid == r.group
		}
	}
	g, c, err := Open(cfg, func(f Fact) { r.said <- f })
	if err != nil {
		t.Fatal(err)
	}
	r.Gates, r.child = g, c
	t.Cleanup(func() {
		r.Close()
		if after := fds(t); after != before {
			t.Errorf("descriptors before:\n%s\nafter:\n%s", before, after)
		}
		for len(r.said) > 0 {
			f := <-r.said
			t.Logf("nobody asked for %#v", f)
		}
	})
	return r
}

func fds(t *testing.T) string {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, e := range all {
		to, err := os.Readlink("/proc/self/fd/" + e.Name())
		if err != nil || strings.Contains(to, "eventpoll") || strings.Contains(to, "eventfd") {
			continue // the directory itself; Go's poller, which stays
		}
		fmt.Fprintln(&b, e.Name(), to)
	}
	return b.String()
}

// hold takes the child's end i for the test, which closes it.
func (r *rig) hold(i int) *os.File {
	r.t.Helper()
	fd, err := unix.FcntlInt(uintptr(r.child.Files[i]), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		r.t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "child's end")
	r.t.Cleanup(func() { f.Close() })
	return f
}

// spawn runs argv as the worker in a group of its own, and starts the Gates.
func (r *rig) spawn(env []string, argv ...string) {
	r.t.Helper()
	path, err := exec.LookPath(argv[0])
	if err != nil {
		if os.Getenv("CI") != "" {
			r.t.Fatalf("%s is missing", argv[0])
		}
		r.t.Skipf("%s is missing", argv[0])
	}
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		r.t.Fatal(err)
	}
	files := []uintptr{uintptr(null), uintptr(null), 2}
	for _, fd := range r.child.Files {
		files = append(files, uintptr(fd))
	}
	env = append(append(os.Environ(), r.child.Env(3)...), env...)
	r.pid, err = syscall.ForkExec(path, argv, &syscall.ProcAttr{Env: env, Files: files,
		Sys: &syscall.SysProcAttr{Setpgid: true}})
	unix.Close(null)
	if err != nil {
		r.t.Fatal(err)
	}
	r.group = r.pid
	r.t.Cleanup(func() {
		if r.pid != 0 {
			unix.Kill(-r.pid, unix.SIGKILL)
			r.wait()
		}
	})
	r.CloseChild()
	r.Start()
}

// wait waits for the worker's end.
func (r *rig) wait() syscall.WaitStatus {
	r.t.Helper()
	var ws syscall.WaitStatus
	for {
		_, err := syscall.Wait4(r.pid, &ws, 0, nil)
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			r.t.Fatal(err)
		}
		r.pid = 0
		return ws
	}
}

// next is the next fact.
func (r *rig) next() Fact {
	r.t.Helper()
	select {
	case f := <-r.said:
		return f
	case <-time.After(guard):
		r.t.Fatal("no fact came")
		return nil
	}
}

// want checks the next facts, in this order.
func (r *rig) want(want ...Fact) {
	r.t.Helper()
	for _, w := range want {
		got := r.next()
		if m, ok := w.(Message); ok {
			if g, ok := got.(Message); ok && g.Worker == m.Worker && g.Dropped == m.Dropped && bytes.Equal(g.JSON, m.JSON) {
				continue
			}
			r.t.Fatalf("got %#v (%s), want %s", got, got, m.JSON)
		}
		if got != w {
			r.t.Fatalf("got %#v, want %#v", got, w)
		}
	}
}

// silent checks that nothing has been said.
func (r *rig) silent() {
	r.t.Helper()
	select {
	case f := <-r.said:
		r.t.Fatalf("unexpected %#v", f)
	default:
	}
}

func message(s string) Message { return Message{Worker: 7, JSON: []byte(s)} }
