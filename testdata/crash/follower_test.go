package crash

import (
	"bufio"
	"encoding/json"
	"io"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"supervisor/supervisor/control"
	"supervisor/supervisor/state"
	"supervisor/testdata/crash/lines"
)

// follower is a `logs -f` that somebody has left open.
type follower struct {
	t     *testing.T
	app   *app
	cmd   *exec.Cmd
	said  strings.Builder // on standard error
	check lines.Check
	lost  int           // lines that were not shown, as it says itself
	heard chan string   // the id of each worker at its first line
	done  chan struct{} // closed at its end
}

// follow attaches one to an app that prints.
func (s *site) follow(name string) *follower {
	s.t.Helper()
	f := &follower{t: s.t, app: s.app(name), check: lines.Check{Joins: true, Other: own.Match}, heard: make(chan string, 1000), done: make(chan struct{})}
	f.cmd = s.Command("logs", "-f", "-n", "1", "--json", "--out", name)
	f.cmd.Stderr = &f.said
	stdout, err := f.cmd.StdoutPipe()
	if err == nil {
		err = f.cmd.Start()
	}
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { f.cmd.Process.Kill() }) // which a test that fails has not ended
	go f.read(stdout)                            // ends with the process
	return f
}

// read takes in what the process prints.
func (f *follower) read(stdout io.Reader) {
	defer close(f.done)
	in := bufio.NewScanner(stdout)
	known, format := 0, f.app.lines()
	for in.Scan() {
		var line control.LogLine
		if err := json.Unmarshal(in.Bytes(), &line); err != nil {
			f.t.Errorf("logs -f printed %.200q: %v", in.Text(), err)
			return
		}
		f.lost += line.Lost
		text, err := format([]byte(line.Text))
		if err != nil {
			text = []byte(line.Text) // nobody has printed that
		}
		f.check.Line(line.App, func() string { return "logs -f" }, text)
		if n := f.check.Workers(); n > known {
			known = n
			f.heard <- line.Text
		}
	}
}

// first waits for the first line of another worker.
func (f *follower) first() {
	f.t.Helper()
	select {
	case <-f.heard:
	case <-f.done:
		f.t.Fatalf("logs -f has ended: %s", f.said.String())
	}
}

// end ends it, as Ctrl-C does, and checks that it showed each line once.
func (f *follower) end() {
	f.t.Helper()
	f.cmd.Process.Signal(syscall.SIGINT)
	<-f.done
	if f.cmd.Wait(); f.cmd.ProcessState.ExitCode() != 130 {
		f.t.Errorf("logs -f %s: %v: %s", f.app.name, f.cmd.ProcessState, f.said.String())
	}
	f.t.Logf("logs -f %s: %v, %d too fast for it", f.app.name, &f.check, f.lost)
	if faults := f.check.Faults(); len(faults) > 0 && uint64(f.lost) != f.check.Lost || f.check.Doubled > 0 {
		f.t.Errorf("logs -f %s: %v, though it says that %d were too fast\n%s\n%s", f.app.name, &f.check, f.lost, strings.Join(faults, "\n"), f.said.String())
	}
}

// followers are several.
type followers []*follower

// followed attaches one to each of the apps, and waits until all show lines.
func (s *site) followed(names ...string) (all followers) {
	s.t.Helper()
	for _, name := range names {
		all = append(all, s.follow(name))
	}
	for _, f := range all {
		f.first()
	}
	return all
}

func (all followers) end() {
	for _, f := range all {
		f.t.Helper()
		f.end()
	}
}

// Who follows a log loses nothing of a worker that a scale takes away, whose slot no
// longer is one of the app's when the next daemon comes.
func TestLogsOfAWorkerThatIsScaledAway(t *testing.T) {
	a := objects(t)
	a.rate, a.mode, a.keys = "20/1ms", "ignore-int", a.keys+"\nkill_timeout: 2s"
	s := newSite(t, a)
	s.Must("start")
	f := s.follow("objects")
	f.first()
	f.first()
	events := s.Events(t.Context())
	cmd := s.Command("scale", "objects", "1")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	events.Until(func(e state.Event) bool { return e.App == "objects" && e.What == state.WhatDraining })
	s.dies()
	if err := cmd.Wait(); err != nil {
		t.Errorf("the scale: %v", err)
	}
	a.instances = 1
	s.steady()
	f.end()
}
