package systemd

import (
	"bytes"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"supervisor/testdata/lab"
)

// The service is active when every app answers or has failed, and not before.
func TestStart(t *testing.T) {
	const delay = 700 * time.Millisecond
	late := web(t)
	late.mode, late.env, late.keys = "ready-late", "DELAY: "+delay.String(), "wait_ready: true\n"
	broken := app{name: "broken", port: ports.Free(t), mode: "crash"}
	v := unstarted(t, "", late, broken)
	begin := time.Now()
	v.startup()
	if took := time.Since(begin); took < delay {
		t.Errorf("it was started after %v, and its app is ready after %v", took, delay)
	}
	if !answers(late) {
		t.Error("it is active and does not answer")
	}
	v.is("ActiveState", "active")
	if got := v.property("StatusText"); !strings.HasPrefix(got, "2 apps, 2 workers online; not online: broken (") {
		t.Errorf("status %q", got)
	}
	if out, err := exec.Command("systemd-analyze", "verify", "/etc/systemd/system/"+v.name).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
	out, err := exec.Command("systemd-analyze", "security", "--no-pager", v.name).CombinedOutput()
	if err != nil {
		t.Errorf("systemd-analyze security: %v", err)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	t.Log(lines[len(lines)-1])
	v.write(late)
	v.systemctl("reload")
	if got := v.property("StatusText"); got != "1 app, 2 workers online" {
		t.Logf("status %q", got) // it may take a second to follow
	}
}

func TestReload(t *testing.T) {
	a := web(t)
	v := started(t, "", a)
	main := v.main()
	v.under(func() {
		before := v.Pids("web")
		v.systemctl("reload")
		if after := v.Pids("web"); after[0] == before[0] || after[1] == before[1] {
			t.Errorf("workers %d, before the reload %d", after, before)
		}
		bad := a
		bad.mode = "crash"
		v.write(bad)
		v.keeps("web", func() {
			out, err := exec.Command("systemctl", "reload", v.name).CombinedOutput()
			if err == nil {
				t.Errorf("a bad release was reloaded: %s", out)
			}
		})
		v.is("ActiveState", "active")
		v.write(a)
		v.systemctl("reload")
	}, a)
	if main.Ended() {
		t.Error("the main process has ended")
	}
}

// The supervisor is killed ten times in ten seconds, also when its file is half written, and
// when it is gone.
func TestKills(t *testing.T) {
	a := web(t)
	v := started(t, "", a)
	v.under(func() {
		v.keeps("web", func() {
			begin := time.Now()
			for i := range 10 {
				switch i {
				case 5:
					text, _ := os.ReadFile(v.file)
					if err := os.WriteFile(v.file, text[:len(text)-30], 0o644); err != nil {
						t.Fatal(err)
					}
				case 8:
					if err := os.Remove(v.file); err != nil {
						t.Fatal(err)
					}
				}
				main := v.main()
				main.Kill()
				if now := v.ping(); now.PID == main.PID {
					t.Fatalf("pid %d answers and was killed", now.PID)
				}
			}
			t.Logf("ten kills took %v", time.Since(begin))
		})
	}, a)
	v.is("ActiveState", "active")
	v.is("NRestarts", "10")
	if said := v.journal(); !strings.Contains(said, "what ran goes on") {
		t.Error("that the file is broken was not said")
	}
	v.write(a)
}

func TestUpgrade(t *testing.T) {
	t.Parallel()
	a := web(t)
	v := started(t, "WatchdogSec=2s", a)
	other := filepath.Join(lab.Built, otherName)
	installed := v.ping().Binary
	v.under(func() {
		v.keeps("web", func() {
			main := v.main()
			v.Must("upgrade", other)
			p, now := v.ping(), v.main()
			if now.PID == main.PID || now.PID != p.PID || p.Binary != other {
				t.Errorf("main process %d, before %d; %+v answers", now.PID, main.PID, p)
			}
			<-time.After(3 * time.Second) // the new one feeds the watchdog, or is killed
			if now.Ended() {
				t.Error("the new main process was ended")
			}
			v.is("ActiveState", "active")
			v.is("NRestarts", "0")
			now.Kill()
			if p := v.ping(); p.PID == now.PID || p.Binary != installed {
				t.Errorf("%+v answers", p)
			}
		})
	}, a)
	is, err1 := os.ReadFile(installed)
	want, err2 := os.ReadFile(other)
	if err1 != nil || err2 != nil || !bytes.Equal(is, want) {
		t.Errorf("the installed program is not the one of the upgrade: %v %v", err1, err2)
	}
}

// The supervisor is killed at any moment of an upgrade; systemd then has it or its successor
// for its main process.
func TestDeathsInUpgrades(t *testing.T) {
	t.Parallel()
	a := web(t)
	v := started(t, "", a)
	deaths := 12
	if testing.Short() {
		deaths = 4
	}
	v.under(func() {
		v.keeps("web", func() {
			for range deaths {
				main := v.main()
				cmd := v.Command("upgrade")
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				<-time.After(rand.N(50 * time.Millisecond)) // this very time is what is tried
				main.Kill()
				cmd.Wait() // who was asked may be no more
				if p := v.ping(); p.PID == main.PID {
					t.Errorf("pid %d answers and was killed", p.PID)
				}
			}
			v.Must("upgrade")
		})
	}, a)
	v.is("ActiveState", "active")
	if now, p := v.main(), v.ping(); now.PID != p.PID {
		t.Errorf("the main process is %d, and %d answers", now.PID, p.PID)
	}
}

// Connections wait while the service is restarted; what is not served any more refuses.
func TestRestart(t *testing.T) {
	a := web(t)
	declared := app{name: "api", port: ports.Free(t), mode: "listenfds"}
	declared.keys = "listen: 'tcp://" + declared.address() + "'\n"
	even := app{name: "even", port: ports.Free(t), keys: "balance: even\n"}
	gone := app{name: "gone", port: ports.Free(t)}
	v := started(t, "", a, declared, even, gone)
	v.write(a, declared, even)
	before := v.Pids("web")
	v.under(func() { v.systemctl("restart") }, a, declared, even)
	after := v.Pids("web")
	if after[0] == before[0] {
		t.Errorf("workers %d, before the restart %d", after, before)
	}
	v.is("ActiveState", "active")
	if answers(gone) {
		t.Error("an app that is gone from the file still takes connections")
	}
	v.systemctl("stop")
	for _, a := range []app{a, declared, even} {
		if answers(a) {
			t.Errorf("%s takes connections after a stop", a.name)
		}
	}
	v.is("NFileDescriptorStore", "0")
	v.systemctl("start")
}

// A file that can't be used is not tried again: nothing runs, which the service says, and a
// start is what ends it.
func TestBrokenFile(t *testing.T) {
	a := web(t)
	v := started(t, "", a)
	for _, spoil := range []func() error{
		func() error { return os.WriteFile(v.file, []byte("apps: [{nme: web}]\n"), 0o644) },
		func() error { return os.Remove(v.file) },
	} {
		if err := spoil(); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("systemctl", "restart", v.name).CombinedOutput(); err == nil {
			t.Errorf("it was restarted: %s", out)
		}
		v.is("ActiveState", "failed")
		v.is("NRestarts", "0")
		v.is("ExecMainStatus", "78")
		v.is("NFileDescriptorStore", "0") // whoever connects is refused, and does not wait
		if answers(a) || len(v.Processes()) > 0 {
			t.Errorf("something runs: %q", v.Processes())
		}
		if out, err := exec.Command("systemctl", "start", v.name).CombinedOutput(); err == nil {
			t.Errorf("it was started: %s", out)
		}
		v.is("NRestarts", "0")
		v.write(a)
		v.systemctl("start")
		if !answers(a) {
			t.Error("it does not answer")
		}
	}
	for _, said := range []string{"unknown key", "no such file"} {
		if journal := v.journal(); !strings.Contains(journal, said) {
			t.Errorf("the journal has no %q:\n%s", said, journal)
		}
	}
}

func TestStop(t *testing.T) {
	a := web(t)
	a.mode, a.keys = "ignore-int", "kill_timeout: 1s\n"
	v := started(t, "", a)
	begin := time.Now()
	v.systemctl("stop")
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("the stop took %v, kill_timeout is 1 s", took)
	}
	v.is("ActiveState", "inactive")
	v.is("Result", "success")
	if left := v.Processes(); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
	v.is("ControlGroup", "")
}

func TestWorkerCrash(t *testing.T) {
	a := web(t)
	v := started(t, "", a)
	main := v.main()
	lab.Hold(t, v.Pids("web")[0]).Kill()
	v.Must("reload", "web") // it waits for what is under way
	v.is("ActiveState", "active")
	v.is("NRestarts", "0")
	if main.Ended() {
		t.Error("the main process has ended")
	}
}

// A supervisor that hangs is replaced, and its workers do not notice.
func TestWatchdog(t *testing.T) {
	t.Parallel()
	a := web(t)
	v := started(t, "WatchdogSec=2s", a)
	v.under(func() {
		v.keeps("web", func() {
			main := v.main()
			main.Signal(unix.SIGSTOP)
			main.Wait()
			if now := v.ping(); now.PID == main.PID {
				t.Errorf("pid %d answers", now.PID)
			}
		})
	}, a)
	v.is("ActiveState", "active")
	v.is("NRestarts", "1")
}

// A stop that takes longer than the unit allows leaves nothing, though the supervisor hangs
// in the middle of it.
func TestSweep(t *testing.T) {
	t.Parallel()
	a := web(t)
	a.mode, a.keys = "ignore-int", "kill_timeout: 3s\n"
	v := started(t, "TimeoutStopSec=1s", a)
	state := filepath.Join(v.Home, "state")
	changes := lab.NewWatch(t, state)
	main := v.main()
	if err := exec.Command("systemctl", "stop", "--no-block", v.name).Run(); err != nil {
		t.Fatal(err)
	}
	if !changes.Until(func() bool {
		data, _ := os.ReadFile(filepath.Join(state, "daemon.json"))
		return bytes.Contains(data, []byte(`"stopping":true`))
	}) {
		t.Fatal("it does not stop")
	}
	v.is("ActiveState", "deactivating") // it answers when the SIGCONT is out that follows its SIGTERM
	main.Signal(unix.SIGSTOP)
	v.systemctl("stop")
	v.is("Result", "timeout")
	if left := v.Processes(); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
	v.Fails(3, []string{"no supervisor runs"}, "list") // and none is started to go on with that
	v.systemctl("start")                               // what the file says, not what was being stopped
	if pids := v.Pids("web"); len(pids) != 2 || !answers(a) {
		t.Errorf("workers %d", pids)
	}
}
