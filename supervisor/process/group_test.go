package process

import (
	"errors"
	"os"
	"slices"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

func (w *worker) stop(mode TreeMode, extra ...int) []int {
	w.t.Helper()
	got, err := w.Stop(unix.SIGINT, mode, extra)
	if err != nil {
		w.t.Fatal(err)
	}
	return sorted(got)
}

func (w *worker) stillThere() {
	w.t.Helper()
	select {
	case <-w.Gone():
		w.t.Fatal("the worker is gone")
	default:
	}
}

// nothingMore fails if an exit has been told that wasn't to be.
func (w *worker) nothingMore() {
	w.t.Helper()
	select {
	case e := <-w.Exited():
		w.t.Fatalf("the worker's exit is told: %v", e)
	default:
	}
}

func TestStopOnce(t *testing.T) {
	w := start(t, spec("count"))
	w.expect("up")
	if got := w.stop(TreeAuto); !slices.Equal(got, []int{w.PID()}) {
		t.Errorf("the first stop reaches %v, want %d", got, w.PID())
	}
	w.expect("interrupt")
	if got := w.stop(TreeAll); len(got) != 0 {
		t.Errorf("the second stop reaches %v", got)
	}
	for range 2 {
		if got, err := w.Signal(unix.SIGINT, TreeMain, nil); err != nil || len(got) != 1 {
			t.Errorf("Signal reaches %v, %v", got, err)
		}
		w.expect("interrupt")
	}
	if _, err := w.Signal(unix.SIGTERM, TreeMain, nil); err != nil {
		t.Error(err)
	}
	if e := w.awaitExit(); !e.Status.Success() {
		t.Errorf("it ended with %v", e.Status)
	}
	w.awaitGone()
	for _, f := range []func() error{w.Kill, func() error { _, err := w.Stop(unix.SIGINT, TreeAll, nil); return err }} {
		if err := f(); err != nil {
			t.Errorf("on one that is gone: %v", err)
		}
	}
	w.Quiesce()
	w.Resume()
}

func TestStopModes(t *testing.T) {
	stranger := start(t, spec("count"))
	stranger.expect("up")
	for _, c := range []struct {
		name        string
		mode        TreeMode
		extra       bool
		child, main bool
	}{
		{"main", TreeMain, true, false, true},
		{"auto alone", TreeAuto, false, false, true},
		{"auto with the listening child", TreeAuto, true, true, true},
		{"tree", TreeAll, false, true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := start(t, spec("parent", "wait"))
			child := w.childPID()
			w.expect("up")
			want := []int{w.PID()}
			if c.child {
				want = append(want, child)
			}
			extra := []int{stranger.PID(), 1, 1 << 22, w.PID()}
			if c.extra {
				extra = append(extra, child, child)
			}
			if got := w.stop(c.mode, extra...); !slices.Equal(got, sorted(want)) {
				t.Errorf("stop reaches %v, want %v", got, want)
			}
			e := w.awaitExit()
			if e.Status.Code != 2 && e.Status.Signal != int(unix.SIGINT) {
				t.Errorf("it ended with %v", e.Status)
			}
			if !c.child {
				if e.Left != 1 {
					t.Errorf("%d left, want 1", e.Left)
				}
				if got := w.stop(c.mode); !slices.Equal(got, []int{child}) {
					t.Errorf("after the exit, stop reaches %v, want %d", got, child)
				}
			}
			w.awaitGone()
			if alive(child) {
				t.Error("the child lives")
			}
		})
	}
}

// The main process exits, its child lives on and holds stdout.
func TestExitIsToldWhileAChildHoldsStdout(t *testing.T) {
	w := start(t, spec("orphan", "ignore"))
	child := w.childPID()
	if e := w.awaitExit(); e != (Exit{Status{Code: 7}, 1}) {
		t.Errorf("exit: %+v, want code 7 and one left", e)
	}
	w.stillThere()
	if p, err := readStat(w.PID()); err != nil || p.StartTime != w.StartTime() {
		t.Errorf("the main process is reaped before its group is empty: %v", err)
	}
	if got := w.stop(TreeAuto); !slices.Equal(got, []int{child}) {
		t.Errorf("stop reaches %v, want %d", got, child)
	}
	w.stillThere()
	if err := w.Kill(); err != nil {
		t.Error(err)
	}
	w.awaitGone()
	if alive(child) || alive(w.PID()) {
		t.Error("something is left")
	}
}

func TestKillTakesTheGroup(t *testing.T) {
	w := start(t, spec("parent", "parent", "ignore"))
	child := w.childPID()
	grandchild := w.childPID()
	if err := w.Kill(); err != nil {
		t.Fatal(err)
	}
	if s := w.awaitExit().Status; s.Signal != 9 {
		t.Errorf("it ended with %v", s)
	}
	w.awaitGone()
	for _, pid := range []int{child, grandchild} {
		if alive(pid) {
			t.Errorf("%d of %d, %d lives", pid, child, grandchild)
		}
	}
}

// A process that has left the group is not the worker's.
func TestSetsid(t *testing.T) {
	w := start(t, spec("setsid", "ignore"))
	child := w.childPID()
	t.Cleanup(func() { unix.Kill(child, unix.SIGKILL) })
	w.expect("up")
	if got := w.stop(TreeMain); !slices.Equal(got, []int{w.PID()}) {
		t.Errorf("stop reaches %v", got)
	}
	if e := w.awaitExit(); e.Left != 0 {
		t.Errorf("%d left", e.Left)
	}
	w.awaitGone()
	if !alive(child) {
		t.Error("the child that left is dead")
	}
}

func TestStopReachesTheTreeBeyondTheGroup(t *testing.T) {
	w := start(t, spec("setsid", "wait"))
	child := w.childPID()
	w.expect("up")
	if got := w.stop(TreeAll); !slices.Equal(got, sorted([]int{child, w.PID()})) {
		t.Errorf("with the tree, stop reaches %v, want %d and %d", got, child, w.PID())
	}
	w.awaitGone()
}

// A program makes itself a daemon: its main process exits, the child leaves
// the group while we wait for it. At the kill at the latest it is let go.
func TestLeavingTheGroupWhileWeWait(t *testing.T) {
	w := start(t, spec("orphan", "leave"))
	child := w.childPID()
	if e := w.awaitExit(); e.Left != 1 {
		t.Fatalf("%d left, want 1", e.Left)
	}
	t.Cleanup(func() { unix.Kill(child, unix.SIGKILL) })
	unix.Kill(child, unix.SIGUSR1)
	w.expect("left")
	if err := w.Kill(); err != nil {
		t.Error(err)
	}
	w.awaitGone()
	if !alive(child) {
		t.Error("the daemon was killed")
	}
}

func TestForkBomb(t *testing.T) {
	w := start(t, spec("bomb", "3"))
	w.expect("up")
	if err := w.Kill(); err != nil {
		t.Fatal(err)
	}
	w.awaitGone()
	if members, err := group(w.PID()); len(members) > 0 || err != nil {
		t.Errorf("left: %v, %v", members, err)
	}
}

func TestQuiesce(t *testing.T) {
	w := start(t, spec("orphan", "ignore"))
	child := w.childPID()
	e := w.awaitExit()
	w.Quiesce()
	w.Quiesce()
	if err := w.Kill(); !errors.Is(err, ErrQuiet) {
		t.Errorf("Kill gives %v, want %v", err, ErrQuiet)
	}
	if _, err := w.Stop(unix.SIGINT, TreeAll, nil); !errors.Is(err, ErrQuiet) {
		t.Errorf("Stop gives %v, want %v", err, ErrQuiet)
	}
	pidfd, err := unix.PidfdOpen(child, 0)
	if err != nil || e.Left != 1 {
		t.Fatal(err, e)
	}
	defer unix.Close(pidfd)
	unix.PidfdSendSignal(pidfd, unix.SIGKILL, nil, 0)
	unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, int(guard.Milliseconds()))
	w.stillThere()
	w.Resume()
	w.Resume()
	w.awaitGone()
}

func TestQuiesceBeforeTheExit(t *testing.T) {
	w := start(t, spec("wait"))
	w.expect("up")
	for range 3 {
		w.Quiesce()
		w.Resume()
	}
	w.Quiesce()
	unix.PidfdSendSignal(w.PidFD(), unix.SIGKILL, nil, 0)
	unix.Poll([]unix.PollFd{{Fd: int32(w.PidFD()), Events: unix.POLLIN}}, int(guard.Milliseconds()))
	w.nothingMore()
	w.Resume()
	if e := w.awaitExit(); e.Status.Signal != 9 {
		t.Errorf("exit: %v", e)
	}
	w.awaitGone()
}

// Without a descriptor to spare a worker is stopped and its exit told all the
// same, and its group is not taken for empty.
func TestWithoutDescriptors(t *testing.T) {
	w := start(t, spec("orphan", "ignore"))
	single := start(t, spec("wait"))
	single.expect("up")
	w.awaitExit()

	// Past x/sys, which would tell syscall that NOFILE was set by hand.
	limit := func(new, old *unix.Rlimit) {
		if _, _, e := unix.RawSyscall6(unix.SYS_PRLIMIT64, 0, unix.RLIMIT_NOFILE, uintptr(unsafe.Pointer(new)), uintptr(unsafe.Pointer(old)), 0, 0); e != 0 {
			t.Fatal(e)
		}
	}
	var old unix.Rlimit
	limit(nil, &old)
	none := unix.Rlimit{Cur: 3, Max: old.Max}
	limit(&none, nil)
	_, startErr := Start(spec("wait"))
	if err := w.Kill(); err != nil {
		t.Errorf("Kill: %v", err)
	}
	stopped, stopErr := single.Stop(unix.SIGINT, TreeAuto, nil)
	var e Exit
	select {
	case e = <-single.Exited():
	case <-time.After(guard):
	}
	w.stillThere()
	limit(&old, nil)

	if stage(startErr) != StageFork || !errors.Is(startErr, unix.EMFILE) {
		t.Errorf("Start: %v, want EMFILE", startErr)
	}
	if stopErr != nil || len(stopped) != 1 || e.Status.Success() {
		t.Errorf("Stop: %v, %v; exit: %v", stopped, stopErr, e)
	}
	w.awaitGone()
	single.awaitGone()
}

// Many at once end, and each tells its own.
func TestManyChildren(t *testing.T) {
	const n = 20
	exits := make(chan error, n)
	for i := range n {
		go func() { // ends with its worker
			c, err := Start(spec("exit", []string{"0", "1", "2"}[i%3]))
			if err == nil {
				err = c.Go()
			}
			if err == nil {
				if e := <-c.Exited(); e.Status.Code != i%3 {
					err = errors.New(e.Status.String())
				}
				<-c.Gone()
			}
			exits <- err
		}()
	}
	for range n {
		if err := <-exits; err != nil {
			t.Error(err)
		}
	}
}

func TestStat(t *testing.T) {
	p, err := parseStat([]byte("42 (a) b (c) S 7 8 9 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 123456 1 2 3\n"))
	if want := (Process{PID: 42, PPID: 7, PGID: 8, StartTime: 123456}); err != nil || p != want {
		t.Errorf("parseStat = %+v, %v; want %+v", p, err, want)
	}
	if _, err := StartTime(1 << 22); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("StartTime of nobody: %v", err)
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte("42 (a) b (c) S 7 8 9 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 123456 1 2 3\n"))
	f.Add([]byte(""))
	f.Add([]byte(")("))
	f.Add([]byte("1 () "))
	f.Fuzz(func(t *testing.T, b []byte) { parseStat(b) })
}
