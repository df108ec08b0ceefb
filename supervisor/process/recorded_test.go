package process

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const testMark = "TEST_MARK=recorded"

// deadDaemon has a daemon that is gone by now start a worker, and gives its
// record, and the pids of its processes if the worker is an "orphan" or
// "parent" with a child.
func deadDaemon(t *testing.T, args ...string) (Recorded, []int) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() }) // until then nobody dies of SIGPIPE
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	pid, err := syscall.ForkExec("/proc/self/exe", append([]string{workerName, "daemon"}, args...),
		&syscall.ProcAttr{Env: append(os.Environ(), testMark), Files: []uintptr{null.Fd(), w.Fd(), 2}})
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	unix.Wait4(pid, nil, 0, nil)
	r.SetReadDeadline(time.Now().Add(guard))
	return readRecord(t, bufio.NewReader(r), args, true)
}

// readRecord takes what a daemon has said that was to start a worker of args, and
// that it is dead, from its keeper, if that isn't known.
func readRecord(t *testing.T, lines *bufio.Reader, args []string, dead bool) (Recorded, []int) {
	t.Helper()
	var rec Recorded
	var pids []int
	ups, children := 1, 0
	switch args[0] {
	case "parent":
		ups, children = 2, 1
	case "orphan":
		children = 1
	}
	for !dead || rec.PID == 0 || ups > 0 || len(pids) < children {
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatalf("no record: %v", err)
		}
		var child int
		if n, _ := fmt.Sscanf(line, "child %d", &child); n == 1 {
			pids = append(pids, child)
		}
		switch line {
		case "up\n":
			ups--
		case "kept\n":
			dead = true
		}
		fmt.Sscanf(line, "record %d %d", &rec.PID, &rec.StartTime)
	}
	rec.Mark = testMark
	return rec, pids
}

func end(t *testing.T, r Recorded, grace time.Duration) Ended {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), guard)
	defer cancel()
	e, err := EndRecorded(ctx, r, unix.SIGINT, grace)
	if err != nil {
		t.Fatal(err)
	}
	if members, err := r.members(); len(members) > 0 || err != nil {
		t.Errorf("left: %v, %v", members, err)
	}
	sorted(e.Signalled)
	sorted(e.Killed)
	return e
}

func TestEndRecorded(t *testing.T) {
	t.Run("by the signal", func(t *testing.T) {
		r, children := deadDaemon(t, "parent", "wait")
		want := sorted(append(children, r.PID))
		if e := end(t, r, guard); !slices.Equal(e.Signalled, want) || len(e.Killed) > 0 {
			t.Errorf("%+v, want %v signalled", e, want)
		}
	})
	t.Run("by the kill", func(t *testing.T) {
		r, _ := deadDaemon(t, "ignore")
		e := end(t, r, 20*time.Millisecond)
		if want := []int{r.PID}; !slices.Equal(e.Signalled, want) || !slices.Equal(e.Killed, want) {
			t.Errorf("%+v, want %v signalled and killed", e, want)
		}
	})
	t.Run("the main process is gone", func(t *testing.T) {
		r, children := deadDaemon(t, "orphan", "ignore")
		if e := end(t, r, 0); !slices.Equal(e.Killed, children) {
			t.Errorf("%+v, want %v killed", e, children)
		}
	})
	t.Run("a fork bomb", func(t *testing.T) {
		r, _ := deadDaemon(t, "parent", "bomb", "3")
		end(t, r, 0)
	})
	t.Run("all gone", func(t *testing.T) {
		r, _ := deadDaemon(t, "wait")
		end(t, r, guard)
		if e := end(t, r, guard); len(e.Signalled)+len(e.Killed) > 0 {
			t.Errorf("%+v of one that is gone", e)
		}
	})
}

// What is not certainly the worker's is left alone.
func TestEndRecordedSparesOthers(t *testing.T) {
	w := start(t, spec("wait"))
	w.expect("up")
	if e := end(t, Recorded{PID: w.PID(), StartTime: w.StartTime() - 1, Mark: testMark}, 0); len(e.Signalled)+len(e.Killed) > 0 {
		t.Errorf("%+v: the pid is another's by now", e)
	}
	r, children := deadDaemon(t, "orphan", "ignore")
	reap(r.PID)
	for _, mark := range []string{"", "TEST_MARK=other", "TEST_MARK=record"} {
		other := r
		other.Mark = mark
		if e := end(t, other, 0); len(e.Signalled)+len(e.Killed) > 0 {
			t.Errorf("%+v with the mark %q", e, mark)
		}
	}
	if !alive(w.PID()) || !alive(children[0]) {
		t.Error("a stranger was ended")
	}
	end(t, r, 0)
}

// reap takes an orphan that has come to us out of the process table, once it
// has ended.
func reap(pid int) { unix.Wait4(pid, nil, 0, nil) }

func TestEndRecordedStopsWithItsContext(t *testing.T) {
	r, _ := deadDaemon(t, "ignore")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	e, err := EndRecorded(ctx, r, unix.SIGINT, guard)
	if !errors.Is(err, context.Canceled) || len(e.Signalled) != 1 || len(e.Killed) > 0 {
		t.Errorf("%+v, %v; want it canceled after the signal", e, err)
	}
	end(t, r, 0)
}
