package systems

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"supervisor/supervisor/control"
	"supervisor/supervisor/state"
	"supervisor/testdata/load"
)

const (
	// guard bounds what a test waits for; it is no measure of anything.
	guard = 60 * time.Second
	// clients is how many ask at the same time, over all loads of a test.
	clients = 8
	// flowing is how many answers say that a load flows, before and after.
	flowing = 50
	// reloads of each system under load.
	reloads = 3
	// logLines of each log are looked at for what was said already.
	logLines = 1000
)

// binary is the supervisor, built once.
var binary string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "supervisor-systems")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
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

// missing skips a test that can't run here; under CI that is a failure.
func missing(t *testing.T, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// system is one of the four on a supervisor of its own: a copy of its folder in which
// every port of the ecosystem file is a free one.
type system struct {
	t     *testing.T
	home  string
	dir   string
	env   []string
	ports map[int]int // of the file -> of this test
}

// port finds the ports of the ecosystem files, which have no other number like it.
const port = `\b3[1-4]\d\d\b`

// open copies a system. Nothing runs until the test starts it.
func open(t *testing.T, name string) *system {
	t.Helper()
	if _, err := exec.LookPath("node"); err != nil {
		missing(t, "node is missing")
	}
	// Not t.TempDir: with a test's name in it, a socket's path is too long (unix(7)).
	root, err := os.MkdirTemp("", "sv")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(root) })
	s := &system{t: t, home: filepath.Join(root, "home"), dir: filepath.Join(root, name), ports: make(map[int]int)}
	if err := os.CopyFS(s.dir, only(name)); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(name, "package-lock.json")); err == nil {
		if err := os.Symlink(packages(t, name), filepath.Join(s.dir, "node_modules")); err != nil {
			t.Fatal(err)
		}
	}
	s.edit("ecosystem.yaml", func(text string) string {
		return regexp.MustCompile(port).ReplaceAllStringFunc(text, func(p string) string {
			n, _ := strconv.Atoi(p)
			if s.ports[n] == 0 {
				s.ports[n] = freePort(t)
			}
			return strconv.Itoa(s.ports[n])
		})
	})
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "SUPERVISOR_") && !strings.HasPrefix(e, "PORT=") {
			s.env = append(s.env, e)
		}
	}
	s.env = append(s.env, "SUPERVISOR_HOME="+s.home)
	t.Cleanup(s.close)
	return s
}

// edit rewrites a file of the copy.
func (s *system) edit(name string, change func(string) string) {
	s.t.Helper()
	path := filepath.Join(s.dir, name)
	text, err := os.ReadFile(path)
	if err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(change(string(text))), 0o644); err != nil {
		s.t.Fatal(err)
	}
}

// close stops everything and checks that nothing of the test is left.
func (s *system) close() {
	if s.t.Failed() {
		for _, file := range s.logs() {
			text, _ := os.ReadFile(file)
			s.t.Logf("%s:\n%s", filepath.Base(file), text[max(0, len(text)-4000):])
		}
	}
	if code, out := s.run("kill"); code != 0 {
		s.t.Errorf("kill: exit %d: %s", code, out)
	}
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		env, _ := os.ReadFile(filepath.Join(dir, "environ"))
		cmd, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		if len(cmd) == 0 || !bytes.Contains(env, []byte("SUPERVISOR_HOME="+s.home+"\x00")) {
			continue // a stranger, or a zombie
		}
		s.t.Errorf("left behind: %s %s", filepath.Base(dir), bytes.ReplaceAll(cmd, []byte{0}, []byte{' '}))
		if pid, err := strconv.Atoi(filepath.Base(dir)); err == nil {
			if p, err := os.FindProcess(pid); err == nil {
				p.Kill()
			}
		}
	}
}

// logs are the paths of all logs.
func (s *system) logs() []string {
	workers, _ := filepath.Glob(filepath.Join(s.home, "logs", "*.log"))
	return append(workers, filepath.Join(s.home, "supervisor.log"))
}

// logged is how many lines of an app's output contain a text.
func (s *system) logged(app, text string) (n int) {
	files, _ := filepath.Glob(filepath.Join(s.home, "logs", app+"-out-*.log"))
	for _, file := range files {
		data, _ := os.ReadFile(file)
		n += strings.Count(string(data), text)
	}
	return n
}

// until waits for the n-th line of an app's log that contains a text.
func (s *system) until(app, text string, n int) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), guard)
	defer cancel()
	// What was written before the daemon heard us is among the last lines.
	query := control.LogQuery{Names: []string{app}, N: logLines, Follow: true}
	client := control.Dial(filepath.Join(s.home, "supervisor.sock"))
	err := client.Logs(ctx, query, func(l control.LogLine) bool {
		if strings.Contains(l.Text, text) {
			n--
		}
		return n > 0
	})
	if err != nil {
		s.t.Fatalf("%s did not say %q, %d are missing: %v", app, text, n, err)
	}
}

// run runs a command of the supervisor in the system's folder.
func (s *system) run(args ...string) (code int, stdout string) {
	s.t.Helper()
	cmd := exec.Command(binary, args...)
	cmd.Env, cmd.Dir = s.env, s.dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		s.t.Fatalf("supervisor %s: %v", strings.Join(args, " "), err)
	}
	if stderr.Len() > 0 {
		s.t.Logf("supervisor %s: %s", strings.Join(args, " "), &stderr)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

// must runs a command that has to succeed.
func (s *system) must(args ...string) string {
	s.t.Helper()
	code, out := s.run(args...)
	if code != 0 {
		s.t.Fatalf("supervisor %s: exit %d\n%s", strings.Join(args, " "), code, out)
	}
	return out
}

// reload replaces the workers of the apps, of all if none is named. Each has to be
// complete.
func (s *system) reload(apps ...string) []state.Receipt {
	s.t.Helper()
	code, out := s.run(append([]string{"reload", "--json"}, apps...)...)
	var result struct{ Apps []state.Receipt }
	s.decode(out, &result)
	incomplete := func(r state.Receipt) bool { return r.Result != state.Complete }
	if code != 0 || len(result.Apps) < max(1, len(apps)) || slices.ContainsFunc(result.Apps, incomplete) {
		s.t.Fatalf("reload %v: exit %d\n%s", apps, code, out)
	}
	return result.Apps
}

// clean is a reload in which every old worker left by itself, nothing open.
func (s *system) clean(apps ...string) {
	s.t.Helper()
	for _, receipt := range s.reload(apps...) {
		for _, w := range receipt.Workers {
			if w.Killed || w.ExitCode == nil || *w.ExitCode != 0 {
				s.t.Errorf("%s slot %d did not leave by itself: %+v", receipt.Name, w.Slot, w)
			}
		}
		if receipt.ConnectionsCut != 0 {
			s.t.Errorf("the receipt of %s says that %d connections were cut", receipt.Name, receipt.ConnectionsCut)
		}
	}
}

// pids are those of an app's workers by slot.
func (s *system) pids(app string) (pids []int) {
	s.t.Helper()
	var snapshot state.Snapshot
	s.decode(s.must("list", "--json"), &snapshot)
	for _, a := range snapshot.Apps {
		if a.Name != app {
			continue
		}
		for _, w := range a.Workers {
			pids = append(pids, w.PID)
		}
	}
	return pids
}

func (s *system) decode(text string, into any) {
	s.t.Helper()
	if err := json.Unmarshal([]byte(text), into); err != nil {
		s.t.Fatalf("no JSON: %v\n%s", err, text)
	}
}

// address is where a port of the ecosystem file is found in this test.
func (s *system) address(port int) string {
	s.t.Helper()
	if s.ports[port] == 0 {
		s.t.Fatalf("the ecosystem file has no port %d", port)
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.ports[port]))
}

// get asks once, on a connection of its own.
func (s *system) get(port int, path string) (status int, body string) {
	s.t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: guard}
	resp, err := client.Get("http://" + s.address(port) + path)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// under keeps loads up while do runs. Every lost request fails the test.
func (s *system) under(do func(), configs ...load.Config) {
	s.t.Helper()
	for i, result := range s.lossy(do, configs...) {
		if result.Failed > 0 {
			s.t.Errorf("load %d: %d of %d requests lost: %v\n%s", i, result.Failed, result.Requests, result.Failures, strings.Join(result.Examples, "\n"))
		}
	}
}

// lossy is under without the judgement.
func (s *system) lossy(do func(), configs ...load.Config) (results []load.Result) {
	s.t.Helper()
	var loads []*load.Load
	for _, cfg := range configs {
		cfg.Clients = max(1, clients/len(configs))
		l := load.Run(s.t.Context(), cfg)
		defer l.Stop()
		loads = append(loads, l)
	}
	flow := func() {
		for _, l := range loads {
			if err := l.Wait(flowing); err != nil {
				s.t.Fatal(err)
			}
		}
	}
	flow()
	do()
	flow()
	for i, l := range loads {
		results = append(results, l.Stop())
		s.t.Logf("load %d: %d requests, %d lost; %d connections, %d closed while idle; by %d workers",
			i, results[i].Requests, results[i].Failed, results[i].Connections, results[i].IdleClosed, len(results[i].ByPid))
	}
	return results
}

// both is a load on new connections and one on connections that stay.
func (s *system) both(port int, path string) []load.Config {
	return []load.Config{
		{Address: s.address(port), Path: path},
		{Address: s.address(port), Path: path, KeepAlive: true},
	}
}

// ports are handed out below the kernel's own range (ip_local_port_range), of which
// any may belong to a connection at any time.
var ports atomic.Int32

const (
	firstPort = 14000
	portCount = 6000
)

// freePort returns a port that nobody has at this moment, and no other test has had.
func freePort(t *testing.T) int {
	t.Helper()
	ports.CompareAndSwap(0, rand.Int32N(portCount))
	for range portCount {
		p := firstPort + int(ports.Add(1))%portCount
		ln, err := net.Listen("tcp", ":"+strconv.Itoa(p))
		if err == nil {
			ln.Close()
			return p
		}
	}
	t.Fatal("no port is free")
	return 0
}

var installing sync.Mutex

// packages returns the folder of a system's packages, installed by the first who asks.
func packages(t *testing.T, name string) string {
	t.Helper()
	installing.Lock()
	defer installing.Unlock()
	folder, err := filepath.Abs(filepath.Join(name, "node_modules"))
	if err != nil {
		t.Fatal(err)
	}
	// npm writes it last.
	if _, err := os.Stat(filepath.Join(folder, ".package-lock.json")); err == nil {
		return folder
	}
	install := exec.CommandContext(t.Context(), "npm", "ci", "--no-audit", "--no-fund")
	install.Dir = name
	if out, err := install.CombinedOutput(); err != nil {
		missing(t, "cannot install the packages of %s: %v\n%s", name, err, out)
	}
	return folder
}
