package cli

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"supervisor/supervisor/control"
	"supervisor/supervisor/state"
)

// held is a control socket that outlives the daemons on it.
type held struct {
	w    *world
	file *os.File
}

func (w *world) hold() *held {
	w.t.Helper()
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(w.home, socketName), Net: "unix"})
	if err != nil {
		w.t.Fatal(err)
	}
	defer ln.Close()
	ln.SetUnlinkOnClose(false)
	h := &held{w: w}
	if h.file, err = ln.File(); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { h.file.Close() })
	return h
}

// serve is a daemon on it, until it is killed or the test ends.
func (h *held) serve(b *fakeBackend) *control.Server {
	h.w.t.Helper()
	ln, err := net.FileListener(h.file)
	if err != nil {
		h.w.t.Fatal(err)
	}
	s := control.Serve(ln, b)
	h.w.t.Cleanup(func() { kill(s) })
	return s
}

// kill cuts every connection, as a SIGKILL does.
func kill(s *control.Server) {
	now, cancel := context.WithCancel(context.Background())
	cancel()
	s.Close(now)
}

// stuck is a backend whose Do never ends.
func stuck(pong control.Pong) *fakeBackend {
	b := newFake()
	b.hold, b.pong = make(chan struct{}), pong
	return b
}

// A reload whose daemon dies prints what the successor knows of it.
func TestAReloadIsToldByTheSuccessor(t *testing.T) {
	const note = "the supervisor was replaced or has died; waiting for its successor\n"
	for _, tt := range []struct {
		result string
		json   bool
		code   int
		words  []string
	}{
		{state.Interrupted, false, 1, []string{note, "web: interrupted, generation 4 -> 5", "`supervisor reload web` does it again", "cannot reload web: the supervisor died"}},
		{state.Complete, false, 0, []string{note, "web: complete"}},
		{state.Interrupted, true, 1, []string{`"result":"interrupted"`, `"error":{"code":1`}},
	} {
		w := newWorld(t)
		h := w.hold()
		first, second := stuck(control.Pong{}), newFake()
		daemon := h.serve(first)
		r := receipt()
		r.Result = tt.result
		res := state.Result{Receipts: []state.Receipt{r}}
		if tt.code != 0 {
			res.Error = &state.Error{Code: 1, Message: "cannot reload web: the supervisor died"}
		}
		second.results[state.VerbReload] = res
		go func() {
			<-first.begun
			kill(daemon)
			h.serve(second)
		}()
		args := []string{"reload", "web"}
		if tt.json {
			args = append(args, "--json")
		}
		w.want(w.run(args...), tt.code, tt.words...)
		if tt.json && w.err != "" {
			t.Errorf("stderr: %s", w.err)
		}
		if strings.Count(w.err, note) > 1 {
			t.Errorf("told twice: %s", w.err)
		}
		one, two := first.last(), second.last()
		if one.Resume || !two.Resume || two.ID != one.ID || !two.Since.Equal(one.Since) {
			t.Errorf("sent as %+v, then as %+v", one, two)
		}
	}
}

func TestFollowedLogsGoOn(t *testing.T) {
	w := newWorld(t)
	h := w.hold()
	first, second := newFake(), newFake()
	first.lines = []control.LogLine{{App: "web", Stream: "out", Text: "one", Cursor: "1"}}
	second.lines = []control.LogLine{{App: "web", Stream: "out", Text: "two", Cursor: "2"}}
	daemon := h.serve(first)
	ctx, cancel := context.WithCancel(context.Background())
	w.ctx = ctx
	w.printing = func(line string) {
		if strings.Contains(line, "one") {
			kill(daemon)
			h.serve(second)
		} else {
			cancel()
		}
	}
	w.want(w.run("logs", "-f"), 130)
	if w.out != "web:0 | one\nweb:0 | two\n" || w.err != "" {
		t.Errorf("stdout %q, stderr %q", w.out, w.err)
	}
}

// workers is a snapshot of one app with these pids.
func workers(pids ...int) state.Snapshot {
	app := state.App{Name: "web", Status: "online"}
	for i, pid := range pids {
		app.Workers = append(app.Workers, state.Worker{Slot: i, PID: pid})
	}
	return state.Snapshot{Apps: []state.App{app}}
}

func TestUpgrade(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "supervisor-2")
	if err := os.WriteFile(binary, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	link := binary + ".link"
	if err := os.Symlink(binary, link); err != nil {
		t.Fatal(err)
	}
	old := control.Pong{PID: 123, Version: "v1", Binary: "/bin/old"}
	tests := []struct {
		name   string
		result *state.Result // of the old; nil: it ends unanswered
		next   *control.Pong // who serves then; nil: the old
		code   int
		words  string
	}{
		{"answered", &state.Result{Messages: []string{"by the way"}}, &control.Pong{PID: 456, Version: "v2", Binary: binary}, 0,
			"supervisor upgraded: pid 123 (v1) -> pid 456 (v2), 2 workers kept\n"},
		{"unanswered", nil, &control.Pong{PID: 456, Version: "v2", Binary: binary}, 0,
			"supervisor upgraded: pid 123 (v1) -> pid 456 (v2), 2 workers kept\n"},
		{"died on the way", nil, &control.Pong{PID: 456, Version: "v1", Binary: "/bin/old"}, 1,
			"the supervisor died on the way, and came back as /bin/old: pid 123 -> pid 456 (v1)"},
		{"refused", &state.Result{Error: &state.Error{Code: 1, Message: "cannot upgrade: it ended with exit code 1"}}, nil, 1,
			"cannot upgrade: it ended with exit code 1; nothing changed\n"},
		{"nobody came", &state.Result{}, nil, 1, "pid 123 went on; nothing changed"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			h := w.hold()
			first := stuck(old)
			first.snap = workers(1, 2, 3, 0)
			daemon := h.serve(first)
			if tt.result != nil {
				first.results[state.VerbUpgrade] = *tt.result
			}
			go func() {
				<-first.begun
				switch {
				case tt.result == nil:
					kill(daemon)
				case tt.next != nil: // as an upgrade does before it answers
					daemon.Quiesce(context.Background())
				}
				if tt.next != nil {
					second := newFake()
					second.pong, second.snap = *tt.next, workers(2, 3, 9)
					h.serve(second)
				}
				close(first.hold)
			}()
			w.want(w.run("upgrade", link), tt.code, tt.words)
			if req := first.last(); req.Verb != state.VerbUpgrade || req.Binary != binary {
				t.Errorf("asked %+v", req)
			}
		})
	}
}

func TestUpgradeJSONAndDefault(t *testing.T) {
	w := newWorld(t)
	w.executable = "/proc/self/exe"
	h := w.hold()
	first, second := stuck(control.Pong{PID: 1, Version: "v1"}), newFake()
	exe, _ := os.Readlink("/proc/self/exe")
	second.pong = control.Pong{PID: 2, Version: "v2", Binary: exe}
	daemon := h.serve(first)
	go func() {
		<-first.begun
		daemon.Quiesce(context.Background())
		h.serve(second)
		close(first.hold)
	}()
	w.want(w.run("upgrade", "--json"), 0)
	want := `{"old":{"pid":1,"version":"v1"},"new":{"pid":2,"version":"v2","binary":"` + exe + `"},"workers_kept":0,"messages":[]}` + "\n"
	if w.out != want || w.err != "" {
		t.Errorf("got %s%s", w.out, w.err)
	}
	if first.last().Binary != exe {
		t.Errorf("asked for %s, not %s", first.last().Binary, exe)
	}
}

// leave writes the state of a daemon into the home.
func (w *world) leave(boot string, closed bool) {
	w.t.Helper()
	data, err := json.Marshal(map[string]any{"boot_id": boot, "closed": closed, "apps": []string{}})
	if err != nil {
		w.t.Fatal(err)
	}
	os.MkdirAll(filepath.Join(w.home, stateName), 0o700)
	if err := os.WriteFile(filepath.Join(w.home, stateName, daemonStateName), data, 0o600); err != nil {
		w.t.Fatal(err)
	}
}

func TestTheNextCommandRevivesWhatDied(t *testing.T) {
	const note = "the supervisor has died, and its keeper with it; starting both again\n"
	w := newWorld(t)
	w.write("eco.yaml", valid)
	w.write("app.js", "#!/bin/true\n")
	for _, args := range []string{"list --json", "reload web", "logs", "start eco.yaml"} {
		w.leave(testBoot(), false)
		w.run(argv(args)...)
		if w.err != note {
			t.Errorf("%s: stderr %q", args, w.err)
		}
		if strings.Contains(args, "--json") && !json.Valid([]byte(w.out)) {
			t.Errorf("%s: stdout %s", args, w.out)
		}
		w.want(w.run("ping"), 0)
		w.leave(testBoot(), true)
		w.want(w.run("kill"), 0, "the daemon has ended")
		reapAll()
	}
	if n := len(w.starts()); n != 4 {
		t.Errorf("%d daemons", n)
	}
	for _, args := range []string{"ping", "version", "names", "upgrade"} { // they only look
		w.leave(testBoot(), false)
		w.run(argv(args)...)
		if strings.Contains(w.err, note) {
			t.Errorf("%s: %s", args, w.err)
		}
	}
	w.leave("another boot", false)
	w.want(w.run("list"), 3)
	w.leave(testBoot(), true)
	w.want(w.run("list"), 3)
	w.want(w.run("kill"), 0, "no supervisor runs")
	os.WriteFile(filepath.Join(w.home, stateName, daemonStateName), []byte("{"), 0o600)
	w.want(w.run("list"), 3)
	if n := len(w.starts()); n != 4 {
		t.Errorf("%d daemons", n)
	}
	w.leave(testBoot(), false) // kill ends what it left
	w.want(w.run("kill"), 0, "the daemon has ended")
	reapAll()
}

func TestKillUnderSystemd(t *testing.T) {
	w := newWorld(t)
	b := w.withDaemon(func(b *fakeBackend) { b.pong.Unit = "web.service" })
	w.want(w.run("kill"), 1, "systemctl stop web.service")
	if b.last().Verb != "" {
		t.Errorf("asked %+v", b.last())
	}
}
