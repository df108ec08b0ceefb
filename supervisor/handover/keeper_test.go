package handover

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"supervisor/supervisor/notify"
)

func TestTheStoreSurvivesFiftyKills(t *testing.T) {
	s := newKeeperStage(t)
	w := s.fifo("pipe")
	s.keep(nil)
	d := s.daemon()
	if got := d.do("names"); got != ExitsName {
		t.Fatalf("the first daemon inherits %q", got)
	}
	d.ok("push", "w1.o", s.path("pipe"))
	d.ok("push", "ctl", "/dev/null")
	d.ok("push", "ctl", "/dev/zero") // replaces
	d.ok("push", "gone", "/dev/null")
	d.ok("remove", "gone")
	for i := range 50 {
		d.ok("say", "READY=1")
		fmt.Fprintln(w, "words", i)
		killed := d.pid
		d.kill()
		d = s.daemon()
		if got, want := d.do("names"), names("ctl", ExitsName, "w1.o"); got != want {
			t.Fatalf("after %d kills: inherited %q, want %q", i+1, got, want)
		}
		if got := d.do("flags", "w1.o"); got != "true <nil>" {
			t.Fatalf("not non-blocking any more: %s", got)
		}
		if got, want := d.do("read", "w1.o"), fmt.Sprintf("%q <nil>", fmt.Sprintf("words %d\n", i)); got != want {
			t.Fatalf("read %s, want %s", got, want)
		}
		if got := d.do("read", "ctl"); !strings.HasPrefix(got, `"\x00`) {
			t.Fatalf("ctl is not the last that was pushed: %.20s", got)
		}
		d.ok("barrier")
		line := fmt.Sprintf("supervisor: keeper: the daemon (pid %d) was killed by SIGKILL; started again as pid %d\n", killed, d.pid)
		if !strings.HasSuffix(s.said(), line) {
			t.Fatalf("did not say %q", line)
		}
	}
	d.ok("say", "X_END=75") // the code of what it ran, whatever it is
	d.exit(0)
	if code := s.ended(); code != 75 {
		t.Errorf("exit code %d, want 75", code)
	}
	if n := strings.Count(s.said(), "\n"); n != 50 {
		t.Errorf("%d lines for 50 restarts", n)
	}
	if _, err := os.Lstat(s.path(NotifySocket)); !os.IsNotExist(err) {
		t.Errorf("the socket is left: %v", err)
	}
}

func TestADaemonThatWasNeverReadyIsNotStartedAgain(t *testing.T) {
	for _, c := range []struct {
		end  func(*actor)
		code int
	}{
		{func(d *actor) { d.exit(2) }, 2},
		{func(d *actor) { d.exit(ExitLocked) }, exitFailed},
		{func(d *actor) { d.exit(0) }, 0},
		{func(d *actor) { d.kill() }, 128 + 9},
	} {
		s := newKeeperStage(t)
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		s.keep(w)
		w.Close()
		c.end(s.daemon())
		if _, err := r.Read(make([]byte, 1)); err == nil {
			t.Error("something came on the ready pipe")
		}
		r.Close()
		if code := s.ended(); code != c.code {
			t.Errorf("exit code %d, want %d", code, c.code)
		}
	}
}

func TestTheReadyPipeIsTheFirstDaemonsAlone(t *testing.T) {
	s := newKeeperStage(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	r.SetDeadline(time.Now().Add(guard))
	s.keep(w)
	w.Close()
	d := s.daemon()
	if len(d.args) != 2 || d.args[0] != "--ready-fd" {
		t.Fatalf("arguments %q", d.args)
	}
	d.ok("say", "READY=1")
	d.ok("ready")
	buf := make([]byte, 16)
	if n, err := r.Read(buf); string(buf[:n]) != "ok\n" {
		t.Fatalf("%q, %v", buf[:n], err)
	}
	if n, err := r.Read(buf); n != 0 || err == nil || os.IsTimeout(err) {
		t.Fatalf("the pipe has another end: %v", err)
	}
	d.kill()
	if d = s.daemon(); len(d.args) != 0 {
		t.Fatalf("the next one's arguments %q", d.args)
	}
}

func TestBackOffUntilReady(t *testing.T) {
	s := newKeeperStage(t)
	s.keep(nil)
	d := s.daemon()
	d.ok("say", "READY=1")
	for range 3 {
		d.kill()
		d = s.daemon()
	}
	d.ok("say", "READY=1")
	d.kill()
	d = s.daemon()
	d.kill()
	s.daemon().ok("barrier")
	said := s.said()
	for _, want := range []string{"; started again", "the next one in 10ms\n", "the next one in 20ms\n", "; started again", "the next one in 10ms\n"} {
		i := strings.Index(said, want)
		if i < 0 {
			t.Fatalf("%q is missing, or not in its place", want)
		}
		said = said[i+len(want):]
	}
}

func TestStrangersAreNotHeard(t *testing.T) {
	s := newKeeperStage(t)
	s.keep(nil)
	d := s.daemon()
	d.ok("say", "READY=1")
	sender, err := notify.NewSender(s.path(NotifySocket))
	if err != nil {
		t.Fatal(err)
	}
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	for _, m := range []notify.Message{
		{FDStore: true, FDName: "trojan"}, {FDStoreRemove: true, FDName: ExitsName}, {MainPID: os.Getpid()},
		{Other: []notify.Var{{Name: "X_END", Value: "9"}, {Name: "KEEPER_REEXEC", Value: "1"}}},
	} {
		if err := sender.Send(t.Context(), m, p[1]); err != nil {
			t.Fatal(err)
		}
	}
	unix.Close(p[1])
	if err := sender.Barrier(t.Context()); err != nil { // which anybody may
		t.Fatal(err)
	}
	if n, err := unix.Read(p[0], make([]byte, 1)); n != 0 || err != nil {
		t.Errorf("the keeper has kept a stranger's descriptor: %d, %v", n, err)
	}
	unix.Close(p[0])
	d.kill()
	if got := s.daemon().do("names"); got != ExitsName {
		t.Errorf("inherited %q", got)
	}
	if info, err := os.Stat(s.path(NotifySocket)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket: %v, %v", info.Mode(), err)
	}
}

func TestTheNextDaemonIsFollowed(t *testing.T) {
	s := newKeeperStage(t)
	s.keep(nil)
	old := s.daemon()
	old.ok("say", "READY=1")
	old.ok("push", "ctl", "/dev/null")
	upgrade := func() *actor {
		pid := old.do("successor")
		next := s.daemon()
		if strconv.Itoa(next.pid) != pid {
			t.Fatalf("pid %s is not %d", pid, next.pid)
		}
		old.ok("say", "MAINPID="+pid, "READY=1")
		old.ok("barrier")
		old.do("say", "X_END=3") // it is not the daemon any more
		next.ok("push", "new", "/dev/null")
		return next
	}
	next := upgrade()
	old.exit(0)
	next.ok("barrier")
	next.kill()
	old = s.daemon()
	if got, want := old.do("names"), names("ctl", ExitsName, "new"); got != want {
		t.Fatalf("inherited %q, want %q", got, want)
	}
	// The next one dies while it is still the old one's child, who does not look.
	old.ok("say", "READY=1")
	next = upgrade()
	next.kill()
	third := s.daemon()
	third.ok("say", "READY=1")
	old.exit(0) // leaves its zombie to the keeper
	third.ok("say", "X_END=0")
	third.exit(1)
	if code := s.ended(); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
}

// TestLastWordsComeFirst has the daemon name its successor and die in the same instant:
// its death is no reason to start another.
func TestLastWordsComeFirst(t *testing.T) {
	s := newKeeperStage(t)
	s.keep(nil)
	d := s.daemon()
	d.ok("say", "READY=1")
	for range 20 {
		d.do("successor")
		next := s.daemon()
		s.cmd.Process.Signal(unix.SIGSTOP) // it wakes up to both
		fmt.Fprintf(d.conn, "say MAINPID=%d READY=1\nexit 0\n", next.pid)
		d.line()
		d.gone()
		s.cmd.Process.Signal(unix.SIGCONT)
		next.ok("push", "new", "/dev/null")
		next.ok("barrier")
		next.kill()
		d = s.daemon()
		if got, want := d.do("names"), names(ExitsName, "new"); got != want {
			t.Fatalf("inherited %q, want %q: the keeper has not followed", got, want)
		}
		d.ok("remove", "new")
		d.ok("say", "READY=1")
	}
	d.ok("say", "X_END=0")
	d.exit(0)
	s.ended()
	if n := strings.Count(s.said(), "started again"); n != 20 {
		t.Errorf("started again %d times for 20 deaths", n)
	}
}

// TestAReaderThatHasStopped is a terminal or a log program that takes no more lines.
func TestAReaderThatHasStopped(t *testing.T) {
	s := newKeeperStage(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	s.keep(nil, func(c *exec.Cmd) { c.Stderr = w })
	defer w.Close()
	d := s.daemon()
	d.ok("say", "READY=1")
	size, err := unix.FcntlInt(w.Fd(), unix.F_GETPIPE_SZ, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(make([]byte, size)); err != nil {
		t.Fatal(err)
	}
	d.kill()
	d = s.daemon()
	d.ok("say", "READY=1")
	d.ok("barrier")
}

func TestSignalsAreTheDaemons(t *testing.T) {
	s := newKeeperStage(t)
	s.keep(nil)
	d := s.daemon()
	send := func(sig unix.Signal) {
		if err := s.cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
	}
	send(unix.SIGHUP) // waits: a daemon that is not ready may have no handler yet
	send(unix.SIGTERM)
	if got := d.do("signal"); got != "terminated" {
		t.Fatalf("got %s first", got)
	}
	d.ok("say", "READY=1")
	got := map[string]bool{d.do("signal"): true, d.do("signal"): true}
	if !got["hangup"] || !got["terminated"] {
		t.Fatalf("got %v at READY", got)
	}
	for _, sig := range []unix.Signal{unix.SIGUSR1, unix.SIGUSR2, unix.SIGHUP, unix.SIGINT} {
		send(sig)
		if got := d.do("signal"); got != sig.String() {
			t.Fatalf("got %s, sent %s", got, sig)
		}
	}
	// The daemon dies while it stops its workers: the next one is told too.
	d.kill()
	d = s.daemon()
	d.ok("say", "READY=1")
	if got := d.do("signal"); got != "interrupt" {
		t.Fatalf("got %s", got)
	}
	d.kill()
	s.daemon().kill()
	if code := s.ended(); code != 128+2 {
		t.Errorf("exit code %d", code)
	}
}

func TestOneKeeperToAHome(t *testing.T) {
	s := newKeeperStage(t)
	s.keep(nil)
	d := s.daemon()
	d.ok("say", "READY=1")
	first := s.cmd
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	s.keep(w)
	w.Close()
	if code := s.ended(); code != exitFailed {
		t.Errorf("exit code %d", code)
	}
	s.cmd = first
	buf := make([]byte, 16)
	if n, _ := r.Read(buf); string(buf[:n]) != readyRunning {
		t.Errorf("said %q to its starter", buf[:n])
	}
	d.ok("push", "ctl", "/dev/null")
	d.kill()
	if got, want := s.daemon().do("names"), names("ctl", ExitsName); got != want {
		t.Errorf("inherited %q, want %q", got, want)
	}
}

func TestWhatLiesInTheSocketsPlace(t *testing.T) {
	s := newKeeperStage(t)
	if err := os.WriteFile(s.path(NotifySocket), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.keep(nil)
	if code := s.ended(); code != exitFailed || !strings.Contains(s.said(), "is there and is no socket") {
		t.Errorf("exit code %d", code)
	}
	if _, err := listenNotify(s.path(strings.Repeat("x", 100))); err == nil || !strings.Contains(err.Error(), "choose a shorter SUPERVISOR_HOME") {
		t.Error(err)
	}
	os.Remove(s.path(NotifySocket))
	fd, err := listenNotify(s.path(NotifySocket)) // a dead keeper's
	if err != nil {
		t.Fatal(err)
	}
	fd.file.Close()
	s.keep(nil)
	s.daemon().ok("say", "READY=1")
}
