package systemd

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"supervisor/supervisor/control"
	"supervisor/testdata/lab"
	"supervisor/testdata/load"
)

// service is a supervisor that startup has installed.
type service struct {
	*lab.Supervisor
	name, file string
}

// app is an app of a test's ecosystem: the Go server of testdata/workers.
type app struct {
	name string
	port int
	mode string // "": it serves
	keys string // more keys, one to a line
	env  string // more variables, as in a flow mapping
}

func (a app) yaml() string {
	env := fmt.Sprintf("HOST: 127.0.0.1, PORT: %d", a.port)
	if a.mode != "" {
		env += ", MODE: " + a.mode
	}
	if a.env != "" {
		env += ", " + a.env
	}
	text := fmt.Sprintf("  - name: %s\n    script: %s\n    instances: 2\n    env: {%s}\n", a.name, filepath.Join(lab.Built, serverName), env)
	for key := range strings.Lines(a.keys) {
		text += "    " + key
	}
	return text
}

func (a app) address() string { return "127.0.0.1:" + strconv.Itoa(a.port) }

func web(t *testing.T) app { return app{name: "web", port: ports.Free(t)} }

// unstarted is a service that is to be installed, with a drop-in for its unit.
func unstarted(t *testing.T, dropIn string, apps ...app) *service {
	t.Helper()
	if os.Getenv(inside) == "" {
		t.Skip("TestUnderSystemd runs it")
	}
	v := &service{Supervisor: lab.New(t, "app")}
	v.name = strings.ToLower(t.Name()) + ".service"
	v.file = filepath.Join(v.Dir, "ecosystem.yaml")
	v.write(apps...)
	if dropIn != "" {
		dir := "/etc/systemd/system/" + v.name + ".d"
		err := os.Mkdir(dir, 0o755)
		if err == nil {
			err = os.WriteFile(dir+"/test.conf", []byte("[Service]\n"+dropIn+"\n"), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		if t.Failed() {
			out, _ := exec.Command("journalctl", "--no-pager", "-o", "short-precise", "-u", v.name).CombinedOutput()
			t.Logf("journal:\n%s", out)
		}
	})
	return v
}

// elsewhere moves what is not installed yet to a home and a file of other names.
func (v *service) elsewhere(folder string, apps ...app) {
	v.T.Helper()
	dir := filepath.Join(v.Dir, folder)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		v.T.Fatal(err)
	}
	v.Home, v.file = filepath.Join(filepath.Dir(v.Home), folder), filepath.Join(dir, "ecosystem.yaml")
	v.Env = append(v.Env, "SUPERVISOR_HOME="+v.Home)
	v.write(apps...)
}

// started is a service that runs, until the test ends; then nothing is left of it.
func started(t *testing.T, dropIn string, apps ...app) *service {
	t.Helper()
	v := unstarted(t, dropIn, apps...)
	v.startup()
	return v
}

func (v *service) startup() {
	v.T.Helper()
	v.Must("startup", v.file, "--name", v.name)
	v.T.Cleanup(func() {
		v.Must("unstartup", v.file)
		if left := v.Processes(); len(left) > 0 {
			v.T.Errorf("left behind: %q", left)
		}
	})
}

// write makes apps what the file says.
func (v *service) write(apps ...app) {
	v.T.Helper()
	text := "apps:\n"
	for _, a := range apps {
		text += a.yaml()
	}
	if err := os.WriteFile(v.file, []byte(text), 0o644); err != nil {
		v.T.Fatal(err)
	}
}

// systemctl runs `systemctl VERB UNIT`, which has to succeed.
func (v *service) systemctl(verb string) {
	v.T.Helper()
	if out, err := exec.Command("systemctl", verb, v.name).CombinedOutput(); err != nil {
		v.T.Fatalf("systemctl %s: %v\n%s", verb, err, out)
	}
}

func (v *service) property(name string) string {
	v.T.Helper()
	out, err := exec.Command("systemctl", "show", "--value", "-p", name, v.name).Output()
	if err != nil {
		v.T.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

func (v *service) is(name, want string) {
	v.T.Helper()
	if got := v.property(name); got != want {
		v.T.Errorf("%s is %q, want %q", name, got, want)
	}
}

// main is the main process in systemd's view.
func (v *service) main() *lab.Handle {
	v.T.Helper()
	pid, _ := strconv.Atoi(v.property("MainPID"))
	h := lab.Hold(v.T, pid)
	if pid == 0 || h == nil {
		v.T.Fatalf("main process %d is none", pid)
	}
	return h
}

// ping returns who answers, when somebody does.
func (v *service) ping() (p control.Pong) {
	v.T.Helper()
	if err := json.Unmarshal([]byte(v.Must("ping", "--json").Stdout), &p); err != nil {
		v.T.Fatal(err)
	}
	return p
}

// keeps fails the test if do does not leave an app's workers as they were.
func (v *service) keeps(app string, do func()) {
	v.T.Helper()
	before := v.Pids(app)
	do()
	if after := v.Pids(app); !slices.Equal(before, after) {
		v.T.Errorf("workers of %s: %d, before %d", app, after, before)
	}
}

// under keeps up a load on apps, of which no request may be lost.
func (v *service) under(do func(), apps ...app) {
	v.T.Helper()
	var configs []load.Config
	for _, a := range apps {
		configs = append(configs, load.Config{Network: "tcp", Address: a.address(), Clients: 4})
	}
	lab.Under(v.T, func([]*load.Load) { do() }, configs...)
}

// journal is what the service has said.
func (v *service) journal() string {
	v.T.Helper()
	if out, err := exec.Command("journalctl", "--sync").CombinedOutput(); err != nil {
		v.T.Fatalf("journalctl --sync: %v\n%s", err, out)
	}
	out, err := exec.Command("journalctl", "--no-pager", "-o", "cat", "-u", v.name).Output()
	if err != nil {
		v.T.Fatal(err)
	}
	return string(out)
}

// answers reports whether a connection is taken.
func answers(a app) bool {
	conn, err := net.Dial("tcp", a.address())
	if err == nil {
		conn.Close()
	}
	return err == nil
}
