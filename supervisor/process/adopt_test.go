package process

import (
	"bufio"
	"errors"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// kept is a worker whose daemon is dead, and whose parent is a keeper.
type kept struct {
	Recorded
	t        *testing.T
	keeper   int
	children []int
	orders   *os.File // to the keeper
	lines    *bufio.Reader
}

// keep has a keeper's daemon start a worker, and die.
func keep(t *testing.T, args ...string) *kept {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	stdin, orders, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	var pid int
	raw := func(f *os.File) (fd uintptr) {
		c, _ := f.SyscallConn()
		c.Control(func(n uintptr) { fd = n })
		return fd
	}
	pid, err = syscall.ForkExec("/proc/self/exe", append([]string{workerName, "keeper"}, args...),
		&syscall.ProcAttr{Env: append(os.Environ(), testMark), Files: []uintptr{raw(stdin), raw(w), 2}})
	stdin.Close()
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		orders.Close()
		unix.Wait4(pid, nil, 0, nil)
		r.Close()
	})
	r.SetReadDeadline(time.Now().Add(guard))
	k := &kept{t: t, keeper: pid, orders: orders, lines: bufio.NewReader(r)}
	k.Recorded, k.children = readRecord(t, k.lines, args, false)
	return k
}

// expect takes lines until one is want.
func (k *kept) expect(want string) {
	k.t.Helper()
	for {
		line, err := k.lines.ReadString('\n')
		if err != nil {
			k.t.Fatalf("without the line %q: %v", want, err)
		}
		if line == want+"\n" {
			return
		}
	}
}

// reapOne tells the keeper to reap the next that ends.
func (k *kept) reapOne() { k.orders.Write([]byte{'r'}) }

// end ends the main process and returns when it has ended.
func (k *kept) end(sig unix.Signal) {
	k.t.Helper()
	fd := k.pidfd()
	defer unix.Close(fd)
	unix.PidfdSendSignal(fd, sig, nil, 0)
	ends(fd)
}

// leave ends the keeper.
func (k *kept) leave() {
	k.t.Helper()
	fd, err := unix.PidfdOpen(k.keeper, 0)
	if err != nil {
		k.t.Fatal(err)
	}
	defer unix.Close(fd)
	k.orders.Close()
	ends(fd)
}

// ends returns when the process of a pidfd has ended.
func ends(pidfd int) {
	unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, int(guard.Milliseconds()))
}

// pidfd is the main process's, as somebody has kept it.
func (k *kept) pidfd() int {
	k.t.Helper()
	fd, err := unix.PidfdOpen(k.PID, 0)
	if err != nil {
		k.t.Fatal(err)
	}
	return fd
}

// adopt adopts the worker; when the test ends it is killed.
func (k *kept) adopt(a Adoption) *worker {
	k.t.Helper()
	a.Recorded = k.Recorded
	return adopt(k.t, a)
}

func adopt(t *testing.T, a Adoption) *worker {
	t.Helper()
	c, err := Adopt(a)
	if err != nil {
		t.Fatal(err)
	}
	w := &worker{Child: c, t: t}
	t.Cleanup(func() {
		if err := c.Kill(); err != nil {
			t.Error(err)
		}
		w.awaitGone()
		c.Release()
	})
	return w
}

// The exit status of one that is not ours, from every source.
func TestAdoptedExit(t *testing.T) {
	const none = -1
	reported := func(pid int) (Status, bool) { return Status{Code: 77}, true }
	silent := func(int) (Status, bool) { return Status{}, false }
	for _, c := range []struct {
		name   string
		reaped bool // before it is adopted
		pidfd  bool
		word   func(int) (Status, bool)
		want   Status
	}{
		{name: "a zombie", want: Status{Code: 3}},
		{name: "a zombie with a pidfd", pidfd: true, word: reported, want: Status{Code: 3}},
		{name: "reaped, with a pidfd", reaped: true, pidfd: true, word: reported, want: Status{Code: 3}},
		{name: "reaped and reported", reaped: true, word: reported, want: Status{Code: 77}},
		{name: "reaped and not reported", reaped: true, word: silent, want: Status{Unknown: true}},
		{name: "reaped, and nobody knows", reaped: true, want: Status{Unknown: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := keep(t, "quit", "3")
			a := Adoption{PidFD: none, Reported: c.word}
			if c.pidfd {
				a.PidFD = k.pidfd()
			}
			k.end(unix.SIGTERM)
			if c.reaped {
				k.reapOne()
				k.expect("reaped")
			}
			w := k.adopt(a)
			want := c.want
			if c.reaped && c.pidfd && !infoKnown(w.PidFD()) {
				want = Status{Code: 77}
			}
			if e := w.awaitExit(); e != (Exit{want, 0}) {
				t.Errorf("exit: %+v, want %v", e, want)
			}
			w.awaitGone()
			if (w.PidFD() < 0) != (c.reaped && !c.pidfd) {
				t.Errorf("the pidfd is %d", w.PidFD())
			}
		})
	}
}

// infoKnown tells whether the kernel can say how a reaped process has ended.
func infoKnown(pidfd int) bool { _, ok := reapedStatus(pidfd); return ok }

// It lives when it is adopted; the keeper reaps it as soon as it ends.
func TestAdoptedLives(t *testing.T) {
	for range 20 { // the reaping races with the look
		k := keep(t, "quit", "9")
		w := k.adopt(Adoption{PidFD: k.pidfd()})
		w.nothingMore()
		k.reapOne()
		if got := w.stop(TreeMain); !slices.Equal(got, []int{k.PID}) { // SIGINT
			t.Fatalf("stop reaches %v", got)
		}
		e := w.awaitExit()
		if e.Status.Signal != int(unix.SIGINT) && e.Status.Code != 2 || e.Left != 0 {
			t.Errorf("exit: %+v", e)
		}
		w.awaitGone()
		if got := w.Signalled(); !slices.Equal(got, []Identity{{k.PID, k.StartTime}}) {
			t.Errorf("signalled: %v", got)
		}
	}
}

func TestAdoptedIsNotStoppedTwice(t *testing.T) {
	k := keep(t, "parent", "wait")
	w := k.adopt(Adoption{PidFD: -1, Signalled: []Identity{{k.PID, k.StartTime}, {k.children[0], 1}}})
	if got := w.stop(TreeMain); len(got) != 0 {
		t.Errorf("stop reaches %v, who had it", got)
	}
	if got := w.stop(TreeAll); !slices.Equal(got, k.children) { // that start time was another's
		t.Errorf("stop reaches %v, want %v", got, k.children)
	}
	k.end(unix.SIGKILL)
	w.awaitExit()
	w.awaitGone()
	if got := len(w.Signalled()); got != 3 {
		t.Errorf("%v", w.Signalled())
	}
}

// The main process is gone, and its group is not.
func TestAdoptedLeavesOthers(t *testing.T) {
	for _, c := range []struct {
		name          string
		reaped, pidfd bool
		unmarked      bool
		found         bool
	}{
		{"a zombie", false, false, true, true},
		{"reaped, with a pidfd", true, true, true, true},
		{"reaped, with the mark", true, false, false, true},
		{"reaped, with nothing", true, false, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := keep(t, "orphan", "ignore")
			a := Adoption{PidFD: -1}
			if c.pidfd {
				a.PidFD = k.pidfd()
			}
			if c.reaped {
				k.reapOne()
				k.expect("reaped")
			}
			if c.unmarked {
				k.Mark = ""
			}
			w := k.adopt(a)
			e := w.awaitExit()
			if (e.Left == 1) != c.found {
				t.Errorf("%d left", e.Left)
			}
			if !c.found {
				w.awaitGone()
				if !alive(k.children[0]) {
					t.Error("a process was ended that nobody could tell for ours")
				}
				unix.Kill(k.children[0], unix.SIGKILL)
				return
			}
			w.stillThere()
			if got := w.stop(TreeMain); !slices.Equal(got, k.children) {
				t.Errorf("stop reaches %v, want %v", got, k.children)
			}
			w.stillThere()
			if err := w.Kill(); err != nil {
				t.Error(err)
			}
			w.awaitGone()
			if alive(k.children[0]) {
				t.Error("it lives")
			}
		})
	}
}

// A group that forks behind our back, without its leader.
func TestAdoptedForkBomb(t *testing.T) {
	k := keep(t, "orphan", "bomb", "3")
	w := k.adopt(Adoption{PidFD: k.pidfd()})
	k.reapOne()
	if err := w.Kill(); err != nil {
		t.Error(err)
	}
	w.awaitGone()
	if members, err := group(k.PID); len(members) > 0 || err != nil {
		t.Errorf("left: %v, %v", members, err)
	}
}

// The pid is another's by now, or the descriptor is.
func TestAdoptOthers(t *testing.T) {
	other := start(t, spec("count"))
	other.expect("up")
	pidfd := func(pid int) int {
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			t.Fatal(err)
		}
		return fd
	}
	for _, fd := range []int{-1, pidfd(other.PID()), pidfd(os.Getpid())} {
		w := adopt(t, Adoption{Recorded: Recorded{PID: other.PID(), StartTime: other.StartTime() - 1}, PidFD: fd})
		for _, mode := range []TreeMode{TreeMain, TreeAll} {
			w.stop(mode)
		}
		if err := w.Kill(); err != nil {
			t.Error(err)
		}
		if e := w.awaitExit(); e != (Exit{Status{Unknown: true}, 0}) {
			t.Errorf("exit: %+v", e)
		}
		w.awaitGone()
	}
	null, err := unix.Open(os.DevNull, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	k := keep(t, "wait")
	for _, fd := range []int{null, pidfd(other.PID())} {
		if w := k.adopt(Adoption{PidFD: fd}); w.PidFD() < 0 {
			t.Error("the process was not found")
		} else if pid, err := pidOf(w.PidFD()); err != nil || pid != k.PID {
			t.Errorf("the pidfd is that of %d, %v", pid, err)
		}
	}
	if !alive(other.PID()) {
		t.Error("a stranger was ended")
	}
}

func TestAdoptedQuiesce(t *testing.T) {
	k := keep(t, "orphan", "ignore")
	w := k.adopt(Adoption{PidFD: k.pidfd()})
	if e := w.awaitExit(); e.Status.Code != 7 || e.Left != 1 {
		t.Errorf("exit: %+v", e)
	}
	w.Quiesce()
	if err := w.Kill(); !errors.Is(err, ErrQuiet) {
		t.Errorf("Kill gives %v", err)
	}
	unix.Kill(k.children[0], unix.SIGKILL)
	w.Release()
	w.stillThere()
	w.Resume()
	w.awaitGone()

	// While the word of who has reaped it is waited for.
	k = keep(t, "quit", "4")
	k.end(unix.SIGTERM)
	k.reapOne()
	k.expect("reaped")
	asked := make(chan bool, 9)
	w = k.adopt(Adoption{PidFD: -1, Reported: func(int) (Status, bool) { asked <- true; return Status{}, false }})
	<-asked
	w.Quiesce()
	w.Resume()
	if e := w.awaitExit(); !e.Status.Unknown {
		t.Errorf("exit: %+v", e)
	}
}

// The keeper goes before its workers: they come to us, who then have to reap them.
func TestAdoptedBecomesOurs(t *testing.T) {
	k := keep(t, "quit", "5")
	w := k.adopt(Adoption{PidFD: k.pidfd()})
	k.leave()
	k.end(unix.SIGTERM)
	if e := w.awaitExit(); e.Status.Code != 5 {
		t.Errorf("exit: %+v", e)
	}
	w.awaitGone()
	w.Release()
	<-w.Child.over
	if _, err := readStat(k.PID); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it is not reaped: %v", err)
	}
}
