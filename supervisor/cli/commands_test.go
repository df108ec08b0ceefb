package cli

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"supervisor/supervisor/control"
	"supervisor/supervisor/state"
)

func TestUsageErrors(t *testing.T) {
	w := newWorld(t)
	w.write("app.js", "#!/bin/true\n")
	w.write("eco.yaml", valid)
	tests := []struct {
		args string
		want string
	}{
		{"explode", `unknown command "explode"`},
		{"relaod", "did you mean reload?"},
		{"list --nope", "--help"},
		{"list x", `list does not know what to do with "x"`},
		{"start", "no ecosystem.yaml, ecosystem.yml, ecosystem.json in"},
		{"start nope.yaml", "cannot start nope.yaml: no such file"},
		{"start app.js other.js", "the script's own arguments come after --"},
		{"start app.js -i many", "want a number, -number"},
		{"start app.js --name=", "--name is empty"},
		{"start app.js --only a", "--only goes with a file"},
		{"start eco.yaml -- x", "the arguments after -- go with a script"},
		{"start eco.yaml --only ,", "--only names no app"},
		{"start eco.yaml --no-daemon --json", "--no-daemon goes with neither"},
		{"scale web", "scale wants NAME N|+N|-N|max"},
		{"scale web many", "want a number, +number, -number or max"},
		{"scale web 1.5", "want a number"},
		{"scale web 99999999", "want a number"},
		{"signal HUP", "signal wants SIG NAME"},
		{"signal H*P web", "no signal's name"},
		{"reload --parallel 0", "want at least 1"},
		{"reload --parallel many", "--help"},
		{"logs -n -1", "want 0 to"},
		{"history -n 0", "want at least 1"},
		{"completion tcsh", "want bash, zsh or fish"},
		{"validate", "validate wants FILE"},
		{"stop web -- x", "stop takes nothing after --"},
		{"upgrade a b", "upgrade does not know what to do with"},
		{"upgrade nope", "cannot upgrade to nope: no such file"},
		{"upgrade .", "cannot upgrade to .: it is no program"},
		{"save", "save is not supported yet"},
		{"resurrect", "resurrect is not supported yet"},
		{"unit nope.yaml", "cannot make a unit of nope.yaml: no such file"},
		{"startup nope.yaml", "cannot install nope.yaml: no such file"},
		{"startup eco.yaml --name a/b", "a unit's name has"},
	}
	for _, tt := range tests {
		t.Run(tt.args, func(t *testing.T) {
			w.t = t
			w.want(w.run(strings.Fields(tt.args)...), 2, tt.want)
			if w.out != "" && !strings.Contains(tt.args, "--json") {
				t.Errorf("stdout: %s", w.out)
			}
			code := w.run(append([]string{"--json"}, strings.Fields(tt.args)...)...)
			w.want(code, 2)
			w.wantErrorJSON(2)
		})
	}
	if _, err := os.Stat(filepath.Join(w.home, daemonLogName)); err == nil {
		t.Error("a daemon was started for it")
	}
}

// wantErrorJSON checks that stdout is the error's JSON and nothing else.
func (w *world) wantErrorJSON(code int) {
	w.t.Helper()
	var e struct {
		Error *struct {
			Code    int
			Message string
			Details *[]string
		}
	}
	if err := json.Unmarshal([]byte(w.out), &e); err != nil || e.Error == nil {
		w.t.Errorf("stdout is no error: %v\n%s", err, w.out)
		return
	}
	if e.Error.Code != code || e.Error.Message == "" || e.Error.Details == nil {
		w.t.Errorf("error %s, want code %d, a message and details", w.out, code)
	}
	if w.err != "" {
		w.t.Errorf("stderr: %s", w.err)
	}
}

func TestNoDaemon(t *testing.T) {
	w := newWorld(t)
	for _, args := range []string{"list", "ls", "status", "describe web", "describe", "logs", "logs web -f", "history", "reload", "reload web",
		"restart web", "stop", "delete web", "del web", "scale web 2", "signal HUP web", "reset", "flush", "ping", "reload eco.yaml", "upgrade"} {
		w.want(w.run(strings.Fields(args)...), 3, "no supervisor runs (HOME "+w.home+")")
		w.want(w.run(append(strings.Fields(args), "--json")...), 3)
		w.wantErrorJSON(3)
	}
	w.want(w.run("kill"), 0, "no supervisor runs")
	w.want(w.run("kill", "--json"), 0, `{"killed":false,"messages":[]}`)
	w.want(w.run("version"), 0, "supervisor 1.2.3")
	w.want(w.run("--version"), 0, "supervisor 1.2.3")
	w.want(w.run("version", "--json"), 0, `{"version":"1.2.3","daemon":null}`)
	w.want(w.run("names"), 0)
	if entries, _ := os.ReadDir(w.home); len(entries) != 0 {
		t.Errorf("something was made in the home: %v", entries)
	}
}

func TestHome(t *testing.T) {
	w := newWorld(t)
	w.env["SUPERVISOR_HOME"] = "rel"
	w.want(w.run("list"), 3, "(HOME "+filepath.Join(w.dir, "rel")+")")
	delete(w.env, "SUPERVISOR_HOME")
	w.env["HOME"] = "/somewhere"
	w.want(w.run("list"), 3, "(HOME /somewhere/.supervisor)")
	passwd := filepath.Join(w.dir, "passwd")
	w.write("passwd", "broken\nroot:x:0:0:root:/root:/bin/sh\nme:x:4711:1::/home/me:/bin/sh\n")
	if got := passwdHome(passwd, 4711); got != "/home/me" {
		t.Errorf("passwdHome = %q", got)
	}
	if got := passwdHome(passwd, 1); got != "" {
		t.Errorf("passwdHome of nobody = %q", got)
	}
}

func TestRequests(t *testing.T) {
	w := newWorld(t)
	b := w.withDaemon()
	w.write("app.js", "#!/bin/true\n")
	w.write("eco.yaml", valid)
	w.write("ecosystem.json", "{}")
	b.snap.Apps = []state.App{{Name: "web"}, {Name: "odd.yaml"}}
	b.describe = []state.Describe{
		{App: state.App{Name: "web"}, File: filepath.Join(w.dir, "eco.yaml")},
		{App: state.App{Name: "other"}, File: "/else.yaml"},
	}
	file := filepath.Join(w.dir, "eco.yaml")
	str := func(s string) *string { return &s }
	tests := []struct {
		args string
		want state.Request
	}{
		{"start", state.Request{Verb: "start", File: filepath.Join(w.dir, "ecosystem.json")}},
		{"start eco.yaml", state.Request{Verb: "start", File: file}},
		{"start " + file, state.Request{Verb: "start", File: file}},
		{"start web", state.Request{Verb: "start", Names: []string{"web"}}},
		{"start odd.yaml", state.Request{Verb: "start", Names: []string{"odd.yaml"}}},
		{"start app.js -- -i --json x", state.Request{Verb: "start", Script: &state.Script{Path: "app.js", Args: []string{"-i", "--json", "x"}, Cwd: w.dir}}},
		{"start sh --name shell -i -1", state.Request{Verb: "start", Script: &state.Script{Path: "sh", Cwd: w.dir}, Rename: str("shell"), Instances: str("-1")}},
		{"start eco.yaml -i4 --env prod --only web,api --update-env --dry-run", state.Request{Verb: "start", File: file, Instances: str("4"),
			EnvName: str("prod"), Only: []string{"web", "api"}, UpdateEnv: true, DryRun: true}},
		{"start eco.yaml --instances=max", state.Request{Verb: "start", File: file, Instances: str("max")}},
		{"reload", state.Request{Verb: "reload", Parallel: 1}},
		{"reload web --json", state.Request{Verb: "reload", Names: []string{"web"}, Parallel: 1}},
		{"reload eco.yaml --parallel 3 --only web", state.Request{Verb: "reload", File: file, Parallel: 3, Only: []string{"web"}}},
		{"reload web --env x", state.Request{Verb: "reload", Names: []string{"web"}, Parallel: 1, EnvName: str("x")}},
		{"reload odd.yaml", state.Request{Verb: "reload", Names: []string{"odd.yaml"}, Parallel: 1}},
		{"restart web api", state.Request{Verb: "restart", Names: []string{"web", "api"}}},
		{"restart", state.Request{Verb: "restart"}},
		{"stop", state.Request{Verb: "stop"}},
		{"stop eco.yaml", state.Request{Verb: "stop", Names: []string{"web"}}},
		{"del web", state.Request{Verb: "delete", Names: []string{"web"}}},
		{"scale web 3", state.Request{Verb: "scale", Names: []string{"web"}, Count: "3"}},
		{"scale web +2 --json", state.Request{Verb: "scale", Names: []string{"web"}, Count: "+2"}},
		{"scale web -1", state.Request{Verb: "scale", Names: []string{"web"}, Count: "-1"}},
		{"scale --json web -1", state.Request{Verb: "scale", Names: []string{"web"}, Count: "-1"}},
		{"scale web max", state.Request{Verb: "scale", Names: []string{"web"}, Count: "max"}},
		{"signal HUP web", state.Request{Verb: "signal", Names: []string{"web"}, Signal: "HUP"}},
		{"signal SIGRTMIN+1 web", state.Request{Verb: "signal", Names: []string{"web"}, Signal: "SIGRTMIN+1"}},
		{"reset web", state.Request{Verb: "reset", Names: []string{"web"}}},
		{"flush", state.Request{Verb: "flush"}},
	}
	for _, tt := range tests {
		t.Run(tt.args, func(t *testing.T) {
			w.t = t
			code, out, errOut := w.try(argv(tt.args)...)
			if code != 0 {
				t.Fatalf("exit code %d\n%s%s", code, out, errOut)
			}
			got := b.last()
			if tt.want.Verb == state.VerbStart && len(got.Env) == 0 {
				t.Error("start without the caller's environment")
			}
			if got.ID == "" || got.Since.IsZero() || got.Resume {
				t.Errorf("sent as %q since %v, resume %v", got.ID, got.Since, got.Resume)
			}
			got.Env, got.ID, got.Since = nil, "", time.Time{}
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("asked %+v\nwant  %+v", got, tt.want)
			}
		})
	}
}

func argv(line string) []string { return strings.Fields(line) }

func TestStartTargetErrors(t *testing.T) {
	w := newWorld(t)
	b := w.withDaemon()
	b.snap.Apps = []state.App{{Name: "web"}}
	w.want(w.run("start", "nope"), 1, "cannot start nope: no app has this name, and there is no such file or program")
	w.want(w.run("start", "./nope"), 1, "cannot start ./nope")
	w.want(w.run("start", "web", "-i", "3"), 2, "supervisor scale web 3")
	w.want(w.run("stop", "gone.yaml"), 1, "cannot stop gone.yaml: no app was started from it")
	w.want(w.run("reload", "gone.yaml"), 2, "cannot reload gone.yaml: no such file")
	w.want(w.run("describe", "nope"), 1, "cannot describe nope")
	b.results[state.VerbReload] = state.Result{Error: &state.Error{Code: 1, Message: "cannot reload nope: no app has this name"}}
	w.want(w.run("reload", "nope"), 1, "cannot reload nope: no app has this name")
	w.want(w.run("reload", "nope", "--json"), 1, `"error":{"code":1,"message":"cannot reload nope: no app has this name","details":[]}`)
}

func TestListJSON(t *testing.T) {
	w := newWorld(t)
	b := w.withDaemon()
	w.want(w.run("list", "--json"), 0)
	if want := `{"daemon":{"pid":77,"version":"1.2.3","uptime_ms":5},"apps":[]}` + "\n"; w.out != want {
		t.Errorf("empty: %s", w.out)
	}
	w.want(w.run("list"), 0, "no apps")
	b.snap.Apps = []state.App{{Name: "web", Status: "online", Generation: 2, Instances: 1, Restarts: 3, Workers: []state.Worker{
		{Slot: 0, Generation: 2, PID: 9, State: "online", Ready: true, UptimeMS: int64p(1), RSSBytes: int64p(2), Listeners: []string{"tcp://127.0.0.1:3000"}},
		{Slot: 0, Generation: 1, PID: 8, State: "stopping"},
	}}, {Name: "off", Status: "stopped"}}
	w.want(w.run("ls", "--json"), 0)
	want := `{"daemon":{"pid":77,"version":"1.2.3","uptime_ms":5},"apps":[` +
		`{"name":"web","status":"online","generation":2,"instances":1,"restarts":3,"workers":[` +
		`{"slot":0,"generation":2,"pid":9,"state":"online","ready":true,"uptime_ms":1,"restarts":0,"rss_bytes":2,"cpu_percent":null,"listeners":["tcp://127.0.0.1:3000"]},` +
		`{"slot":0,"generation":1,"pid":8,"state":"stopping","ready":false,"uptime_ms":null,"restarts":0,"rss_bytes":null,"cpu_percent":null,"listeners":[]}]},` +
		`{"name":"off","status":"stopped","generation":0,"instances":0,"restarts":0,"workers":[]}]}` + "\n"
	if w.out != want {
		t.Errorf("got  %s\nwant %s", w.out, want)
	}
}

func TestReloadJSON(t *testing.T) {
	w := newWorld(t)
	b := w.withDaemon()
	r := receipt()
	b.events = []state.Event{{Kind: state.EventWorker, App: "web", What: state.WhatSpawned}}
	b.results[state.VerbReload] = state.Result{Receipts: []state.Receipt{r}, Touched: []string{"web"}}
	w.want(w.run("reload", "web", "--json"), 0)
	want := `{"apps":[{"name":"web","result":"complete","from_generation":4,"to_generation":5,"started_at":"0001-01-01T00:00:00Z","duration_ms":1200,` +
		`"reason":"","connections_cut":0,"queue_drops":null,"workers":[{"slot":0,"old_pid":4211,"new_pid":4388,"ready_ms":41,"ready_by":"node ipc",` +
		`"drain_ms":120,"killed":false,"open_at_kill":null,"exit_code":0,"signal":"","new_exit_code":null,"new_signal":"","stage":"","last_lines":[],"slot_runs":5}]}]}` + "\n"
	if w.out != want {
		t.Errorf("got  %s\nwant %s", w.out, want)
	}
	r.Result = state.RolledBack
	b.results[state.VerbReload] = state.Result{Receipts: []state.Receipt{r}, Error: &state.Error{Code: 1, Message: "cannot reload web"}}
	w.want(w.run("reload", "web", "--json"), 1, `"result":"rolled_back"`, `"error":{"code":1,"message":"cannot reload web","details":[]}`)
	if w.err != "" {
		t.Errorf("stderr: %s", w.err)
	}
}

func TestAFailureBeforeAnyReloadIsTheErrorAlone(t *testing.T) {
	w := newWorld(t)
	b := w.withDaemon()
	w.write("eco.yaml", valid)
	bad := state.Result{Error: &state.Error{Code: 2, Message: "cannot use eco.yaml; nothing was changed", Details: []string{"eco.yaml:7:3: broken YAML"}}}
	b.results[state.VerbReload], b.results[state.VerbStart], b.results[state.VerbScale] = bad, bad, bad
	want := `{"error":{"code":2,"message":"cannot use eco.yaml; nothing was changed","details":["eco.yaml:7:3: broken YAML"]}}` + "\n"
	for _, args := range []string{"reload --json", "start eco.yaml --json", "scale web 2 --json"} {
		w.want(w.run(argv(args)...), 2)
		if w.out != want {
			t.Errorf("%s: %s", args, w.out)
		}
	}
	w.want(w.run("reload"), 2)
	if want := "cannot use eco.yaml; nothing was changed\n  eco.yaml:7:3: broken YAML\n"; w.err != want || w.out != "" {
		t.Errorf("text: %s%s", w.out, w.err)
	}
}

func TestOtherJSON(t *testing.T) {
	w := newWorld(t)
	b := w.withDaemon()
	w.write("app.js", "#!/bin/true\n")
	w.write("eco.yaml", valid)
	b.describe = []state.Describe{{App: state.App{Name: "web"}}}
	b.lines = []control.LogLine{{App: "web", Stream: "out", Text: "hi", Cursor: "c"}}
	b.results[state.VerbStart] = state.Result{Started: []state.StartedApp{{Name: "web", Action: "started", OK: true}}}
	for args, want := range map[string]string{
		"stop web --json":          `{"touched":["web"],"messages":[]}`,
		"start eco.yaml --json":    `{"daemon":{"pid":77,"version":"1.2.3","uptime_ms":5},"apps":[],"started":[{"name":"web","action":"started","ok":true}],"messages":[]}`,
		"scale web 2 --json":       `{"touched":["web"],"started":[],"receipts":[],"messages":[]}`,
		"logs --json":              `{"app":"web","slot":0,"stream":"out","text":"hi"}`,
		"validate eco.yaml --json": `{"file":"` + filepath.Join(w.dir, "eco.yaml") + `","apps":["web"],"warnings":[]}`,
	} {
		w.want(w.run(argv(args)...), 0)
		if w.out != want+"\n" {
			t.Errorf("%s: got  %s\nwant %s", args, w.out, want)
		}
	}
	w.want(w.run("describe", "web", "--json"), 0, `{"apps":[{"name":"web"`, `"workers":[]`, `"notes":[]`, `"details":[]`, `"env":{}`, `"last_reload":null`)
	w.want(w.run("history", "--json"), 0, `{"receipts":[{"name":"web"`)
	w.want(w.run("ping", "--json"), 0, `{"pid":`)
}

func TestStartFails(t *testing.T) {
	w := newWorld(t)
	b := w.withDaemon()
	w.write("eco.yaml", valid)
	b.results[state.VerbStart] = state.Result{
		Error:    &state.Error{Code: 1, Message: "cannot start web: it ended with exit code 1 before it was ready"},
		Messages: []string{"eco.yaml:3: a warning"},
		Started:  []state.StartedApp{{Name: "web", Slot: intp(1), Reason: "ended with exit code 1", Details: []string{"Error: no such module"}}},
		Snapshot: &state.Snapshot{Apps: []state.App{{Name: "web", Status: "errored"}}},
	}
	b.events = []state.Event{{Kind: state.EventWorker, App: "web", Slot: 1, PID: 5, Generation: 1, What: state.WhatSpawned}}
	w.want(w.run("start", "eco.yaml"), 1)
	wantOut := "web:1 spawned, pid 5, generation 1\n" +
		"web: slot 1 failed: ended with exit code 1\n      | Error: no such module\n" +
		"name  slot  gen  pid  state    uptime  restarts  cpu  memory  listening\n" +
		"web      -    0    -  errored       -         0    -       -  -\n" +
		"web is errored\n"
	if w.out != wantOut {
		t.Errorf("stdout:\n%s\nwant:\n%s", w.out, wantOut)
	}
	if want := "eco.yaml:3: a warning\ncannot start web: it ended with exit code 1 before it was ready\n"; w.err != want {
		t.Errorf("stderr:\n%s", w.err)
	}
	w.want(w.run("start", "eco.yaml", "--json"), 1, `"error":{"code":1,`, `"ok":false`)
	if w.err != "" || !json.Valid([]byte(w.out)) {
		t.Errorf("not JSON alone: %s%s", w.out, w.err)
	}
}

func TestValidateAndInit(t *testing.T) {
	w := newWorld(t)
	w.write("bad.yaml", "apps:\n  - name: web\n    scirpt: app.js\n    kill_timeout: soon\n")
	w.want(w.run("validate", "bad.yaml"), 2, "cannot validate bad.yaml:", "bad.yaml:3:", "script", "bad.yaml:4:")
	w.want(w.run("validate", "bad.yaml", "--json"), 2)
	w.wantErrorJSON(2)
	w.want(w.run("start", "bad.yaml"), 2, "cannot start bad.yaml:")
	w.want(w.run("validate", "none.yaml"), 2, "cannot validate none.yaml: no such file")
	w.want(w.run("init"), 0, "wrote ecosystem.yaml")
	w.want(w.run("init"), 1, "there is one already")
	w.write("app.js", "")
	w.env["PATH"] = os.Getenv("PATH")
	w.want(w.run("validate", "ecosystem.yaml"), 0, "ecosystem.yaml is valid: 1 app (web)")
	if _, err := os.Stat(filepath.Join(w.home, daemonLogName)); err == nil {
		t.Error("a daemon was started for a broken file")
	}
}

func TestDryRunWithoutDaemon(t *testing.T) {
	w := newWorld(t)
	w.write("eco.yaml", valid)
	w.write("app.js", "#!/bin/true\n")
	w.want(w.run("start", "eco.yaml", "--dry-run"), 0, "web: start")
	w.want(w.run("start", "eco.yaml", "--dry-run", "--json"), 0, `{"apps":[{"name":"web","action":"start","changed":[]}]}`)
	if entries, _ := os.ReadDir(w.home); len(entries) != 0 {
		t.Errorf("a dry run made %v", entries)
	}
}

func TestInterrupt(t *testing.T) {
	w := newWorld(t)
	b := w.withDaemon()
	b.hold = make(chan struct{})
	for _, json := range []bool{false, true} {
		ctx, cancel := context.WithCancel(context.Background())
		w.ctx = ctx
		go func() {
			<-b.begun
			cancel()
		}()
		args := []string{"reload", "web"}
		if json {
			args = append(args, "--json")
		}
		w.want(w.run(args...), 130, "the work goes on")
		if json {
			w.wantErrorJSON(130)
		}
	}
	close(b.hold)
}

func TestLogs(t *testing.T) {
	w := newWorld(t)
	b := w.withDaemon()
	b.lines = []control.LogLine{
		{App: "web", Slot: 0, Stream: "out", Text: "hello \x1b]0;owned\x07\x1b[31mred"},
		{App: "web", Slot: 1, Stream: "err", Text: "bad", Lost: 2},
	}
	w.want(w.run("logs"), 0)
	if want := "web:0 | hello \x1b]0;owned\x07\x1b[31mred\nweb:1 err| bad\n"; w.out != want {
		t.Errorf("%q", w.out)
	}
	if !strings.Contains(w.err, "2 lines of web:1 not shown") {
		t.Errorf("stderr %q", w.err)
	}
	w.want(w.run("logs", "--err"), 0)
	if w.out != "web:1 err| bad\n" {
		t.Errorf("--err: %q", w.out)
	}
	w.terminal = true
	w.want(w.run("logs", "--out"), 0)
	if want := "\x1b[2mweb:0 |\x1b[0m hello \\x1b]0;owned\\x07\x1b[31mred\x1b[0m\n"; w.out != want {
		t.Errorf("terminal: %q", w.out)
	}
	w.env["NO_COLOR"] = "1"
	w.want(w.run("logs", "--out"), 0)
	if want := "web:0 | hello \\x1b]0;owned\\x07red\n"; w.out != want {
		t.Errorf("NO_COLOR: %q", w.out)
	}
	ctx, cancel := context.WithCancel(context.Background())
	w.ctx = ctx
	go func() {
		<-b.begun
		cancel()
	}()
	w.want(w.run("logs", "-f"), 130)
	if w.err != "" && !strings.Contains(w.err, "not shown") {
		t.Errorf("Ctrl-C in logs -f said %q", w.err)
	}
}

func TestHelp(t *testing.T) {
	w := newWorld(t)
	w.want(w.run(), 0, "COMMANDS:", "reload")
	w.want(w.run("--help"), 0, "Exit codes: 0 done")
	for _, c := range Commands() {
		w.want(w.run(c.Name, "--help"), 0, "supervisor "+c.Name)
		if strings.Contains(w.out, "resurrect") {
			t.Error("help shows what isn't there")
		}
	}
}

func TestCommandsTable(t *testing.T) {
	want := []string{"start", "reload", "restart", "stop", "delete", "scale", "list", "describe", "logs", "history",
		"validate", "export", "init", "signal", "reset", "flush", "ping", "upgrade", "kill", "startup", "unstartup", "unit", "version", "completion"}
	var got []string
	for _, c := range Commands() {
		got = append(got, c.Name)
		if c.Usage == "" || len(c.ExitCodes) == 0 || strings.HasSuffix(c.Usage, ".") {
			t.Errorf("%+v is not fit for a table", c)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("commands %q", got)
	}
	if table := CommandTable(); !strings.Contains(table, "| `scale NAME N\\|+N\\|-N\\|max [--json]` | set, raise or lower an app's number of workers | 0, 1, 2, 3 |\n") {
		t.Error(table)
	}
	for _, c := range Commands() {
		if c.Name == "start" && c.Args != "[FILE|SCRIPT|NAME] [--no-daemon] [--env NAME] [--only a,b] [-i N] [--name NAME] [--update-env] [--dry-run] [--json] [-- ARGS]" {
			t.Errorf("start %s", c.Args)
		}
	}
}
