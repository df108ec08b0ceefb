package daemon

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"supervisor/supervisor/control"
	"supervisor/supervisor/handover"
	"supervisor/supervisor/state"
)

// upgrading is a daemon in run that another process is about to replace.
func upgrading(t *testing.T) (g *guarded, next *exec.Cmd, code chan int) {
	t.Helper()
	g = newGuarded(t, 0)
	ln, err := home(g.home).listen()
	if err != nil {
		t.Fatal(err)
	}
	g.backend = &backend{}
	g.server = control.Serve(ln, g.backend)
	g.signals, g.end = make(chan os.Signal, 16), make(chan struct{})
	next = exec.Command("sleep", "1000")
	if err := next.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		next.Process.Kill()
		next.Wait()
	})
	g.turn <- struct{}{}
	code = make(chan int, 1)
	go func() { code <- g.run() }() // ends when it is replaced
	g.next("supervisor")
	return g, next, code
}

// replace is the upgrade's end.
func (g *guarded) replace(next *exec.Cmd) {
	g.t.Helper()
	var err error
	if g.daemon.next, err = unix.PidfdOpen(next.Process.Pid, 0); err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { unix.Close(g.daemon.next) })
	close(g.replaced)
}

// A stop that is asked for during an upgrade is the successor's, and the old process,
// which has handed everything over, stops nothing.
func TestAStopDuringAnUpgradeIsTheSuccessors(t *testing.T) {
	leaktight(t)
	for name, stop := range map[string]func(*guarded){
		"SIGTERM": func(g *guarded) { g.signals <- unix.SIGTERM; g.next("stopping everything") },
		"kill":    func(g *guarded) { g.finish() },
	} {
		t.Run(name, func(t *testing.T) {
			g, next, code := upgrading(t)
			stop(g)
			<-g.handing.Done() // the upgrade is called off, in vain
			g.replace(next)
			if got := <-code; got != state.ExitOK {
				t.Errorf("exit code %d", got)
			}
			next.Wait()
			if status := next.ProcessState.Sys().(syscall.WaitStatus); status.Signal() != unix.SIGTERM {
				t.Errorf("the successor: %v", next.ProcessState)
			}
			if _, err := os.Stat(filepath.Join(string(g.home), "supervisor.sock")); err != nil {
				t.Error(err)
			}
		})
	}
}

// Once everything is to be stopped nobody takes over.
func TestNoUpgradeOfADaemonThatEnds(t *testing.T) {
	leaktight(t)
	g := newGuarded(t, 0)
	if !g.endsItself() {
		t.Error("somebody has taken over")
	}
	if err := g.upgrade(g.ctx, "/bin/true"); !errors.Is(err, errEnding) {
		t.Errorf("an upgrade: %v", err)
	}
	g.next("everything is being stopped")
}

// A reload that is asked for during an upgrade is the successor's too.
func TestSignalsAreTheSuccessors(t *testing.T) {
	leaktight(t)
	g, next, code := upgrading(t)
	g.signals <- unix.SIGUSR2
	g.next("under way") // no upgrade begins
	g.signals <- unix.SIGHUP
	g.next("reload")
	g.replace(next)
	if got := <-code; got != state.ExitOK {
		t.Errorf("exit code %d", got)
	}
	next.Wait()
	if status := next.ProcessState.Sys().(syscall.WaitStatus); status.Signal() != unix.SIGHUP {
		t.Errorf("the successor: %v", next.ProcessState)
	}
}

// What was said upward can't be taken back: who has not heard it in time will hear it. Only
// where it could not be said this process goes on.
func TestTheSuccessorIsNamedOnceAndForAll(t *testing.T) {
	leaktight(t)
	g := newGuarded(t, 0)
	g.exe = -1
	late, cancel := context.WithCancel(t.Context())
	cancel()
	pidfd := func() int {
		fd, err := unix.PidfdOpen(os.Getpid(), 0)
		if err != nil {
			t.Fatal(err)
		}
		return fd
	}
	if err := g.name(late, os.Getpid(), pidfd()); err == nil {
		t.Error("there was nobody to say it to")
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrUnix{Name: filepath.Join(string(g.home), handover.NotifySocket)})
	}
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd) // of somebody who does not look
	dead := exec.Command("sleep", "1000")
	if err := dead.Start(); err != nil {
		t.Fatal(err)
	}
	corpse, err := unix.PidfdOpen(dead.Process.Pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	dead.Process.Kill()
	dead.Wait()
	if err := g.name(late, dead.Process.Pid, corpse); err == nil {
		t.Error("a dead process was named")
	}
	for said := make([]byte, 4096); ; {
		n, _, err := unix.Recvfrom(fd, said, unix.MSG_DONTWAIT)
		if err != nil {
			break
		}
		if text := string(said[:n]); strings.Contains(text, "MAINPID") {
			t.Errorf("said %q", text)
		}
	}
	if err := g.name(late, os.Getpid(), pidfd()); err != nil {
		t.Error(err)
	}
	g.next("takes over all the same")
	unix.Close(g.daemon.next)
	unix.Close(g.store.Held()[handover.ExeName])
}
