package process

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// One of another user's, whose status the kernel shows us as 0 until it is reaped.
func TestAdoptedWithoutPrivilege(t *testing.T) {
	asRoot(t)
	pid, err := syscall.ForkExec("/bin/sh", []string{"sh", "-c", "exit 3"}, &syscall.ProcAttr{})
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(fd), "pidfd")
	ends(fd)
	startTime, _ := StartTime(pid)
	cmd := exec.Command("setpriv", "--reuid=65534", "--clear-groups", os.Args[0], "-test.run=^TestAdoptAsNobody$", "-test.v")
	cmd.Env = append(os.Environ(), "TEST_ADOPT="+strconv.Itoa(pid)+" "+strconv.FormatUint(startTime, 10))
	cmd.ExtraFiles = []*os.File{file}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); errors.Is(err, exec.ErrNotFound) {
		unix.Wait4(pid, nil, 0, nil)
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
	file.Close()
	lines := bufio.NewReader(out)
	var all strings.Builder
	for {
		line, err := lines.ReadString('\n')
		all.WriteString(line)
		if err != nil {
			break
		}
		if strings.HasPrefix(line, "looking") {
			unix.Wait4(pid, nil, 0, nil)
		}
	}
	if err := cmd.Wait(); err != nil || !strings.Contains(all.String(), "PASS: TestAdoptAsNobody") {
		t.Errorf("%v\n%s", err, all.String())
	}
}

// The half of TestAdoptedWithoutPrivilege that runs without privilege.
func TestAdoptAsNobody(t *testing.T) {
	pid, startTime, ok := strings.Cut(os.Getenv("TEST_ADOPT"), " ")
	if !ok {
		t.Skip("run by TestAdoptedWithoutPrivilege")
	}
	unix.CloseOnExec(3)
	a := Adoption{PidFD: 3}
	a.PID, _ = strconv.Atoi(pid)
	a.StartTime, _ = strconv.ParseUint(startTime, 10, 64)
	if status, ok := zombieStatus(Process{PID: a.PID, StartTime: a.StartTime}); ok {
		t.Errorf("the status is shown to us: %v", status)
	}
	c, err := Adopt(a)
	if err != nil {
		t.Fatal(err)
	}
	os.Stdout.WriteString("looking\n")
	e := <-c.Exited()
	<-c.Gone()
	c.Release()
	if want := (Status{Code: 3}); e.Status != want {
		t.Errorf("exit: %+v, want %v", e, want)
	}
}

// A held one stays a zombie until it is released.
func TestHoldZombie(t *testing.T) {
	s := spec("exit", "3")
	s.HoldZombie = true
	w := start(t, s)
	if e := w.awaitExit(); e.Status.Code != 3 {
		t.Errorf("exit: %+v", e)
	}
	w.awaitGone()
	if status, err := waitExit(w.PidFD(), false); err != nil || status.Code != 3 {
		t.Errorf("how it ended can't be read any more: %v, %v", status, err)
	}
	w.Quiesce()
	w.Release()
	if got := w.stop0(); got != nil {
		t.Errorf("stop reaches %v", got)
	}
	if _, err := waitExit(w.PidFD(), false); err != nil {
		t.Errorf("it is reaped in spite of Quiesce: %v", err)
	}
	w.Resume()
	<-w.Child.over
	if _, err := readStat(w.PID()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it is not reaped: %v", err)
	}
	w.Release() // as often as you like

	s = spec("count")
	s.HoldZombie = true
	w = start(t, s)
	w.expect("up")
	w.Release() // before its end: it is not held any more
	w.Kill()
	w.awaitGone()
	<-w.Child.over
}

// stop0 is stop of a quiet one.
func (w *worker) stop0() []int {
	got, err := w.Stop(unix.SIGINT, TreeAll, nil)
	if !errors.Is(err, ErrQuiet) {
		w.t.Errorf("Stop gives %v, want %v", err, ErrQuiet)
	}
	return got
}

func TestParseExit(t *testing.T) {
	stat := func(state, code string) []byte {
		return []byte("42 (a) b (c) " + state + " 7 8" + strings.Repeat(" 0", 46) + " " + code + "\n")
	}
	for _, c := range []struct {
		state, code string
		want        Status
		err         error
	}{
		{"Z", "0", Status{}, nil},
		{"X", "768", Status{Code: 3}, nil},
		{"Z", "139", Status{Signal: 11, Core: true}, nil},
		{"Z", "9", Status{Signal: 9}, nil},
		{"S", "0", Status{}, errUntold},
		{"Z", "-1", Status{}, errBadStat},
		{"Z", "65536", Status{}, errBadStat},
	} {
		got, err := parseExit(stat(c.state, c.code))
		if got != c.want || !errors.Is(err, c.err) {
			t.Errorf("%s %s: %+v, %v; want %+v, %v", c.state, c.code, got, err, c.want, c.err)
		}
	}
}

func FuzzParseExit(f *testing.F) {
	f.Add([]byte("42 (a) Z 7 8" + strings.Repeat(" 0", 46) + " 768\n"))
	f.Add([]byte(")("))
	f.Fuzz(func(t *testing.T, b []byte) {
		if status, err := parseExit(b); err != nil && status != (Status{}) {
			t.Errorf("%q: %v with %v", b, status, err)
		}
	})
}

func FuzzParsePidOf(f *testing.F) {
	f.Add("pos:\t0\nPid:\t42\nNSpid:\t42\n")
	f.Add("Pid:\t-1")
	f.Add("Pid:")
	f.Fuzz(func(t *testing.T, text string) {
		if pid, err := parsePidOf(text); err != nil && pid != 0 {
			t.Errorf("%q: %d with %v", text, pid, err)
		}
	})
}
