package handover

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestLogsMoveInACrashLoop lets workers write more than their pipes hold while no daemon
// becomes ready.
func TestLogsMoveInACrashLoop(t *testing.T) {
	s := newKeeperStage(t)
	const lines = 20_000 // some 400 KB: six pipes full
	type worker struct {
		pipe *os.File
		to   string
	}
	var workers []worker
	s.keep(nil)
	d := s.daemon()
	for _, names := range [][2]string{{"w1.o", "w1.f"}, {"w1.e", "w1.g"}, {"w2.o", "w2.s"}} {
		w := worker{s.fifo(names[0]), s.path(names[1])}
		if err := os.WriteFile(w.to, []byte("before\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		d.ok("push", names[0], s.path(names[0]))
		d.ok("push", names[1], w.to)
		workers = append(workers, w)
	}
	s.fifo("w3.o") // without a file
	d.ok("push", "w3.o", s.path("w3.o"))
	d.ok("say", "READY=1")
	written := make(chan error, len(workers))
	for _, w := range workers {
		go func() { // ends when all is written, which takes a drain
			out := bytes.Buffer{}
			for i := range lines {
				fmt.Fprintf(&out, "the line no. %d\n", i)
			}
			out.WriteString("an open line")
			for data := out.Bytes(); len(data) > 0; {
				n := min(777, len(data))
				if _, err := w.pipe.Write(data[:n]); err != nil {
					written <- err
					return
				}
				data = data[n:]
			}
			written <- nil
		}()
	}
	d.kill() // it was ready: the next comes at once
	left := len(workers)
	for left > 0 {
		s.daemon().kill()
		select {
		case err := <-written:
			if err != nil {
				t.Fatal(err)
			}
			left--
		default:
		}
	}
	// What the pipes still hold is the next daemon's.
	d = s.daemon()
	for _, w := range workers {
		var want bytes.Buffer
		want.WriteString("before\n")
		for i := range lines {
			fmt.Fprintf(&want, "the line no. %d\n", i)
		}
		want.WriteString("an open line")
		got, err := os.ReadFile(w.to)
		if err != nil {
			t.Fatal(err)
		}
		rest, err := unix.IoctlGetInt(fdOf(t, w.pipe), unix.TIOCINQ)
		if err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, rest)
		if rest > 0 {
			if _, err := io.ReadFull(w.pipe, buf); err != nil {
				t.Fatal(err)
			}
		}
		if got = append(got, buf...); !bytes.Equal(got, want.Bytes()) {
			t.Errorf("%s: %d bytes, want %d", filepath.Base(w.to), len(got), want.Len())
		}
	}
}

func fdOf(t *testing.T, f *os.File) (fd int) {
	raw, err := f.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(n uintptr) { fd = int(n) })
	return fd
}

func TestADrainStopsAtAFullFile(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	spool, err := unix.MemfdCreate("spool", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(spool)
	w.Write([]byte("words\n"))
	full := flow{fdOf(t, r), spool, true}
	unix.Ftruncate(spool, maxSpool)
	if full.pour() {
		t.Error("a full spool takes more")
	}
	unix.Ftruncate(spool, 4096)
	d := startDrain([]flow{full, {fdOf(t, r), -1, false}})
	d.end()
	var st unix.Stat_t
	unix.Fstat(spool, &st)
	if left, _ := unix.IoctlGetInt(fdOf(t, r), unix.TIOCINQ); int64(left)+st.Size != 4096+6 {
		t.Errorf("%d bytes in the pipe and %d in the spool", left, st.Size)
	}
	startDrain(nil).end()
}

func TestABrokenBinaryIsNotStarted(t *testing.T) {
	s := newKeeperStage(t)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(exe)
	if err != nil {
		t.Fatal(err)
	}
	path, upgraded := s.path("program"), s.path("upgraded")
	for _, p := range []string{path, upgraded} {
		if err := os.WriteFile(p, program, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	s.keep(nil, func(c *exec.Cmd) { c.Path = path })
	d := s.daemon()
	d.ok("push", ExeName, upgraded)
	d.ok("say", "READY=1")
	for _, p := range []string{path, upgraded} {
		os.Remove(p)
		if err := os.WriteFile(p, []byte("#!/bin/false\n"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	d.kill()
	d = s.daemon()
	if to, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", d.pid)); to != upgraded+" (deleted)" {
		t.Errorf("runs %s", to)
	}
	d.ok("say", "READY=1")
	d.ok("say", "KEEPER_REEXEC=1")
	d.ok("barrier")
	d.ok("remove", ExeName) // now it is the keeper's own, the same
	d.ok("barrier")
	d.kill()
	s.daemon().ok("say", "READY=1")
	if strings.Contains(s.said(), "cannot") {
		t.Error("something could not be executed")
	}
}

func TestTheKeeperExecutesItselfAnew(t *testing.T) {
	s := newKeeperStage(t)
	s.keep(nil)
	d := s.daemon()
	d.ok("say", "READY=1")
	d.ok("push", "ctl", "/dev/null")
	d.ok("push", ExeName, "/proc/self/exe")
	d.ok("barrier") // a push is only sent: what is counted must have come
	before := len(descriptorsOf(t, s.cmd.Process.Pid))
	for i := range 3 {
		s.cmd.Process.Signal(unix.SIGSTOP) // it wakes up to all of it
		d.ok("say", "KEEPER_REEXEC=1")
		d.ok("push", "w1.o", "/dev/null")
		wait := s.barrier()
		s.cmd.Process.Signal(unix.SIGCONT)
		wait()
		if n := strings.Count(s.said(), "goes on with another program"); n != i+1 {
			t.Fatalf("executed anew %d times, and answered", n)
		}
		s.cmd.Process.Signal(unix.SIGUSR1)
		if got := d.do("signal"); got != "user defined signal 1" {
			t.Fatal(got)
		}
		d.kill()
		d = s.daemon()
		if got, want := d.do("names"), names("ctl", ExeName, ExitsName, "w1.o"); got != want {
			t.Fatalf("inherited %q, want %q", got, want)
		}
		if got := d.do("ppid"); got != strconv.Itoa(s.cmd.Process.Pid) {
			t.Fatalf("the parent is %s", got)
		}
		d.ok("remove", "w1.o")
		d.ok("say", "READY=1")
	}
	d.ok("barrier")
	if after := descriptorsOf(t, s.cmd.Process.Pid); len(after) > before {
		t.Errorf("%d descriptors at first, then %v", before, after)
	}
	for _, fd := range descriptorsOf(t, d.pid) {
		if strings.Contains(fd, KeeperLock) || strings.Contains(fd, "memfd:") {
			t.Errorf("the daemon has the keeper's own %s", fd)
		}
	}
	if mask := statusField(t, s.cmd.Process.Pid, "ShdPnd"); strings.Trim(mask, "0") != "" {
		t.Errorf("signals wait: %s", mask)
	}
	// Of the daemon's, no signal is blocked.
	if mask := statusField(t, d.pid, "SigBlk"); strings.Trim(mask, "0") != "" {
		t.Errorf("the daemon's mask is %s", mask)
	}
	d.ok("say", "X_END=0")
	d.exit(0)
	if code := s.ended(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// descriptorsOf lists those of a process that it has for longer: not what it looks at in
// /proc at this moment, as a trim does.
func descriptorsOf(t *testing.T, pid int) (list []string) {
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if to, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil && !strings.HasPrefix(to, "/proc/") {
			list = append(list, e.Name()+" "+to)
		}
	}
	return list
}

func statusField(t *testing.T, pid int, name string) string {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	t.Fatalf("no %s", name)
	return ""
}

func TestWhatIsReapedIsReported(t *testing.T) {
	s := newKeeperStage(t)
	s.keep(nil)
	d := s.daemon()
	d.ok("say", "READY=1")
	for _, c := range []struct{ end, want string }{
		{"exit 7", "exited with status 7"}, {"kill -TERM $$", "was killed by SIGTERM"}, {"exit 0", "exited with status 0"},
	} {
		gate := s.fifo("gate")
		pid := d.do("shell", fmt.Sprintf("sh -c 'read x < %s; %s' >/dev/null 2>&1 & echo $!", s.path("gate"), c.end))
		n, err := strconv.Atoi(pid)
		if err != nil {
			t.Fatal(pid)
		}
		st, err := readStat(n)
		if err != nil || st.ppid != s.cmd.Process.Pid {
			t.Fatalf("the orphan's parent is %d, not the keeper: %v", st.ppid, err)
		}
		fmt.Fprintln(gate, "go")
		if got := d.do("reported", pid, strconv.FormatUint(st.start, 10)); got != c.want {
			t.Errorf("%s: reported that it %s", c.end, got)
		}
		gate.Close()
		os.Remove(s.path("gate"))
	}
	d.kill()
	s.daemon().ok("say", "READY=1")
}

func TestTheKeeperGoesOnInARotatedLog(t *testing.T) {
	s := newKeeperStage(t)
	log := s.path(daemonLog)
	f, err := os.OpenFile(log, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	s.keep(nil, func(c *exec.Cmd) { c.Stdout, c.Stderr = f, f })
	f.Close()
	d := s.daemon()
	d.ok("say", "READY=1")
	if err := os.Rename(log, log+".old"); err != nil {
		t.Fatal(err)
	}
	d.kill()
	d = s.daemon()
	d.ok("barrier")
	text, err := os.ReadFile(log)
	if err != nil || !strings.Contains(string(text), "keeper: the daemon (pid") {
		t.Errorf("the new log: %q, %v", text, err)
	}
	for _, fd := range []string{"1", "2"} {
		if to, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", d.pid, fd)); to != log {
			t.Errorf("the daemon's %s is %s", fd, to)
		}
	}
}

// TestTheKeeperIsSmall measures what the keeper takes once it has been left alone: it
// waits for the trim by looking whenever the daemon has made it work.
func TestTheKeeperIsSmall(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector's memory is not the keeper's")
	}
	s := newKeeperStage(t)
	s.keep(nil)
	d := s.daemon()
	d.ok("say", "READY=1")
	for i := range 300 {
		d.ok("push", fmt.Sprintf("w%d.o", i), "/dev/null")
	}
	d.kill()
	d = s.daemon()
	d.ok("say", "READY=1")
	d.ok("barrier")
	const most = 8 << 10 // kB
	rss := 0
	for range 4096 { // each look takes the daemon's round trip, and the trim comes after 1 s
		fields := strings.Fields(statusField(t, s.cmd.Process.Pid, "VmRSS"))
		if rss, _ = strconv.Atoi(fields[0]); rss < most {
			break
		}
		d.ok("shell", "sleep 0.1; echo ok")
	}
	t.Logf("keeper with 301 descriptors: %d kB RSS", rss)
	if rss >= most {
		t.Errorf("%d kB", rss)
	}
}
