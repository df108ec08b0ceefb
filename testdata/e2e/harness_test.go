package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"supervisor/supervisor/state"
	"supervisor/testdata/load"
	"supervisor/testdata/workers"
)

// binary is the supervisor, built once, in the folder of what is built for tests.
var binary, built string

// guard bounds what a test waits for; it is no measure of anything.
const guard = 60 * time.Second

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "supervisor-e2e")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		built = dir
		binary = filepath.Join(dir, "supervisor-under-test")
		build := exec.Command("go", "build", "-o", binary, "supervisor")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "cannot build the supervisor: %v\n%s", err, out)
			return 1
		}
		return m.Run()
	}())
}

// need skips a test whose tool is missing; under CI that is a failure.
func need(t *testing.T, tool string) string {
	t.Helper()
	path, err := exec.LookPath(tool)
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("%s is missing", tool)
		}
		t.Skipf("%s is missing", tool)
	}
	return path
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

var buildServer = sync.OnceValues(func() (string, error) { return workers.BuildServer(built) })

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
	t    *testing.T
	home string
	dir  string
	env  []string
}

// start gives a test a home. Nothing runs until its first command does.
func newSupervisor(t *testing.T) *supervisor {
	t.Helper()
	// Not t.TempDir: with a test's name in it, a socket's path is too long (unix(7)).
	root, err := os.MkdirTemp("", "sv")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(root) })
	s := &supervisor{t: t, home: filepath.Join(root, "home"), dir: filepath.Join(root, "apps")}
	if err := os.Mkdir(s.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "SUPERVISOR_") && !strings.HasPrefix(e, "PORT=") {
			s.env = append(s.env, e)
		}
	}
	s.env = append(s.env, "SUPERVISOR_HOME="+s.home)
	t.Cleanup(s.end)
	return s
}

// end stops everything and checks that nothing of the test is left.
func (s *supervisor) end() {
	if s.t.Failed() {
		s.t.Logf("supervisor.log:\n%s", s.read(filepath.Join(s.home, "supervisor.log")))
	}
	if out := s.run("kill"); out.code != 0 {
		s.t.Errorf("kill: exit %d: %s%s", out.code, out.stdout, out.stderr)
	}
	for _, p := range s.processes() {
		s.t.Errorf("left behind: %s", p)
		if pid, err := strconv.Atoi(strings.Fields(p)[0]); err == nil {
			if proc, err := os.FindProcess(pid); err == nil {
				proc.Kill()
			}
		}
	}
	for _, name := range []string{"supervisor.sock", "supervisor.pid"} {
		if _, err := os.Lstat(filepath.Join(s.home, name)); err == nil {
			s.t.Errorf("left behind: %s", name)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(s.home, "state", "w*")); len(left) > 0 {
		s.t.Errorf("left behind: %v", left)
	}
}

// processes lists what runs with the test's home in its environment.
func (s *supervisor) processes() (found []string) {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		env, err := os.ReadFile(filepath.Join(dir, "environ"))
		if err != nil || !bytes.Contains(env, []byte("SUPERVISOR_HOME="+s.home+"\x00")) {
			continue
		}
		cmd, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		if len(cmd) == 0 {
			continue // a zombie, or on its way out
		}
		found = append(found, filepath.Base(dir)+" "+strings.ReplaceAll(string(cmd), "\x00", " "))
	}
	return found
}

// output is what one command came to.
type output struct {
	stdout, stderr string
	code           int
}

func (o output) all() string { return o.stdout + o.stderr }

// command prepares one command of the supervisor under test.
func (s *supervisor) command(args ...string) *exec.Cmd {
	cmd := exec.Command(binary, args...)
	cmd.Env, cmd.Dir = s.env, s.dir
	return cmd
}

func (s *supervisor) run(args ...string) output {
	s.t.Helper()
	cmd := s.command(args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		s.t.Fatalf("supervisor %s: %v", strings.Join(args, " "), err)
	}
	return output{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// must runs a command that has to succeed.
func (s *supervisor) must(args ...string) output {
	s.t.Helper()
	out := s.run(args...)
	if out.code != 0 {
		s.t.Fatalf("supervisor %s: exit %d\n%s%s", strings.Join(args, " "), out.code, out.stdout, out.stderr)
	}
	return out
}

// fails runs a command that has to end with a code and say each of the texts.
func (s *supervisor) fails(code int, texts []string, args ...string) output {
	s.t.Helper()
	out := s.run(args...)
	if out.code != code {
		s.t.Fatalf("supervisor %s: exit %d, want %d\n%s", strings.Join(args, " "), out.code, code, out.all())
	}
	for _, text := range texts {
		if !strings.Contains(out.all(), text) {
			s.t.Errorf("supervisor %s does not say %q:\n%s", strings.Join(args, " "), text, out.all())
		}
	}
	return out
}

func (s *supervisor) decode(text string, into any) {
	s.t.Helper()
	if err := json.Unmarshal([]byte(text), into); err != nil {
		s.t.Fatalf("no JSON: %v\n%s", err, text)
	}
}

func (s *supervisor) list() state.Snapshot {
	s.t.Helper()
	var snap state.Snapshot
	s.decode(s.must("list", "--json").stdout, &snap)
	return snap
}

func (s *supervisor) app(name string) state.App {
	s.t.Helper()
	for _, a := range s.list().Apps {
		if a.Name == name {
			return a
		}
	}
	s.t.Fatalf("no app %s", name)
	return state.App{}
}

// pids are those of an app's workers by slot.
func (s *supervisor) pids(name string) []int {
	s.t.Helper()
	var pids []int
	for _, w := range s.app(name).Workers {
		pids = append(pids, w.PID)
	}
	return pids
}

// reload runs a reload and returns its only receipt with the exit code.
func (s *supervisor) reload(args ...string) (state.Receipt, int) {
	s.t.Helper()
	out := s.run(append([]string{"reload", "--json"}, args...)...)
	var result struct{ Apps []state.Receipt }
	s.decode(out.stdout, &result)
	if len(result.Apps) != 1 {
		s.t.Fatalf("reload: %d receipts\n%s", len(result.Apps), out.all())
	}
	return result.Apps[0], out.code
}

// complete runs a reload that has to be complete and replace every worker.
func (s *supervisor) complete(name string, args ...string) state.Receipt {
	s.t.Helper()
	before := s.pids(name)
	receipt, code := s.reload(append([]string{name}, args...)...)
	if code != 0 || receipt.Result != state.Complete {
		s.t.Fatalf("reload: exit %d, %s: %s\n%+v", code, receipt.Result, receipt.Reason, receipt)
	}
	for _, pid := range s.pids(name) {
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
	path := filepath.Join(s.dir, name)
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

// ports are handed out below the kernel's own range (ip_local_port_range), of which
// any may belong to a connection at any time.
var ports atomic.Int32

const (
	firstPort = 20000
	portCount = 12000
)

// freePort returns a port that nobody has at this moment, and no other test has had.
func freePort(t *testing.T) int {
	t.Helper()
	ports.CompareAndSwap(0, rand.Int32N(portCount))
	for range portCount {
		port := firstPort + int(ports.Add(1))%portCount
		ln, err := net.Listen("tcp", ":"+strconv.Itoa(port))
		if err == nil {
			ln.Close()
			return port
		}
	}
	t.Fatal("no port is free")
	return 0
}

// under keeps a load on an address while do runs, and fails the test for every
// request that was lost. It returns the result for more questions.
func under(t *testing.T, cfg load.Config, do func(l *load.Load)) load.Result {
	t.Helper()
	result := lossy(t, cfg, do)
	if result.Failed > 0 {
		t.Errorf("%d of %d requests lost: %v\n%s", result.Failed, result.Requests, result.Failures, strings.Join(result.Examples, "\n"))
	}
	return result
}

// flowing is how many answers say that a load flows, before and after.
const flowing = 50

// lossy is under without the judgement.
func lossy(t *testing.T, cfg load.Config, do func(l *load.Load)) load.Result {
	t.Helper()
	l := load.Run(t.Context(), cfg)
	defer l.Stop()
	flows(t, l)
	do(l)
	flows(t, l)
	result := l.Stop()
	t.Logf("%d requests, %d lost", result.Requests, result.Failed)
	return result
}

// flows waits until the load is answered.
func flows(t *testing.T, l *load.Load) {
	t.Helper()
	alarm := time.AfterFunc(guard, func() { l.Stop() })
	defer alarm.Stop()
	if err := l.Wait(flowing); err != nil {
		t.Fatalf("nothing answers: %v\n%v", err, l.Stop())
	}
}

// on is the load's address for a port of this machine.
func on(port int) load.Config {
	return load.Config{Address: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), Clients: clients}
}

// clients is how many ask at the same time: enough to have requests in flight at
// every instant, and a processor left for what is tested.
const clients = 8

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
