package cli

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"supervisor/supervisor/state"
)

func text(print func(p *printer)) string {
	var b bytes.Buffer
	print(&printer{out: &b, err: &b})
	return b.String()
}

func equal(t *testing.T, got, want string) {
	t.Helper()
	if want = strings.TrimPrefix(want, "\n"); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

func TestListText(t *testing.T) {
	cpu := 3.25
	equal(t, text(func(p *printer) {
		p.printList(state.Snapshot{Apps: []state.App{
			{Name: "web", Status: "reloading", Generation: 5, Workers: []state.Worker{
				{Slot: 0, Generation: 5, PID: 4388, State: "online", UptimeMS: int64p(61_000), RSSBytes: int64p(43_200_000), CPUPercent: &cpu, Listeners: []string{"tcp://127.0.0.1:3000", "unix:/run/web.sock"}},
				{Slot: 0, Generation: 4, PID: 4211, State: "stopping", UptimeMS: int64p(93_784_000), Restarts: 2},
				{Slot: 1, Generation: 4, State: "waiting restart", Restarts: 12},
			}},
			{Name: "off", Status: "stopped", Generation: 1},
		}})
	}), `
name  slot  gen   pid  state            uptime  restarts   cpu  memory  listening
web      0    5  4388  online             1m1s         0  3.2%   41.2M  tcp://127.0.0.1:3000 unix:/run/web.sock
web      0    4  4211  stopping           1d2h         2     -       -  -
web      1    4     -  waiting restart       -        12     -       -  -
off      -    1     -  stopped               -         0     -       -  -
web is reloading
`)
}

func TestReceiptText(t *testing.T) {
	drops := int64(3)
	tests := []struct {
		name    string
		receipt state.Receipt
		want    string
	}{
		{"complete", receipt(), `
web: complete, generation 4 -> 5 in 1.2 s, 0 connections cut
  slot 0: pid 4211 -> 4388, ready in 41 ms by node ipc, drained in 120 ms
`},
		{"killed", state.Receipt{Name: "web", Result: state.Complete, FromGeneration: 1, ToGeneration: 2, DurationMS: 61_500, ConnectionsCut: 1, QueueDrops: &drops,
			Workers: []state.WorkerReceipt{{Slot: 0, OldPID: 1, NewPID: 2, ReadyMS: int64p(2000), DrainMS: int64p(10_000), Killed: true, OpenAtKill: intp(1)},
				{Slot: 1, OldPID: 3, NewPID: 4, ExitCode: intp(2)}}}, `
web: complete, generation 1 -> 2 in 1 min 1 s, 1 connection cut, 3 connections dropped by a full accept queue
  slot 0: pid 1 -> 2, ready in 2 s, drained in 10 s, the old one killed at kill_timeout with 1 connection open
  slot 1: pid 3 -> 4, the old one ended with exit code 2
`},
		{"rolled back", state.Receipt{Name: "web", Result: state.RolledBack, FromGeneration: 4, ToGeneration: 5, DurationMS: 310,
			Reason: "slot 0: ended with exit code 1 40ms after its start, before it was ready",
			Workers: []state.WorkerReceipt{
				{Slot: 0, OldPID: 4211, NewPID: 4388, NewExitCode: intp(1), Stage: "ready", LastLines: []string{"Error: cannot find module 'x'", "    at boot"}, SlotRuns: 4},
				{Slot: 1, OldPID: 4212, SlotRuns: 4}}}, `
web: rolled back, generation 4 stays in 310 ms, 0 connections cut: slot 0: ended with exit code 1 40ms after its start, before it was ready
  slot 0: pid 4211 stays, new pid 4388 ended with exit code 1 before it was ready, runs generation 4
      | Error: cannot find module 'x'
      |     at boot
  slot 1: pid 4212 untouched, runs generation 4
  what ran still runs; mend it, then ` + "`supervisor reload web`" + `
`},
		{"skipped", state.Receipt{Name: "api", Result: state.Skipped, Reason: "after the failure of web"}, `
api: skipped, after the failure of web
`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			equal(t, text(func(p *printer) { p.printReceipt(tt.receipt) }), tt.want)
		})
	}
}

func TestDescribeText(t *testing.T) {
	d := state.Describe{
		App: state.App{Name: "web", Status: "online", Generation: 2, Instances: 1, Workers: []state.Worker{
			{Slot: 0, Generation: 2, PID: 9, State: "online", UptimeMS: int64p(5000), RSSBytes: int64p(2048)}}},
		File: "/srv/eco.yaml", Script: "/srv/app.js", Command: []string{"node", "/srv/app.js"}, Cwd: "/srv",
		Listening: []string{"tcp://127.0.0.1:3000"}, Logs: []string{"/h/logs/web-out-0.log"}, Notes: []string{"interception is off"},
		Settings: state.Spec{Mode: state.Cluster, Reload: state.Reload{MaxSurge: state.Amount{N: 1}}, ListenTimeout: 10 * time.Second,
			KillSignal: 2, KillTimeout: 10 * time.Second, AutoRestart: true, MaxRestarts: 16, MinUptime: time.Second},
		Details: []state.WorkerDetail{{Slot: 0, State: "Online", Status: "serving", LastExit: "exit code 1"}},
		Env:     map[string]string{"PORT": "3000", "A": "b"},
	}
	equal(t, text(func(p *printer) { p.printDescribe(d) }), `
web is online
  generation     2
  instances      1
  restarts       0
  file           /srv/eco.yaml
  script         /srv/app.js
  command        node /srv/app.js
  cwd            /srv
  listening      tcp://127.0.0.1:3000
  mode           cluster, rolling: max_surge 1, max_unavailable 0
  ready          when it listens, within 10s
  stop           SIGINT, SIGKILL after 10s
  restart        always; errored after 16 ends in a row within 1s
  log            /h/logs/web-out-0.log
  note           interception is off
  slot 0: online, pid 9, generation 2, up 5s, 0 restarts, memory 2.0K, cpu -
    says: serving
    last exit: exit code 1
  env:
    A=b
    PORT=3000
`)
}

func TestProgressOnATerminalRedrawsItsBlock(t *testing.T) {
	var b bytes.Buffer
	p := &printer{out: &b, err: &b, terminal: true, columns: 40, rows: 24}
	v := newProgress(p)
	worker := func(id uint64, slot int, what, say string) {
		v.event(state.Event{Kind: state.EventWorker, App: "web", Worker: id, Slot: slot, What: what, Text: say})
	}
	worker(1, 0, state.WhatSpawned, "")
	worker(2, 1, state.WhatSpawned, "")
	worker(1, 0, state.WhatReady, "evil \x1b[2J and far too long for a terminal")
	v.event(state.Event{Kind: state.EventMessage, App: "web", Text: "hidden"})
	v.event(state.Event{Kind: state.EventApp, App: "web", Text: "told by the answer"})
	v.end()
	equal(t, b.String(), "web:0 spawned\n"+
		"\x1b[1A\r\x1b[Jweb:0 spawned\nweb:1 spawned\n"+
		"\x1b[2A\r\x1b[Jweb:0 ready by evil \\x1b[2J and far ...\nweb:1 spawned\n")
}

func TestProgressHigherThanTheTerminalScrolls(t *testing.T) {
	var b bytes.Buffer
	v := newProgress(&printer{out: &b, err: &b, terminal: true, columns: 80, rows: 8})
	for i := range 30 {
		v.event(state.Event{Kind: state.EventWorker, App: "web", Worker: uint64(i), Slot: i, What: state.WhatGone})
		if v.drawn > 6 {
			t.Fatalf("%d lines are redrawn on a terminal of 8", v.drawn)
		}
	}
}

func TestArrange(t *testing.T) {
	list := commands()
	lookup := func(name string) *command { return find(list, name) }
	tests := map[string]string{
		"s":                          "s",
		"s list":                     "s list",
		"s --json list":              "s list --json",
		"s -v":                       "s -v",
		"s reload web --json":        "s reload --json -- web",
		"s reload --json web":        "s reload --json -- web",
		"s logs web -n 5 api -f":     "s logs -n 5 -f -- web api",
		"s logs -n5":                 "s logs -n 5",
		"s logs --n=5 web":           "s logs --n=5 -- web",
		"s scale web -1":             "s scale -- web -1",
		"s scale web -1 --json":      "s scale --json -- web -1",
		"s start x -i -1":            "s start -i -1 -- x",
		"s start x -i":               "s start -i -- x",
		"s start x --name n --env e": "s start --name n --env e -- x",
		"s start - ":                 "s start -- -",
		"s nope a --b":               "s nope a --b",
	}
	for in, want := range tests {
		if got := strings.Join(arrange(strings.Fields(in), lookup), " "); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

func FuzzArrange(f *testing.F) {
	for _, s := range []string{"s reload web --json", "s scale web -1", "s start -i", "s logs -n5 -f x", "s -- --", "s --json --json"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		args := strings.Split(line, " ")
		list := commands()
		got := arrange(args, func(n string) *command { return find(list, n) })
		// Nothing is lost but a second --json, nothing is made up but `--`.
		joined := func(list []string) string {
			list = slices.DeleteFunc(slices.Clone(list), func(a string) bool { return a == "--json" || a == "--" })
			b := []byte(strings.Join(list, ""))
			slices.Sort(b)
			return string(b)
		}
		if joined(got) != joined(args) {
			t.Fatalf("%q became %q", args, got)
		}
	})
}

func FuzzSanitise(f *testing.F) {
	for _, s := range []string{"plain", "\x1b[31mred\x1b[0m", "\x1b]0;title\x07", "\xff\xfe", "a\rb", "\u009b31m", "\x1b[", "\u202eabc", "a\r"} {
		f.Add(s, true)
		f.Add(s, false)
	}
	f.Fuzz(func(t *testing.T, s string, colour bool) {
		got := sanitise(s, colour)
		if !utf8.ValidString(got) {
			t.Fatalf("%q: no UTF-8: %q", s, got)
		}
		for i, r := range got {
			if r == 0x1b && colour && sgrLength(got[i:]) > 0 {
				continue
			}
			if r < 0x20 && r != '\t' || r == 0x7f || r >= 0x80 && r < 0xa0 {
				t.Fatalf("%q: %q has a control character", s, got)
			}
		}
	})
}

func TestCompletionScripts(t *testing.T) {
	w := newWorld(t)
	for _, shell := range []string{"bash", "zsh", "fish"} {
		w.want(w.run("completion", shell), 0, "reload", "names", "--dry-run"[2:])
		path, err := exec.LookPath(shell)
		if err != nil {
			continue
		}
		file := filepath.Join(w.dir, "completion")
		os.WriteFile(file, []byte(w.out), 0o600)
		if out, err := exec.Command(path, "-n", file).CombinedOutput(); err != nil {
			t.Errorf("%s -n: %v\n%s", shell, err, out)
		}
	}
}

// In a real bash: commands, flags and the daemon's app names.
func TestBashCompletes(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip("bash is missing")
	}
	w := newWorld(t)
	w.withDaemon(func(b *fakeBackend) { b.snap.Apps = []state.App{{Name: "web"}, {Name: "worker"}} })
	w.want(w.run("completion", "bash"), 0)
	for words, want := range map[string]string{
		"supervisor rel": "reload", "supervisor reload we": "web", "supervisor del w": "web worker",
		"supervisor start --no": "--no-daemon", "supervisor completion z": "zsh",
	} {
		script := w.out + "\nsupervisor() { exec -a supervisor \"$EXE\" \"$@\"; }\nCOMP_WORDS=(" + words + "); COMP_CWORD=$((${#COMP_WORDS[@]}-1)); _supervisor; echo ${COMPREPLY[@]}\n"
		cmd := exec.Command(bash, "-c", script)
		cmd.Dir = w.dir
		exe, _ := os.Executable()
		cmd.Env = []string{"EXE=" + exe}
		for k, v := range w.env {
			cmd.Env = append(cmd.Env, k+"="+v)
		}
		out, err := cmd.CombinedOutput()
		if got := strings.TrimSpace(string(out)); err != nil || got != want {
			t.Errorf("%s: %q, want %q (%v)", words, got, want, err)
		}
	}
}

// writeCounter counts what would be system calls.
type writeCounter struct{ n int }

func (w *writeCounter) Write(b []byte) (int, error) { w.n++; return len(b), nil }

func TestATableIsOneWrite(t *testing.T) {
	var out writeCounter
	p := &printer{out: &out}
	p.printList(manyWorkers(1000))
	if out.n != 1 {
		t.Errorf("a list of 1,000 workers is %d writes", out.n)
	}
}
