//go:build systemd

package handover

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// withSystemd is the program that boots a systemd of its own: UNITDIR COMMAND...
const withSystemd = "WITH_SYSTEMD"

const systemdUnit = `[Service]
Type=notify
NotifyAccess=main
KillMode=process
Restart=always
RestartSec=100ms
ExecStart=%s -test.run=^TestUpgradePlayer$
ExecStopPost=/bin/rm -f %s/sock
Environment=%s=%s %s=%s
`

// TestUnderSystemd runs TestInsideSystemd in a systemd of its own.
func TestUnderSystemd(t *testing.T) {
	boot := os.Getenv(withSystemd)
	if boot == "" {
		t.Fatal(withSystemd + " names no program")
	}
	dir, err := os.MkdirTemp(".", ".systemd-") // /tmp is another one there
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	dir, _ = filepath.Abs(dir)
	binary, err := os.ReadFile("/proc/self/exe")
	if err == nil {
		err = os.WriteFile(dir+"/player", binary, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	for name, alien := range map[string]string{"tame": "", "alien": "stay", "mortal": "die"} {
		units, home := dir+"/units", dir+"/"+name
		os.MkdirAll(units, 0o755)
		os.MkdirAll(home, 0o755)
		text := fmt.Sprintf(systemdUnit, dir+"/player", home, playerDir, home, playerAlien, alien)
		if err := os.WriteFile(units+"/"+name+".service", []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(boot, dir+"/units", "env", "INSIDE_SYSTEMD="+dir, dir+"/player", "-test.run=InsideSystemd$", "-test.v", "-test.count=1")
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Error(err)
	}
}

func TestInsideSystemd(t *testing.T) {
	dir := os.Getenv("INSIDE_SYSTEMD")
	if dir == "" {
		return
	}
	for _, name := range []string{"tame", "alien"} {
		t.Run(name, func(t *testing.T) {
			s := &upgradeStage{t: t, dir: dir + "/" + name}
			systemctl(t, "start", name)
			for range 3 {
				a := s.upgrade(order{Binary: dir + "/player"})
				if a.Error != "" {
					t.Fatalf("%s %q", a.Error, a.Words)
				}
				if now := s.ask(order{Verb: "ping"}); now.PID != a.N {
					t.Fatalf("%d answers, not %d", now.PID, a.N)
				}
				if main := mainPID(t, name); main != a.N {
					t.Fatalf("the main process is %d, not %d", main, a.N)
				}
			}
			killed := mainPID(t, name)
			unix.Kill(killed, unix.SIGKILL)
			awaitAnother(t, name, killed)
			s.upgrade(order{Binary: dir + "/player"})
			s.ask(order{Verb: "ping"})
			begin := time.Now()
			systemctl(t, "stop", name)
			took := time.Since(begin)
			t.Logf("systemctl stop returned after %v", took)
			if waits := took >= slowStop; waits != (name == "tame") {
				t.Errorf("systemctl stop returned after %v", took)
			}
			journal, _ := exec.Command("journalctl", "-u", name, "--no-pager", "-o", "cat").CombinedOutput()
			t.Logf("journal:\n%s", journal)
		})
	}
}

// A new main process that dies while its helper is the main process is replaced.
func TestDeathWithinTakeMainInsideSystemd(t *testing.T) {
	dir := os.Getenv("INSIDE_SYSTEMD")
	if dir == "" {
		return
	}
	s := &upgradeStage{t: t, dir: dir + "/mortal"}
	systemctl(t, "start", "mortal")
	first := mainPID(t, "mortal")
	a := s.upgrade(order{Binary: dir + "/player"})
	if a.Error != "" {
		t.Fatalf("%s %q", a.Error, a.Words)
	}
	awaitAnother(t, "mortal", first)
	now := s.ask(order{Verb: "ping"}).PID
	if now == first || now == a.N || now != mainPID(t, "mortal") {
		t.Errorf("%d answers, the main process is %d; before it %d and %d", now, mainPID(t, "mortal"), first, a.N)
	}
	systemctl(t, "stop", "mortal")
}

// awaitAnother returns when systemd has started a unit anew.
func awaitAnother(t *testing.T, unit string, killed int) {
	t.Helper()
	for begin := time.Now(); property(t, unit, "NRestarts") == "0" || property(t, unit, "ActiveState") != "active" || mainPID(t, unit) == killed; {
		systemctl(t, "start", unit) // it returns when the unit is active, and is what there is to wait by
		if time.Since(begin) > guard {
			t.Fatalf("%s was not started anew", unit)
		}
	}
}

func systemctl(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command("systemctl", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("systemctl %q: %v: %s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func property(t *testing.T, unit, name string) string {
	return systemctl(t, "show", "--value", "-p", name, unit)
}

func mainPID(t *testing.T, unit string) int {
	pid, _ := strconv.Atoi(property(t, unit, "MainPID"))
	return pid
}
