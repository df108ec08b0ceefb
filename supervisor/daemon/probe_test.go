package daemon

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"supervisor/ecosystem"
	"supervisor/supervisor/process"
	"supervisor/supervisor/state"
)

func TestACommandOfAProbe(t *testing.T) {
	leaktight(t)
	dir := tree(t, map[string]string{"check": "! #!/bin/sh\ntest \"$(pwd)\" = \"$HERE\" && test \"$A\" = b\n"})
	spec := process.Spec{Dir: dir, Env: []string{"A=b", "HERE=" + dir, "PATH=" + os.Getenv("PATH")}, Stdin: -1, Stdout: -1, Stderr: -1}
	for _, c := range []struct{ command, want string }{
		{"./check", ""},
		{dir + "/check", ""},
		{"sh -c 'exit 3'", "ended with exit code 3"},
		{"sh -c 'kill -9 $$'", "was killed by SIGKILL"},
		{"sh -c 'sleep 1000 &'", ""}, // what it leaves is ended
		{"missing", "not found"},
		{"./missing", "cannot exec"},
	} {
		argv := argvOf(t, c.command)
		err := runCommand(t.Context(), spec, argv)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", c.command, err, c.want)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := runCommand(ctx, spec, argvOf(t, "sh -c 'trap : INT TERM; sleep 1000; sleep 1000'")); err == nil || err.Error() != "was killed by SIGKILL" {
		t.Errorf("at its timeout: %v", err)
	}
}

func argvOf(t *testing.T, command string) []string {
	t.Helper()
	eco, err := ecosystem.Parse([]byte(fmt.Sprintf("script: x\nargs: %q\n", command)), ecosystem.Options{File: "/eco.yaml"})
	if err != nil {
		t.Fatal(err)
	}
	return eco.Apps[0].Args
}

func TestAProbeHasTheWorkersEnvironmentWithoutItsChannels(t *testing.T) {
	env := withoutChannels([]string{"A=b", "NODE_CHANNEL_FD=3", "READY_FD=4", "NOTIFY_SOCKET=/x", "LISTEN_FDS=1", "SUPERVISOR_WORKER=7", "NODE_APP_INSTANCE=0"})
	if want := []string{"A=b", "SUPERVISOR_WORKER=7", "NODE_APP_INSTANCE=0"}; !slices.Equal(env, want) {
		t.Errorf("%q", env)
	}
}

// Every kind of probe makes a worker ready, on a port of its own slot.
func TestProbesMakeWorkersReady(t *testing.T) {
	leaktight(t)
	i := begin(t, Options{})
	first := port(t)
	var apps []string
	for n, probe := range []string{"'http://127.0.0.1:$PORT/'", "'tcp://127.0.0.1:${PORT}'", "{exec: \"sh -c 'test $SUPERVISOR_APP = app2'\", interval: 10}"} {
		apps = append(apps, fmt.Sprintf("name: app%d\nargs: [worker, serve]\ninstances: 2\nready: %s\nlisten_timeout: 60s\nincrement_var: PORT\nenv: {PORT: %d}", n, probe, first+2*n))
	}
	i.must(state.Request{Verb: state.VerbStart, File: i.yaml(apps...)})
	res := i.must(state.Request{Verb: state.VerbReload})
	for _, r := range res.Receipts {
		for _, w := range r.Workers {
			if w.ReadyBy != "probe" {
				t.Errorf("%s: %+v", r.Name, w)
			}
		}
	}
	i.kill()
}

func TestAProbeThatFailsIsQuoted(t *testing.T) {
	leaktight(t)
	i := begin(t, Options{})
	app := "name: job\nargs: [worker, ready]\nautorestart: false\nlisten_timeout: 3s\nready: "
	res := i.do(state.Request{Verb: state.VerbStart, File: i.yaml(app + "{exec: \"sh -c 'exit 9'\", interval: 10}")})
	if res.Error == nil || !strings.Contains(res.Error.Message, "not ready: the probe exec: sh -c 'exit 9' ended with exit code 9 within 3s") {
		t.Errorf("%+v", res.Error)
	}
	res = i.do(state.Request{Verb: state.VerbStart, File: i.yaml(app + "'tcp://127.0.0.1:$NO_SUCH_PORT'")})
	if res.Error == nil || !strings.Contains(res.Error.Message, "the worker's environment has no NO_SUCH_PORT") {
		t.Errorf("%+v", res.Error)
	}
	i.kill()
}

func TestAStopEndsACommandOfAProbe(t *testing.T) {
	leaktight(t)
	i := begin(t, Options{})
	began := filepath.Join(i.home, "began")
	if err := unix.Mkfifo(began, 0o600); err != nil {
		t.Fatal(err)
	}
	done := make(chan state.Result, 1)
	file := i.yaml("name: job\nargs: [worker, ready]\nlisten_timeout: 60s\nready: {exec: \"sh -c 'echo >" + began + "; sleep 1000; true'\", timeout: 60s}")
	go func() { done <- i.do(state.Request{Verb: state.VerbStart, File: file}) }() // ends with the stop
	if _, err := os.ReadFile(began); err != nil {                                  // when it says so
		t.Fatal(err)
	}
	i.must(state.Request{Verb: state.VerbStop})
	if res := <-done; res.Error == nil {
		t.Errorf("%+v", res)
	}
	if left := i.workers(); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	i.kill()
}

func TestResolveBehindAWrapper(t *testing.T) {
	root := tree(t, map[string]string{
		"releases/1/package.json":             `{"name": "shop", "scripts": {"start": "A=b node server.js", "bin": "next start", "shim": "tool", "shell": "node a && node b"}}`,
		"releases/1/node_modules/.bin/next":   "-> ../next/cli.js",
		"releases/1/node_modules/next/cli.js": "! #!/usr/bin/env node\n",
		"releases/1/node_modules/.bin/tool":   "! #!/bin/sh\nbasedir=x\nexec node \"$basedir/x\"\n",
		"current":                             "-> releases/1",
		"bin/node":                            "! \x7fELF",
		"bin/npm":                             "! #!/usr/bin/env node\n",
		"bin/sh":                              "! \x7fELF",
	})
	for _, c := range []struct {
		script, argv, instead, wrapper string
		node                           bool
	}{
		{"npm start", "node server.js", "npm start", "", true},
		{"npm run bin", "next start", "npm run bin", "", true},
		{"npm run shim", "tool", "npm run shim", "", true},
		{"npm run shell", "npm run shell", "", "npm run shell", true},
		{"sh -c 'exec node x'", "node x", "sh -c exec node x", "", true},
		{"sh -c 'make; node x'", "sh -c make; node x", "", "sh -c", true},
		{"sh -c 'make; ./x'", "sh -c make; ./x", "", "sh -c", false},
	} {
		words := argvOf(t, c.script)
		spec := state.Spec{Name: "web", Script: words[0], Args: words[1:], Cwd: filepath.Join(root, "current")}
		launch, failed := resolver{spec: spec, env: []string{"PATH=" + filepath.Join(root, "bin")}}.resolve(t.Context())
		if failed != nil {
			t.Errorf("%s: %v", c.script, failed.err)
			continue
		}
		if got := strings.Join(launch.Argv, " "); got != c.argv || launch.Instead != c.instead || launch.Wrapper != c.wrapper || launch.Node != c.node {
			t.Errorf("%s: %q instead of %q through %q, node %v", c.script, got, launch.Instead, launch.Wrapper, launch.Node)
		}
		if c.wrapper == "" && c.instead != "" && strings.HasPrefix(c.instead, "npm") && !strings.HasPrefix(launch.Env["PATH"], filepath.Join(root, "releases/1/node_modules/.bin")+":") {
			t.Errorf("%s: PATH is %s", c.script, launch.Env["PATH"])
		}
	}
}
