package crash

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"supervisor/testdata/lab"
	"supervisor/testdata/load"
)

// The keeper dies: the daemon starts another, which holds what that one held.
func TestKeeperDies(t *testing.T) {
	s := newSite(t, web(t), stamped(t), objects(t), node(t))
	s.Must("start")
	before := s.steady()
	lab.Under(t, func([]*load.Load) {
		for range 3 {
			old := s.keeper()
			watch := lab.NewWatch(t, s.Home)
			old.Kill()
			if !watch.Until(func() bool { return s.kept(old.PID) }) {
				t.Fatal("no keeper comes")
			}
			s.same("a keeper's death", before, s.steady())
			s.daemon().Kill() // the new one brings the next
			s.same("the daemon's death after it", before, s.steady())
			before = s.perform(reload(s.app("web")), before)
		}
	}, s.loads(s.apps...)...)
}

// kept reports whether there is a keeper other than the one of that pid, that the
// daemon knows.
func (s *site) kept(old int) bool {
	pong := s.pong()
	return pong.KeeperPID != 0 && pong.KeeperPID != old
}

// Keeper and daemon die at the same instant: nobody holds anything any more, and the
// next command finds again what the workers themselves have open. What is lost for good
// is said: the workers' binds to come, and Node's channel.
func TestKeeperAndDaemonDieTogether(t *testing.T) {
	asker := &app{name: "asker", script: program(t, "asker"), instances: 1}
	s := newSite(t, web(t), asker)
	s.Must("start")
	before := s.steady()
	lab.Under(t, func([]*load.Load) {
		keeper, daemon := s.keeper(), s.daemon()
		daemon.Signal(unix.SIGSTOP)
		keeper.Signal(unix.SIGKILL)
		daemon.Kill()
		keeper.Wait()
		s.Must("start")
		after := s.steady()
		s.same("both have died", before, after)
		text, _ := os.ReadFile(s.Log())
		if !strings.Contains(string(text), "bind") {
			t.Errorf("supervisor.log does not say what is lost:\n%s", text)
		}
		// As nobody answers them any more, binds fail in the old workers; in new ones they don't.
		if answer, err := ask(asker.port, "listen", ports.Free(t)); err == nil {
			t.Errorf("a bind after both have died: %s", answer)
		}
		after = s.perform(reload(asker), after)
		if _, err := ask(asker.port, "listen", ports.Free(t)); err != nil {
			t.Errorf("a bind of a new worker: %v", err)
		}
		s.perform(reload(s.app("web")), after)
	}, s.loads(s.app("web"))...)
	if found, _ := filepath.Glob(filepath.Join(s.Home, "state", "*.tmp")); len(found) > 0 {
		t.Errorf("left: %v", found)
	}
}

// A keeper that died while the daemon came up is replaced like any other.
func TestAKeeperThatIsDeadAlready(t *testing.T) {
	s := newSite(t, web(t))
	dead := exec.Command("true")
	if err := errors.Join(dead.Run(), os.MkdirAll(s.Home, 0o700)); err != nil {
		t.Fatal(err)
	}
	watch := lab.NewWatch(t, s.Home)
	cmd := s.Command("daemon")
	cmd.Env = append(slices.Clone(cmd.Env), fmt.Sprint("SUPERVISOR_KEEPER=", dead.Process.Pid), "NOTIFY_SOCKET="+filepath.Join(s.Home, "notify.sock"))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer s.Must("kill")
	there := func() bool { _, err := os.Stat(filepath.Join(s.Home, "notify.sock")); return err == nil }
	if !watch.Until(there) {
		t.Fatal("no keeper comes")
	}
	s.Must("start")
	before := s.steady()
	s.dies()
	s.same("the daemon's death", before, s.steady())
}
