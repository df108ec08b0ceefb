package daemon

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"supervisor/supervisor/state"
)

// two are apps that are ready by listening and by saying so.
func two(t *testing.T) []string {
	return []string{
		fmt.Sprintf("name: web\nargs: [worker, serve]\ninstances: 2\nsoak: 0\nlisten_timeout: 60s\nenv: {PORT: %d}", port(t)),
		"name: job\nargs: [worker, ready]\ninstances: 3\nwait_ready: true\nlisten_timeout: 60s",
	}
}

func TestStartListKillLeavesNothing(t *testing.T) {
	leaktight(t)
	i := begin(t, Options{})
	i.must(state.Request{Verb: state.VerbStart, File: i.yaml(two(t)...)})
	snap := i.list()
	if len(snap.Apps) != 2 || snap.Apps[0].Status != state.AppOnline || snap.Apps[1].Status != state.AppOnline {
		t.Errorf("list: %+v", snap.Apps)
	}
	if got := i.workers(); len(got["web"]) != 2 || len(got["job"]) != 3 {
		t.Errorf("processes: %v", got)
	}
	if info, err := os.Stat(filepath.Join(i.home, "supervisor.sock")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the control socket: %v, %v", info.Mode(), err)
	}
	i.kill()
}

func TestSigtermEndsAForegroundDaemonWithItsWorkers(t *testing.T) {
	leaktight(t)
	i := begin(t, Options{Foreground: true})
	i.must(state.Request{Verb: state.VerbStart, File: i.yaml(two(t)...)})
	unix.Kill(os.Getpid(), unix.SIGTERM)
	if code := i.ended(); code != state.ExitOK {
		t.Errorf("exit code %d", code)
	}
	i.gone()
}

func TestAFirstRequestThatCannotBeUsedEndsTheDaemon(t *testing.T) {
	leaktight(t)
	home := shortDir(t)
	i, line := launch(t, home, Options{Foreground: true, Request: &state.Request{Verb: state.VerbStart, File: filepath.Join(home, "none.yaml")}})
	if line != readyOK {
		t.Fatalf("ready: %q", line)
	}
	if code := i.ended(); code != state.ExitUsage {
		t.Errorf("exit code %d, want %d", code, state.ExitUsage)
	}
	if text := i.log(); !strings.Contains(text, "cannot read "+filepath.Join(home, "none.yaml")) {
		t.Errorf("it says: %s", text)
	}
	i.gone()
}

func TestAFirstRequestWhoseAppFailsDoesNotEndTheDaemon(t *testing.T) {
	leaktight(t)
	i := &instance{t: t, home: shortDir(t)}
	file := i.yaml("name: bad\nargs: [worker, crash]\nautorestart: false", "name: job\nargs: [worker, ready]\nwait_ready: true\nlisten_timeout: 60s")
	i, _ = launch(t, i.home, Options{Foreground: true, Request: &state.Request{Verb: state.VerbStart, File: file, Env: i.env()}})
	i.do(state.Request{Verb: state.VerbStart, File: file})
	if got := i.workers(); len(got["job"]) != 1 {
		t.Errorf("processes: %v", got)
	}
	i.kill()
}

func TestASecondDaemonIsRefusedWithThePidOfTheFirst(t *testing.T) {
	leaktight(t)
	i := begin(t, Options{})
	second, line := launch(t, i.home, Options{})
	if line != readyRunning {
		t.Errorf("a background daemon says %q", line)
	}
	if code := second.ended(); code != state.ExitOK {
		t.Errorf("exit code %d", code)
	}
	i.list()
	lock, err := home(i.home).prepare(false)
	if want := fmt.Sprintf("pid %d has it", os.Getpid()); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("the lock: %v, %v; want %q", lock, err, want)
	}
	i.kill()
}

func TestOneThatIgnoresItsSignalIsKilledWithItsGroup(t *testing.T) {
	leaktight(t)
	i := begin(t, Options{})
	i.must(state.Request{Verb: state.VerbStart, File: i.yaml("name: mule\nargs: [worker, stubborn]\nwait_ready: true\nlisten_timeout: 60s\nkill_timeout: 200ms")})
	if got := i.workers(); len(got["mule"]) != 2 {
		t.Errorf("processes: %v", got)
	}
	i.kill()
}

// A terminal that is held, or a pipe that nobody reads, delays nobody.
func TestALogThatNobodyTakes(t *testing.T) {
	leaktight(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	fd := int(w.Fd()) // blocking from here on, as a terminal is
	if err := unix.SetNonblock(fd, true); err != nil {
		t.Fatal(err)
	}
	for err = nil; err == nil; { // to the brim
		_, err = unix.Write(fd, make([]byte, 4096))
	}
	unix.SetNonblock(fd, false)
	i := begin(t, Options{Stderr: w})
	for range 2 * logQueue {
		unix.Kill(os.Getpid(), unix.SIGHUP) // which is logged, and reloads nothing
		i.list()
	}
	i.must(state.Request{Verb: state.VerbStart, File: i.yaml(two(t)...)})
	i.kill()
	r.Close() // ends who writes
	w.Close()
}

func TestTheLogTellsWhatItLost(t *testing.T) {
	leaktight(t)
	r, w := io.Pipe()
	l := newLogWriter(w)
	for range logQueue + 20 { // one is being written
		fmt.Fprintln(l, "a line")
	}
	got := make(chan string)
	go func() { // ends with the pipe
		data, _ := io.ReadAll(r)
		got <- string(data)
	}()
	fmt.Fprintln(l, "more")
	l.end()
	w.Close()
	if text := <-got; !strings.Contains(text, "lines of this log are lost") {
		t.Errorf("%s", text)
	}
}
