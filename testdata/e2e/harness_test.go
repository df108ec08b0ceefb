package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"supervisor/supervisor/state"
	"supervisor/testdata/lab"
	"supervisor/testdata/load"
	"supervisor/testdata/workers"
)

// guard bounds what a test waits for.
const guard = lab.Guard

func TestMain(m *testing.M) { os.Exit(lab.Main(m)) }

// need skips a test whose tool is missing; under CI that is a failure.
func need(t *testing.T, tool string) string {
	t.Helper()
	return lab.Need(t, tool)
}

// sourcePath is the path of a file of this folder.
func sourcePath(name string) string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), name)
}

// goServer returns testdata/workers/go/server, static, built by the first who asks.
func goServer(t *testing.T) string {
	t.Helper()
	path, err := buildServer()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

var buildServer = sync.OnceValues(func() (string, error) { return workers.BuildServer(lab.Built) })

// python returns the interpreter itself: python3 may be a version manager's script.
func python(t *testing.T) string {
	t.Helper()
	need(t, "python3")
	path, err := findPython()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

var findPython = sync.OnceValues(workers.Python)

// supervisor is one test's supervisor: its home, and a folder for apps.
type supervisor struct {
	*lab.Supervisor
	t *testing.T
}

// newSupervisor gives a test a home. Nothing runs until its first command does.
func newSupervisor(t *testing.T) *supervisor {
	t.Helper()
	s := &supervisor{lab.New(t, "apps"), t}
	t.Cleanup(s.end)
	return s
}

// end stops everything and checks that nothing of the test is left.
func (s *supervisor) end() {
	if s.t.Failed() {
		s.t.Logf("supervisor.log:\n%s", s.read(s.Log()))
	}
	s.End()
	for _, name := range []string{"supervisor.sock", "supervisor.pid"} {
		if _, err := os.Lstat(filepath.Join(s.Home, name)); err == nil {
			s.t.Errorf("left behind: %s", name)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(s.Home, "state", "w*")); len(left) > 0 {
		s.t.Errorf("left behind: %v", left)
	}
}

// reload runs a reload and returns its only receipt with the exit code.
func (s *supervisor) reload(args ...string) (state.Receipt, int) {
	s.t.Helper()
	receipts, out := s.Receipts(args...)
	if len(receipts) != 1 {
		s.t.Fatalf("reload: %d receipts\n%s", len(receipts), out.All())
	}
	return receipts[0], out.Code
}

// complete runs a reload that has to be complete and replace every worker.
func (s *supervisor) complete(name string, args ...string) state.Receipt {
	s.t.Helper()
	before := s.Pids(name)
	receipt, code := s.reload(append([]string{name}, args...)...)
	if code != 0 || receipt.Result != state.Complete {
		s.t.Fatalf("reload: exit %d, %s: %s\n%+v", code, receipt.Result, receipt.Reason, receipt)
	}
	for _, pid := range s.Pids(name) {
		for _, old := range before {
			if pid == old {
				s.t.Errorf("pid %d was not replaced", pid)
			}
		}
	}
	return receipt
}

// write puts a file into the test's folder.
func (s *supervisor) write(name, text string) string {
	s.t.Helper()
	path := filepath.Join(s.Dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		s.t.Fatal(err)
	}
	return path
}

// ecosystem writes ecosystem.yaml with the given apps, each as its keys, one to a line.
func (s *supervisor) ecosystem(apps ...string) string {
	s.t.Helper()
	text := "apps:\n"
	for _, keys := range apps {
		text += "  - " + strings.ReplaceAll(strings.TrimSpace(keys), "\n", "\n    ") + "\n"
	}
	return s.write("ecosystem.yaml", text)
}

// copy puts a copy of a file into the test's folder, so that a test can make a new
// release of it.
func (s *supervisor) copy(name, from string) string {
	s.t.Helper()
	return s.write(name, s.read(from))
}

func (s *supervisor) read(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return string(data)
}

// ports are those of this package.
var ports = lab.Ports{First: 20000, Count: 12000}

func freePort(t *testing.T) int {
	t.Helper()
	return ports.Free(t)
}

// under keeps a load on an address while do runs, and fails the test for every
// request that was lost. It returns the result for more questions.
func under(t *testing.T, cfg load.Config, do func(l *load.Load)) load.Result {
	t.Helper()
	return lab.Under(t, func(loads []*load.Load) { do(loads[0]) }, cfg)[0]
}

// lossy is under without the judgement.
func lossy(t *testing.T, cfg load.Config, do func(l *load.Load)) load.Result {
	t.Helper()
	return lab.Lossy(t, func(loads []*load.Load) { do(loads[0]) }, cfg)[0]
}

// on is the load's address for a port of this machine.
func on(port int) load.Config {
	return load.Config{Address: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), Clients: clients}
}

// clients is how many ask at the same time.
const clients = lab.Clients

// group lists the processes of a worker's process group. Not by processes: nginx
// writes its title over its environment.
func (s *supervisor) group(leader int) (pids []int) {
	s.t.Helper()
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		pid, _ := strconv.Atoi(filepath.Base(dir))
		if pgid, err := unix.Getpgid(pid); err == nil && pgid == leader {
			pids = append(pids, pid)
		}
	}
	return alive(pids)
}

// alive returns those of pids that run; a zombie does not.
func alive(pids []int) (running []int) {
	for _, pid := range pids {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if _, rest, ok := strings.Cut(string(stat), ") "); err == nil && ok && rest[0] != 'Z' && rest[0] != 'X' {
			running = append(running, pid)
		}
	}
	return running
}

// deref is a pointer's value for a message, or nil.
func deref[T any](p *T) any {
	if p == nil {
		return nil
	}
	return *p
}

func contains(t *testing.T, text, says string) {
	t.Helper()
	if !strings.Contains(text, says) {
		t.Errorf("it does not say %q:\n%s", says, text)
	}
}
