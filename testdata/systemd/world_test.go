package systemd

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"supervisor/testdata/lab"
)

// The unit takes nothing from a worker that a server needs: another user's low port, its
// own limits, new privileges; and it keeps what is said to the supervisor from it.
func TestWorkersMay(t *testing.T) {
	low := app{name: "low", port: 80, keys: "user: nobody\ncwd: /\n"}
	v := started(t, "", low)
	if !answers(low) {
		t.Error("it does not answer")
	}
	pid := v.Pids("low")[0]
	status := proc(t, pid, "status")
	for _, want := range []string{"NoNewPrivs:\t0\n", "Uid:\t65534\t"} {
		if !strings.Contains(status, want) {
			t.Errorf("no %q in\n%s", want, status)
		}
	}
	var ours unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &ours); err != nil {
		t.Fatal(err)
	}
	most := min(524288, ours.Max) // a Go program raises its own limit to that, and this systemd may have less itself
	if limits := proc(t, pid, "limits"); !strings.Contains(strings.Join(strings.Fields(limits), " "), fmt.Sprintf("Max open files %d %d", most, most)) {
		t.Errorf("want %d open files of\n%s", most, limits)
	}
	environ := "\x00" + proc(t, pid, "environ")
	for _, name := range []string{"LISTEN_FDS", "WATCHDOG_USEC", "FDSTORE", "INVOCATION_ID", "SUPERVISOR_INSTALLED"} {
		if strings.Contains(environ, "\x00"+name+"=") {
			t.Errorf("%s is passed on to a worker", name)
		}
	}
	if !strings.Contains(environ, "\x00PATH="+os.Getenv("PATH")+"\x00") {
		t.Errorf("PATH is another in %q", environ)
	}
}

func proc(t *testing.T, pid int, name string) string {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// Nothing in a path means anything to systemd on the way.
func TestOddPaths(t *testing.T) {
	a := web(t)
	v := unstarted(t, "", a)
	v.elsewhere("a b%n $HOME ${x} 'q' \"r\" \\x ;#ö", a)
	v.startup()
	if out, err := exec.Command("systemd-analyze", "verify", "/etc/systemd/system/"+v.name).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
	v.under(func() {
		v.systemctl("reload")
		v.keeps("web", func() {
			v.main().Kill()
			v.ping()
		})
	}, a)
	v.systemctl("stop")
	v.is("Result", "success")
}

// A user's own manager runs the same.
func TestUser(t *testing.T) {
	a := web(t)
	v := unstarted(t, "", a)
	if out, err := exec.Command("systemctl", "start", "user@0.service").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	v.Env = append(v.Env, "XDG_RUNTIME_DIR=/run/user/0")
	v.Must("startup", v.file, "--user", "--name", v.name)
	v.under(func() {
		v.keeps("web", func() {
			pid := v.ping().PID
			lab.Hold(t, pid).Kill()
			if now := v.ping(); now.PID == pid || now.Unit != v.name {
				t.Errorf("%+v answers", now)
			}
		})
	}, a)
	v.Must("unstartup", "--user")
	if left := v.Processes(); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}
