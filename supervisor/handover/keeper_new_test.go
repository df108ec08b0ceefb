package handover

import (
	"context"
	"os"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

func TestAKilledKeeperIsReplaced(t *testing.T) {
	s := newKeeperStage(t)
	s.keep(nil)
	d := s.daemon()
	d.ok("say", "READY=1")
	d.ok("push", "ctl", "/dev/null")
	d.ok("push", ExeName, "/proc/self/exe")
	keeper := strconv.Itoa(s.cmd.Process.Pid)
	for range 3 {
		next := d.do("watch", keeper)
		if _, err := strconv.Atoi(next); err != nil || next == keeper {
			t.Fatalf("the new keeper: %s", next)
		}
		if keeper = next; d.do("env", KeeperVariable) != strconv.Quote(next) {
			t.Fatal("the daemon does not know")
		}
		d.ok("push", "late", "/dev/null")
		d.kill()
		d = s.daemon()
		if got, want := d.do("names"), names("ctl", ExeName, ExitsName, "late"); got != want {
			t.Fatalf("inherited %q, want %q", got, want)
		}
		if got := d.do("ppid"); got != keeper {
			t.Fatalf("the parent is %s, not %s", got, keeper)
		}
		if got := d.do("env", KeeperVariable); got != strconv.Quote(keeper) {
			t.Fatalf("told of %s", got)
		}
		for _, name := range []string{"ctl", ExeName, ExitsName} {
			if got := d.do("take", name); got != "true" {
				t.Fatalf("%s: %s", name, got)
			}
		}
		d.ok("remove", "late")
		d.ok("say", "READY=1")
	}
	s.ended()
	d.ok("say", "X_END=0")
	d.exit(0)
	pid, _ := strconv.Atoi(keeper)
	var status unix.WaitStatus
	for {
		if got, err := unix.Wait4(-1, &status, 0, nil); err != unix.EINTR && (err != nil || got == pid) {
			break // its parent, a daemon, is dead: it is ours
		}
	}
	if status.ExitStatus() != 0 || status.Signaled() {
		t.Errorf("the last keeper: %s", howEnded(status, true))
	}
}

// Who watches a keeper sees that it lives while it executes itself anew, and that it
// has ended, whenever that was.
func TestAKeeperIsWatched(t *testing.T) {
	s := newKeeperStage(t)
	s.keep(nil)
	d := s.daemon()
	d.ok("say", "READY=1")
	pid := s.cmd.Process.Pid
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for i := range 100 {
		said := make(chan string, 1)
		go func() { // ends when the keeper has executed itself anew
			d.do("say", "KEEPER_REEXEC=1")
			said <- d.do("barrier")
		}()
		for anew := false; !anew; {
			watch, end := context.WithCancel(ctx)
			gone, err := Watch(watch, pid)
			if err != nil {
				t.Fatal(i, err)
			}
			select {
			case <-gone:
				t.Fatalf("it is said to have ended, in execution %d", i)
			default:
			}
			end()
			select {
			case answer := <-said:
				if anew = true; answer != "ok" {
					t.Fatal(answer)
				}
			default:
			}
		}
	}
	d.ok("say", "X_END=0")
	d.exit(0)
	s.ended()
	for _, none := range []int{pid, os.Getpid()} {
		gone, err := Watch(ctx, none)
		if err != nil {
			t.Fatal(err)
		}
		select {
		case <-gone:
		default:
			t.Errorf("pid %d is watched", none)
		}
	}
}

func TestNoKeeperWithoutADaemonToKeep(t *testing.T) {
	s := newKeeperStage(t)
	if _, err := NewKeeper(t.Context(), s.home, "/does/not/exist", nil, []string{actorName, s.home}); err == nil {
		t.Error("a keeper of a binary that does not exist")
	}
	if _, err := NewKeeper(t.Context(), s.path("no such home"), "/proc/self/exe", nil, []string{actorName, s.home}); err == nil {
		t.Error("a keeper without a home")
	}
	// Another keeper is there, and does not go.
	s.keep(nil)
	s.daemon().ok("say", "READY=1")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if pid, err := NewKeeper(ctx, s.home, "/proc/self/exe", nil, []string{actorName, s.home}); err == nil {
		t.Errorf("two keepers, the new one is pid %d", pid)
	}
}
