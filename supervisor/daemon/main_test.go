package daemon

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"supervisor/supervisor/control"
	"supervisor/supervisor/handover"
	"supervisor/supervisor/process"
	"supervisor/supervisor/state"
)

// guard is when a test gives up on an event that must come.
const guard = 60 * time.Second

// The test binary is the shim, the keeper and every worker as well.
func TestMain(m *testing.M) {
	if process.IsShim(os.Args) {
		process.ShimMain()
	}
	if handover.IsKeeper(os.Args) {
		os.Exit(handover.KeeperMain(os.Args))
	}
	if os.Getenv("LISTEN_PID") != "" { // the daemon of a test's keeper, whose test has ended
		h, _ := handover.NewHolder(os.Getenv("NOTIFY_SOCKET"), nil)
		h.Say("X_END=0")
		os.Exit(0)
	}
	if len(os.Args) > 2 && os.Args[1] == workerWord {
		work(os.Args[2])
	}
	// What a worker leaves behind comes to us, to be counted.
	unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
	r, w, _ := os.Pipe() // opens Go's poller before descriptors are counted
	r.Close()
	w.Close()
	os.Exit(m.Run())
}

// workerWord is the first argument of a test binary that is a worker.
const workerWord = "worker"

// work is a worker's life; it never returns.
func work(role string) {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, unix.SIGINT)
	switch role {
	case "serve": // listens on PORT, ends at SIGINT
		ln, err := net.Listen("tcp", "127.0.0.1:"+os.Getenv("PORT"))
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		go http.Serve(ln, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok") })) // ends with the process
		<-stop
	case "ready": // says ready on READY_FD, ends at SIGINT
		fd, _ := strconv.Atoi(os.Getenv("READY_FD"))
		unix.Write(fd, []byte("ready\n"))
		<-stop
	case "stubborn": // has a child; both end by SIGKILL alone
		signal.Ignore(unix.SIGINT)
		if os.Getenv("CHILD") == "" {
			p, err := os.StartProcess(os.Args[0], os.Args, &os.ProcAttr{Env: append(os.Environ(), "CHILD=1"), Files: []*os.File{nil, os.Stdout, os.Stderr}})
			if err != nil {
				os.Exit(1)
			}
			p.Release()
		}
		fd, _ := strconv.Atoi(os.Getenv("READY_FD"))
		unix.Write(fd, []byte("ready\n"))
		<-make(chan os.Signal)
	case "crash":
		fmt.Fprintln(os.Stderr, "no database here")
		os.Exit(7)
	}
	os.Exit(0)
}

// instance is a daemon in this process.
type instance struct {
	t      *testing.T
	home   string
	client *control.Client
	code   chan int
	logged string // path of what it logs
}

// launch runs Main until its ready line, which it returns with the instance.
func launch(t *testing.T, home string, o Options) (*instance, string) {
	t.Helper()
	i := &instance{t: t, home: home, client: control.Dial(filepath.Join(home, "supervisor.sock")), code: make(chan int, 1)}
	out, err := os.CreateTemp(t.TempDir(), "log")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { out.Close() })
	i.logged = out.Name()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	o.Home, o.Version, o.Ready = home, "test", w
	if o.Stderr == nil {
		o.Stderr = out
	}
	go func() { i.code <- Main(o) }() // ends with the daemon
	line, err := bufio.NewReader(r).ReadString('\n')
	if err != nil {
		t.Fatalf("no ready line: %v\n%s", err, i.log())
	}
	return i, line
}

// begin starts a daemon that has to come up, and ends it with the test.
func begin(t *testing.T, o Options) *instance {
	t.Helper()
	i, line := launch(t, shortDir(t), o)
	if line != readyOK {
		t.Fatalf("the daemon says %q\n%s", line, i.log())
	}
	return i
}

// shortDir is a folder whose sockets have short paths.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "sd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func (i *instance) log() string {
	data, _ := os.ReadFile(i.logged)
	return string(data)
}

// do sends a request that has to be heard.
func (i *instance) do(req state.Request) state.Result {
	i.t.Helper()
	if req.Env == nil {
		req.Env = i.env()
	}
	res, err := i.client.Do(i.t.Context(), req, nil)
	if err != nil {
		i.t.Fatalf("%s: %v\n%s", req.Verb, err, i.log())
	}
	return res
}

// must sends a request that has to be done.
func (i *instance) must(req state.Request) state.Result {
	i.t.Helper()
	res := i.do(req)
	if res.Error != nil {
		i.t.Fatalf("%s %v: %s\n%s\n%s", req.Verb, req.Names, res.Error.Message, strings.Join(res.Error.Details, "\n"), i.log())
	}
	return res
}

// env is the caller's: its mark is in every worker of this daemon. A worker is this
// binary, which under the race detector would wait a second before each exit.
func (i *instance) env() []string {
	return append(os.Environ(), i.mark(), "GORACE=atexit_sleep_ms=0")
}

func (i *instance) mark() string { return "TEST_DAEMON=" + i.home }

func (i *instance) list() state.Snapshot {
	i.t.Helper()
	snap, err := i.client.List(i.t.Context())
	if err != nil {
		i.t.Fatal(err)
	}
	return snap
}

// workers lists the living processes that have the mark, by the app they are of.
func (i *instance) workers() map[string][]int {
	found := map[string][]int{}
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		data, err := os.ReadFile(filepath.Join(dir, "environ"))
		if err != nil {
			continue
		}
		env := strings.Split(string(data), "\x00")
		if slices.Contains(env, i.mark()) {
			pid, _ := strconv.Atoi(filepath.Base(dir))
			app := lookEnv(env, "SUPERVISOR_APP")
			found[app] = append(found[app], pid)
		}
	}
	return found
}

// ended waits for the daemon's exit code.
func (i *instance) ended() int {
	i.t.Helper()
	select {
	case code := <-i.code:
		return code
	case <-time.After(guard):
		i.t.Fatalf("the daemon does not end\n%s", i.log())
		return -1
	}
}

// kill ends the daemon and checks what is left of it.
func (i *instance) kill() {
	i.t.Helper()
	i.must(state.Request{Verb: state.VerbKill})
	if code := i.ended(); code != state.ExitOK {
		i.t.Errorf("exit code %d\n%s", code, i.log())
	}
	i.gone()
}

// gone checks that no process and no file of a running daemon is left.
func (i *instance) gone() {
	i.t.Helper()
	if left := i.workers(); len(left) > 0 {
		i.t.Errorf("workers left: %v\n%s", left, i.log())
	}
	for _, name := range []string{"supervisor.sock", "supervisor.pid", "state/w*", "run/*"} {
		if left, _ := filepath.Glob(filepath.Join(i.home, name)); len(left) > 0 {
			i.t.Errorf("left behind: %v", left)
		}
	}
}

// leaktight fails a test that leaves a goroutine, descriptor or process. It is
// called first, so that its check is the last.
func leaktight(t *testing.T) {
	t.Helper()
	before := openFiles()
	t.Cleanup(func() {
		if err := goleak.Find(); err != nil {
			t.Error(err)
		}
		for { // grandchildren that have ended, whose parent we are in this test alone
			pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil)
			if err == unix.ECHILD {
				break
			} else if pid == 0 {
				t.Error("a child process is left")
				break
			}
		}
		if after := openFiles(); len(after) > len(before) {
			t.Errorf("descriptors before: %q, after: %q", before, after)
		}
	})
}

func openFiles() []string {
	entries, _ := os.ReadDir("/proc/self/fd")
	var list []string
	for _, e := range entries {
		if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && !strings.HasPrefix(to, "/proc/") {
			list = append(list, e.Name()+" "+to)
		}
	}
	return list
}

// yaml writes an ecosystem whose apps are this test binary, each as the keys beside
// its script.
func (i *instance) yaml(apps ...string) string {
	i.t.Helper()
	self, err := os.Executable()
	if err != nil {
		i.t.Fatal(err)
	}
	text := "apps:\n"
	for _, keys := range apps {
		text += "  - script: " + self + "\n    " + strings.ReplaceAll(strings.TrimSpace(keys), "\n", "\n    ") + "\n"
	}
	path := filepath.Join(i.home, "ecosystem.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		i.t.Fatal(err)
	}
	return path
}

// port is one that nobody has at this moment, of those that package listener's tests (23000 and
// up) leave to this one, and that no outgoing connection of
// another test is given (ip_local_port_range begins above).
func port(t *testing.T) int {
	t.Helper()
	for range 1000 {
		n := 20000 + rand.IntN(3000)
		if ln, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", n)); err == nil {
			ln.Close()
			return n
		}
	}
	t.Fatal("no port is free")
	return 0
}
