package daemon

import (
	"bufio"
	"context"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"supervisor/supervisor/handover"
)

// guarded is as much of a daemon as guards its keeper; what it logs is read by next.
type guarded struct {
	*daemon
	t    *testing.T
	logs *bufio.Scanner
}

func newGuarded(t *testing.T, keeper int) *guarded {
	t.Helper()
	dir := shortDir(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r.SetReadDeadline(time.Now().Add(guard))
	t.Setenv(handover.KeeperVariable, "") // as it was, afterwards
	d := &daemon{home: home(dir), log: log.New(w, "", 0), turn: make(chan struct{}, 1), replaced: make(chan struct{}), world: &world{}}
	d.ctx, d.cancel = context.WithCancel(t.Context())
	d.handing, d.callOff = context.WithCancel(d.ctx)
	if d.store, err = handover.NewHolder(filepath.Join(dir, handover.NotifySocket), nil); err != nil {
		t.Fatal(err)
	}
	d.keeper.Store(int64(keeper))
	t.Cleanup(func() {
		d.cancel()
		d.world.working.Wait()
		if pid := d.keeperPID(); pid != keeper {
			unix.Kill(pid, unix.SIGKILL)
			unix.Wait4(pid, nil, 0, nil)
		}
		w.Close()
		r.Close()
	})
	return &guarded{d, t, bufio.NewScanner(r)}
}

// next waits for a line with these words.
func (g *guarded) next(words string) {
	g.t.Helper()
	var said []string
	for g.logs.Scan() {
		if said = append(said, g.logs.Text()); strings.Contains(g.logs.Text(), words) {
			return
		}
	}
	g.t.Fatalf("no %q in %q: %v", words, said, g.logs.Err())
}

// A keeper may have died before its daemon came to watch it: while that began, or before
// it took over in an upgrade.
func TestAKeeperThatIsGoneAlreadyIsReplaced(t *testing.T) {
	leaktight(t)
	gone := exec.Command("true")
	if err := gone.Run(); err != nil {
		t.Fatal(err)
	}
	g := newGuarded(t, gone.Process.Pid)
	g.guardKeeper()
	g.next("from now on")
	if err := g.store.Say("STATUS=heard"); err != nil {
		t.Error(err)
	}
	unix.Kill(g.keeperPID(), unix.SIGKILL)
	g.next("from now on")
}

// What keeps a keeper from being started may pass.
func TestAKeeperThatCannotBeStartedIsTriedAgain(t *testing.T) {
	leaktight(t)
	gone := exec.Command("true")
	if err := gone.Run(); err != nil {
		t.Fatal(err)
	}
	g := newGuarded(t, gone.Process.Pid)
	hidden := string(g.home) + ".hidden"
	if err := os.Rename(string(g.home), hidden); err != nil {
		t.Fatal(err)
	}
	g.guardKeeper()
	g.next("tried again")
	if err := os.Rename(hidden, string(g.home)); err != nil {
		t.Fatal(err)
	}
	g.next("from now on")
}

// During an upgrade no keeper is started, and none by who was replaced.
func TestWhoWasReplacedStartsNoKeeper(t *testing.T) {
	leaktight(t)
	g := newGuarded(t, 1<<30)
	g.turn <- struct{}{}
	g.guardKeeper()
	g.next("has died")
	close(g.replaced)
	g.world.working.Wait()
	if pid := g.keeperPID(); pid != 1<<30 {
		t.Errorf("the keeper is pid %d", pid)
	}
}
