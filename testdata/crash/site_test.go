package crash

import (
	"cmp"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"supervisor/testdata/crash/lines"
	"supervisor/testdata/lab"
	"supervisor/testdata/load"
	"supervisor/testdata/workers"
)

// app is one of a test's ecosystem, as it is meant to be.
type app struct {
	name      string
	script    string
	instances int
	written   int          // instances in the file; a command changes those of the app alone
	rate      string       // of its lines, "" for none
	format    lines.Format // of its log; nil: raw
	rotate    string       // the size at which that is rotated; 2M if ""
	log       string       // the whole key of that name; "": by rotate
	keys      string       // more keys of the ecosystem file, one to a line
	env       string       // more variables, as in a flow mapping
	mode      string       // of the Go server: a release that is bad in a way
	port      int
	stopped   bool // by command
	absent    bool // not known to the supervisor
	alone     bool // in no ecosystem file
}

// The formats of logs. The stamp is what log_date_format gives.
const (
	stampKeys = "log_date_format: YYYY-MM-DD HH:mm:ss.SSS"
	stampForm = `\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d\d\d: `
	jsonKeys  = "log_type: json"
	mergeKeys = "merge_logs: true"
)

// web is the app that most tests have: two Go servers.
func web(t *testing.T) *app {
	t.Helper()
	return &app{name: "web", script: built(t, buildServer), instances: 2, rate: "2000/80ms"}
}

// stamped and objects are web with formatted logs.
func stamped(t *testing.T) *app {
	t.Helper()
	a := web(t)
	a.name, a.rate, a.format, a.keys = "stamped", "800/80ms", lines.Stamped(stampForm), stampKeys
	return a
}

func objects(t *testing.T) *app {
	t.Helper()
	a := web(t)
	a.name, a.rate, a.format, a.keys = "objects", "400/80ms", lines.JSON, jsonKeys
	return a
}

// merged is web with one log for all its workers.
func merged(t *testing.T) *app {
	t.Helper()
	a := web(t)
	a.name, a.rate, a.keys = "merged", "400/80ms", mergeKeys
	return a
}

// job is the app whose workers are killed: nobody asks it.
func job(t *testing.T) *app {
	t.Helper()
	a := web(t)
	a.name = "job"
	return a
}

// node is an app that speaks over its channel.
func node(t *testing.T) *app {
	t.Helper()
	lab.Need(t, "node")
	return &app{name: "node", script: workers.Path("node/lines.js"), instances: 1, rate: "20/20ms"}
}

func (a *app) yaml(counts string) string {
	text := fmt.Sprintf("  - name: %s\n    script: %s\n    instances: %d\n    wait_ready: true\n    min_uptime: 0\n", a.name, a.script, a.written)
	timeout := guard
	if a.mode == "never" {
		timeout = time.Second
	}
	log := cmp.Or(a.log, fmt.Sprintf("{max_size: %s, max_files: 1000, compress: false}", cmp.Or(a.rotate, "2M")))
	text += fmt.Sprintf("    listen_timeout: %v\n    log: %s\n", timeout, log)
	env := fmt.Sprintf("PORT: %d, HOST: 127.0.0.1", a.port)
	if a.rate != "" {
		env += fmt.Sprintf(", %s: %s, %s: %s", lines.Rate, a.rate, lines.Counts, counts)
	}
	if a.mode != "" {
		env += ", MODE: " + a.mode
	}
	if a.env != "" {
		env += ", " + a.env
	}
	text += "    env: {" + env + "}\n"
	if !strings.Contains(a.keys, "kill_timeout") {
		text += fmt.Sprintf("    kill_timeout: %v\n", guard)
	}
	for key := range strings.Lines(a.keys) {
		text += "    " + strings.TrimRight(key, "\n") + "\n"
	}
	return text
}

// lines is the format of its log.
func (a *app) lines() lines.Format {
	if a.format == nil {
		return lines.Raw
	}
	return a.format
}

// site is a test's supervisor with its apps.
type site struct {
	*lab.Supervisor
	t      *testing.T
	apps   []*app
	counts string // folder of what the workers have printed
	lossy  bool   // lines may be lost; come twice, or cut, they may not
}

// newSite gives a test a home and an ecosystem file. Nothing runs until the first
// command does; at the end of the test nothing may be left.
func newSite(t *testing.T, apps ...*app) *site {
	t.Helper()
	s := &site{Supervisor: lab.New(t, "apps"), t: t, apps: apps}
	s.counts = filepath.Join(s.Dir, "counts")
	if err := os.Mkdir(s.counts, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, a := range apps {
		a.port, a.written = ports.Free(t), a.instances
	}
	s.ecosystem()
	t.Cleanup(s.end)
	return s
}

// ecosystem writes the file as the apps are now.
func (s *site) ecosystem() {
	s.t.Helper()
	text := "apps:\n"
	for _, a := range s.apps {
		if !a.alone {
			text += a.yaml(s.counts)
		}
	}
	if err := os.WriteFile(filepath.Join(s.Dir, "ecosystem.yaml"), []byte(text), 0o644); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) app(name string) *app {
	for _, a := range s.apps {
		if a.name == name {
			return a
		}
	}
	s.t.Fatalf("no app %s", name)
	return nil
}

// end stops everything and checks that nothing is left: no process, no file of a daemon
// that runs, no line of a worker that is not in its log.
func (s *site) end() {
	s.t.Helper()
	before, failed := s.Scan(), s.t.Failed()
	s.End()
	for _, pattern := range []string{"supervisor.sock", "supervisor.pid", "notify.sock", "state/w*"} {
		if left, _ := filepath.Glob(filepath.Join(s.Home, pattern)); len(left) > 0 {
			s.t.Errorf("left behind: %v", left)
		}
	}
	s.checkLines()
	if failed || s.t.Failed() {
		s.tell(before)
	}
}

// tell logs what a failure may be understood by.
func (s *site) tell(processes []lab.Process) {
	s.t.Helper()
	const tail = 12000
	text, _ := os.ReadFile(s.Log())
	s.t.Logf("processes: %v\nsupervisor.log:\n%s", processes, text[max(0, len(text)-tail):])
}

// own are the lines that the workers print beside the numbered ones.
var own = regexp.MustCompile(`^((pid|child) \d+|listening|draining|slow|SIGUSR1)$`)

// checkLines checks that every line of every worker is in its log, once, in order.
func (s *site) checkLines() {
	s.t.Helper()
	check := lines.Check{Other: own.Match}
	logs, _ := filepath.Glob(filepath.Join(s.Home, "logs", "*-out*.log"))
	for _, log := range logs {
		name, _, _ := strings.Cut(filepath.Base(log), "-")
		if err := check.Log(log, s.app(name).lines()); err != nil {
			s.t.Error(err)
		}
	}
	if err := check.Counted(s.counts); err != nil {
		s.t.Error(err)
	}
	s.t.Log(&check)
	if faults := check.Faults(); len(faults) > 0 && !s.lossy || check.Doubled > 0 || check.Foreign > 0 {
		s.t.Errorf("%v\n%s", &check, strings.Join(faults, "\n"))
	}
}

// loads are one client on kept and one on new connections for each app.
func (s *site) loads(apps ...*app) (configs []load.Config) {
	for _, a := range apps {
		at := net.JoinHostPort("127.0.0.1", strconv.Itoa(a.port))
		for _, kept := range []bool{true, false} {
			configs = append(configs, load.Config{Address: at, Clients: 1, KeepAlive: kept, Think: 2 * time.Millisecond, Timeout: guard})
		}
	}
	return configs
}
