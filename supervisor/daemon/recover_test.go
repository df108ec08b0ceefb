package daemon

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"supervisor/supervisor/handover"
	"supervisor/supervisor/state"
)

func TestASuccessorGetsNoPipeOfWhoStartedUs(t *testing.T) {
	was := os.Args
	defer func() { os.Args = was }()
	for typed, want := range map[string]string{
		"supervisor daemon --ready-fd 4":            "supervisor daemon",
		"supervisor daemon --ready-fd 4 --other":    "supervisor daemon --other",
		"supervisor start --no-daemon e.yaml -- -x": "supervisor start --no-daemon e.yaml -- -x",
		"supervisor daemon --ready-fd":              "supervisor daemon",
	} {
		os.Args = strings.Fields(typed)
		if got := strings.Join(arguments(), " "); got != want {
			t.Errorf("%s: %s", typed, got)
		}
	}
}

// A pipe whose reader has died is found again by the end that the worker has.
func TestAPipeIsTakenFromItsWorker(t *testing.T) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	inode, err := inodeOf(p[0])
	if err != nil {
		t.Fatal(err)
	}
	ours := os.NewFile(uintptr(p[1]), "worker's end")
	cmd := exec.Command("sh", "-c", "echo words; read wait")
	cmd.Stdout = ours
	stdin, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer stdin.Close()
	one := make([]byte, 1)
	if _, err := unix.Read(p[0], one); err != nil { // it has begun
		t.Fatal(err)
	}
	ours.Close()
	unix.Close(p[0]) // nobody reads any more; what was written is still there
	fd := regainPipe(cmd.Process.Pid, inode)
	if fd < 0 {
		t.Fatal("not found")
	}
	f := os.NewFile(uintptr(fd), "regained")
	defer f.Close()
	f.SetReadDeadline(time.Now().Add(guard))
	rest := make([]byte, len("ords\n"))
	if _, err := io.ReadFull(f, rest); err != nil || string(one)+string(rest) != "words\n" {
		t.Errorf("%q, %v", string(one)+string(rest), err)
	}
	if fd := regainPipe(cmd.Process.Pid, 1<<60); fd >= 0 {
		unix.Close(fd)
		t.Error("found what is not there")
	}
}

// A state that can't be understood is moved aside and named, and what it was about is
// not looked at.
func TestAStateThatIsNoneIsMovedAside(t *testing.T) {
	for name, text := range map[string]string{"half": `{"schema":1,`, "another's": `[1,2]`, "empty": ``} {
		t.Run(name, func(t *testing.T) {
			leaktight(t)
			home := shortDir(t)
			dir := filepath.Join(home, "state")
			if err := os.MkdirAll(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, daemonFile), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			i, line := launch(t, home, Options{})
			if line != readyOK {
				t.Fatalf("the daemon says %q\n%s", line, i.log())
			}
			i.kill()
			if data, err := os.ReadFile(filepath.Join(dir, daemonFile+".bad")); err != nil || string(data) != text {
				t.Errorf("%q, %v", data, err)
			}
			if log := i.log(); !strings.Contains(log, filepath.Join(dir, daemonFile+".bad")) {
				t.Errorf("it is not named:\n%s", log)
			}
		})
	}
}

// The state of a newer supervisor is left as it is, and refused by its number.
func TestTheStateOfANewerSupervisorIsRefused(t *testing.T) {
	leaktight(t)
	home := shortDir(t)
	dir := filepath.Join(home, "state")
	text := `{"schema":99,"boot_id":"` + handover.Boot() + `"}`
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, daemonFile), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	i, line := launch(t, home, Options{})
	if !strings.Contains(line, "newer supervisor (schema 99") {
		t.Errorf("it says %q", line)
	}
	if code := i.ended(); code != state.ExitFailed {
		t.Errorf("exit code %d", code)
	}
	entries, _ := os.ReadDir(dir)
	if slices.ContainsFunc(entries, func(e os.DirEntry) bool { return strings.Contains(e.Name(), ".bad") }) {
		t.Error("it was moved")
	}
}
