package daemon

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"supervisor/ready/gate"
	"supervisor/supervisor"
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
	for name, text := range map[string]string{"half": `{"schema":1,`, "another's": `[1,2]`, "empty": ``,
		"no loop": `{"schema":1,"boot_id":"` + handover.Boot() + `","loop":{"schema":1,"apps":[{}]}}`} {
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

// The state of a newer supervisor is left as it is, and refused by its number; so is all
// else that it has left.
func TestTheStateOfANewerSupervisorIsRefused(t *testing.T) {
	boot := `{"schema":1,"boot_id":"` + handover.Boot() + `"`
	for name, text := range map[string]string{
		"all":  strings.Replace(boot, "1", "99", 1) + "}",
		"loop": boot + `,"loop":{"schema":99}}`,
	} {
		t.Run(name, func(t *testing.T) {
			leaktight(t)
			home := shortDir(t)
			dir := filepath.Join(home, "state")
			if err := os.MkdirAll(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			files := map[string]string{daemonFile: text, "w3.json": `{"schema":99,"id":3}`}
			for name, text := range files {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			i, line := launch(t, home, Options{})
			if !strings.Contains(line, "newer supervisor (schema 99; this one reads 1)") {
				t.Errorf("it says %q", line)
			}
			if code := i.ended(); code != state.ExitFailed {
				t.Errorf("exit code %d", code)
			}
			entries, _ := os.ReadDir(dir)
			for _, e := range entries {
				if data, err := os.ReadFile(filepath.Join(dir, e.Name())); err != nil || string(data) != files[e.Name()] {
					t.Errorf("%s: %q, %v", e.Name(), data, err)
				}
			}
			if len(entries) != len(files) {
				t.Errorf("%v", entries)
			}
			if left, _ := filepath.Glob(filepath.Join(home, "supervisor.[sp]*")); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

// The first thing that a loop orders of a worker that was taken over may be its stop, while
// it is still asked whether it is ready.
func TestAStopComesAfterTheTakeover(t *testing.T) {
	leaktight(t)
	var ends []supervisor.Ended
	w := aWorld(t, func(f supervisor.Fact) {
		if end, ok := f.(supervisor.Ended); ok {
			ends = append(ends, end)
		}
	})
	p := w.takenOver(7, state.Spec{
		Ready: &state.Probe{Kind: state.ProbeTCP, Target: "127.0.0.1:1", Interval: time.Hour, Timeout: time.Hour},
	}, gate.Config{}, "sleep", "1000")
	listen := attendLater([]*attendant{p})
	p.push(func() { p.stop(supervisor.StopOrder{ID: 7, Signal: int(unix.SIGTERM)}) })
	listen()
	w.working.Wait()
	if len(ends) != 1 || ends[0].Signal != int(unix.SIGTERM) {
		t.Errorf("it ended by %+v", ends)
	}
}

// A supervisor that died while it stopped everything is followed by one that ends too, or
// whoever told it to would wait for ever.
func TestAnEndThatWasCutShortGoesOn(t *testing.T) {
	leaktight(t)
	i := begin(t, Options{})
	i.must(state.Request{Verb: state.VerbStart, File: i.yaml(two(t)...)})
	data, err := os.ReadFile(filepath.Join(i.home, "state", daemonFile))
	if err != nil {
		t.Fatal(err)
	}
	i.kill()
	data = bytes.Replace(data, []byte(`"boot_id"`), []byte(`"stopping":true,"boot_id"`), 1)
	if err := os.WriteFile(filepath.Join(i.home, "state", daemonFile), data, 0o600); err != nil {
		t.Fatal(err)
	}
	i, line := launch(t, i.home, Options{})
	if code := i.ended(); line != readyOK || code != state.ExitOK {
		t.Errorf("it says %q, and ends with %d\n%s", line, code, i.log())
	}
	i.gone()
}

// The number of a spawn is never used again, be there daemons between that spawn nothing.
func TestTheLastNumberIsKeptByWhoUsesNone(t *testing.T) {
	leaktight(t)
	i := begin(t, Options{})
	i.must(state.Request{Verb: state.VerbStart, File: i.yaml(two(t)...)})
	i.kill()
	for range 2 {
		data, err := os.ReadFile(filepath.Join(i.home, "state", daemonFile))
		if h, bad := readHead(data, handover.Boot()); err != nil || bad != nil || h.LastID != 5 {
			t.Errorf("%s, %v, %v", data, err, bad)
		}
		i, _ = launch(t, i.home, Options{})
		i.kill()
	}
}

// A worker that was sent the message shutdown by an earlier daemon, and does not read it,
// gets the signal as from any other.
func TestAMessageOfAnEarlierDaemonIsInsistedOn(t *testing.T) {
	leaktight(t)
	var ends []supervisor.Ended
	w := aWorld(t, func(f supervisor.Fact) {
		if end, ok := f.(supervisor.Ended); ok {
			ends = append(ends, end)
		}
	})
	p := w.takenOver(7, state.Spec{KillTimeout: time.Millisecond}, gate.Config{Node: true}, "sleep", "1000")
	p.told = true
	listen := attendLater([]*attendant{p})
	p.push(func() {
		if err := p.gates.Send(t.Context(), "shutdown"); err != nil {
			t.Error(err)
		}
		for range 2 { // a stop may be ordered again
			p.stop(supervisor.StopOrder{ID: 7, Signal: int(unix.SIGTERM), Message: true})
		}
	})
	listen()
	w.working.Wait()
	if len(ends) != 1 || ends[0].Signal != int(unix.SIGTERM) {
		t.Errorf("it ended by %+v", ends)
	}
}
