package systems

import (
	"context"
	"io"
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
	"testing"

	"supervisor/supervisor/control"
	"supervisor/supervisor/state"
	"supervisor/testdata/lab"
	"supervisor/testdata/load"
)

const (
	// guard bounds what a test waits for.
	guard = lab.Guard
	// reloads of each system under load.
	reloads = 3
	// logLines of each log are looked at for what was said already.
	logLines = 1000
)

func TestMain(m *testing.M) { os.Exit(lab.Main(m)) }

// system is one of the four on a supervisor of its own: a copy of its folder in which
// every port of the ecosystem file is a free one.
type system struct {
	*lab.Supervisor
	t     *testing.T
	ports map[int]int // of the file -> of this test
}

// port finds the ports of the ecosystem files, which have no other number like it.
const port = `\b3[1-4]\d\d\b`

// open copies a system. Nothing runs until the test starts it.
func open(t *testing.T, name string) *system {
	t.Helper()
	lab.Need(t, "node")
	s := &system{lab.New(t, name), t, make(map[int]int)}
	if err := os.CopyFS(s.Dir, only(name)); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(name, "package-lock.json")); err == nil {
		if err := os.Symlink(packages(t, name), filepath.Join(s.Dir, "node_modules")); err != nil {
			t.Fatal(err)
		}
	}
	s.edit("ecosystem.yaml", func(text string) string {
		return regexp.MustCompile(port).ReplaceAllStringFunc(text, func(p string) string {
			n, _ := strconv.Atoi(p)
			if s.ports[n] == 0 {
				s.ports[n] = ports.Free(t)
			}
			return strconv.Itoa(s.ports[n])
		})
	})
	t.Cleanup(s.close)
	return s
}

// edit rewrites a file of the copy.
func (s *system) edit(name string, change func(string) string) {
	s.t.Helper()
	path := filepath.Join(s.Dir, name)
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
	s.End()
}

// logs are the paths of all logs.
func (s *system) logs() []string {
	workers, _ := filepath.Glob(filepath.Join(s.Home, "logs", "*.log"))
	return append(workers, s.Log())
}

// logged is how many lines of an app's output contain a text.
func (s *system) logged(app, text string) (n int) {
	files, _ := filepath.Glob(filepath.Join(s.Home, "logs", app+"-out-*.log"))
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
	client := control.Dial(s.Socket())
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

// reload replaces the workers of the apps, of all if none is named. Each has to be
// complete.
func (s *system) reload(apps ...string) []state.Receipt {
	s.t.Helper()
	receipts, out := s.Receipts(apps...)
	incomplete := func(r state.Receipt) bool { return r.Result != state.Complete }
	if out.Code != 0 || len(receipts) < max(1, len(apps)) || slices.ContainsFunc(receipts, incomplete) {
		s.t.Fatalf("reload %v: exit %d\n%s", apps, out.Code, out.Stdout)
	}
	return receipts
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
	lab.Under(s.t, func([]*load.Load) { do() }, shared(configs)...)
}

// lossy is under without the judgement.
func (s *system) lossy(do func(), configs ...load.Config) []load.Result {
	s.t.Helper()
	return lab.Lossy(s.t, func([]*load.Load) { do() }, shared(configs)...)
}

// shared divides the clients of a test among its loads.
func shared(configs []load.Config) (divided []load.Config) {
	for _, cfg := range configs {
		cfg.Clients = max(1, lab.Clients/len(configs))
		divided = append(divided, cfg)
	}
	return divided
}

// both is a load on new connections and one on connections that stay.
func (s *system) both(port int, path string) []load.Config {
	return []load.Config{
		{Address: s.address(port), Path: path},
		{Address: s.address(port), Path: path, KeepAlive: true},
	}
}

// ports are those of this package.
var ports = lab.Ports{First: 14000, Count: 6000}

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
		lab.Missing(t, "cannot install the packages of %s: %v\n%s", name, err, out)
	}
	return folder
}
