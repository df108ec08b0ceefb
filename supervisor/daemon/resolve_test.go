package daemon

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"supervisor/supervisor/state"
)

// tree makes files (contents), folders (name/), symlinks (-> target) and programs
// (! contents) in a new folder.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		path := filepath.Join(root, name)
		os.MkdirAll(filepath.Dir(path), 0o755)
		var err error
		switch {
		case strings.HasSuffix(name, "/"):
			err = os.MkdirAll(path, 0o755)
		case strings.HasPrefix(text, "-> "):
			err = os.Symlink(strings.TrimPrefix(text, "-> "), path)
		case strings.HasPrefix(text, "! "):
			err = os.WriteFile(path, []byte(strings.TrimPrefix(text, "! ")), 0o755)
		default:
			err = os.WriteFile(path, []byte(text), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestResolve(t *testing.T) {
	root := tree(t, map[string]string{
		"releases/1/app.js":  "",
		"releases/1/run":     "! #!/bin/sh\n",
		"current":            "-> releases/1",
		"linked.js":          "-> releases/1/app.js",
		"bin/node":           "! ",
		"bin/tool":           "-> ../opt/multi",
		"opt/multi":          "! ",
		"opt/python":         "! ",
		"venv/bin/python":    "-> ../../opt/python",
		"venv/pyvenv.cfg":    "",
		"shebang":            "! #!/usr/bin/env node\n",
		"shebang-s":          "! #!/usr/bin/env -S node --expose-gc\n",
		"not-node":           "! #!/usr/bin/nodeless\n",
		"plain":              "no bit",
		"data/x":             "",
		"loop":               "-> loop",
		"releases/1/dir.js/": "",
	})
	in := func(name string) string { return filepath.Join(root, name) }
	for _, c := range []struct {
		name string
		spec state.Spec
		path string // of the program
		argv []string
		dir  string
		node bool
	}{
		{"symlinks are followed once", state.Spec{Cwd: in("current"), Script: "app.js", Args: []string{"a"}},
			in("bin/node"), []string{"node", in("releases/1/app.js"), "a"}, in("releases/1"), true},
		{"a linked script", state.Spec{Cwd: root, Script: "linked.js", InterpreterArgs: []string{"--x"}},
			in("bin/node"), []string{"node", "--x", in("releases/1/app.js")}, root, true},
		{"a program beside it", state.Spec{Cwd: in("current"), Script: "./run"},
			in("releases/1/run"), []string{in("releases/1/run")}, in("releases/1"), false},
		{"a program of PATH keeps its name", state.Spec{Cwd: root, Script: "tool"},
			in("bin/tool"), []string{"tool"}, root, false},
		{"the venv's python is called by its own path", state.Spec{Cwd: root, Script: "venv/bin/python", Interpreter: "none"},
			in("opt/python"), []string{in("venv/bin/python")}, root, false},
		{"a shebang of node", state.Spec{Cwd: root, Script: "shebang"}, in("shebang"), []string{in("shebang")}, root, true},
		{"env -S", state.Spec{Cwd: root, Script: "./shebang-s"}, in("shebang-s"), []string{in("shebang-s")}, root, true},
		{"a shebang that looks like it", state.Spec{Cwd: root, Script: "not-node"}, in("not-node"), []string{in("not-node")}, root, false},
		{"node itself", state.Spec{Cwd: root, Script: "node", Args: []string{"x.js"}}, in("bin/node"), []string{"node", "x.js"}, root, true},
		{"PATH of the file's env", state.Spec{Cwd: root, Script: "multi", Env: map[string]string{"PATH": in("opt")}},
			in("opt/multi"), []string{"multi"}, root, false},
	} {
		r := resolver{spec: c.spec, env: []string{"PATH=" + in("bin")}}
		got, failed := r.resolve(t.Context())
		if failed != nil {
			t.Errorf("%s: %v", c.name, failed.err)
			continue
		}
		if got.Path != c.path || !slices.Equal(got.Argv, c.argv) || got.Dir != c.dir || got.Node != c.node {
			t.Errorf("%s: %s %q in %s, node %v", c.name, got.Path, got.Argv, got.Dir, got.Node)
		}
	}
	for _, c := range []struct {
		name, want string
		spec       state.Spec
	}{
		{"no cwd", "cwd: ", state.Spec{Cwd: in("none"), Script: "app.js"}},
		{"cwd in circles", "cwd: ", state.Spec{Cwd: in("loop"), Script: "app.js"}},
		{"no script", in("releases/1"), state.Spec{Cwd: in("current"), Script: "gone.js"}},
		{"a path to nothing", "no such file: " + in("releases/9/app.js"), state.Spec{Cwd: root, Script: "releases/9/app.js"}},
		{"no interpreter", "python3", state.Spec{Cwd: root, Script: "linked.js", Interpreter: "python3"}},
		{"not executable", in("plain"), state.Spec{Cwd: root, Script: "plain"}},
		{"a folder", "without package main", state.Spec{Cwd: root, Script: "data"}},
		{"a command line", "no shell is run", state.Spec{Cwd: root, Script: "node app.js"}},
	} {
		r := resolver{spec: c.spec, env: []string{"PATH=" + in("bin")}}
		if _, failed := r.resolve(t.Context()); failed == nil || !strings.Contains(failed.err.Error(), c.want) {
			t.Errorf("%s: %+v, want %q", c.name, failed, c.want)
		}
	}
}

func TestAVenvsInterpreterIsCalledByItsPath(t *testing.T) {
	root := tree(t, map[string]string{
		"app.py": "", "opt/python3": "! ", "venv/bin/python": "-> ../../opt/python3", "venv/pyvenv.cfg": "",
	})
	r := resolver{spec: state.Spec{Cwd: root, Script: "app.py", Interpreter: "venv/bin/python"}}
	got, failed := r.resolve(t.Context())
	if failed != nil {
		t.Fatal(failed.err)
	}
	// A python finds its pyvenv.cfg by argv[0], and by PATH when that has no slash.
	if want := filepath.Join(root, "venv/bin/python"); got.Path != want || got.Argv[0] != want {
		t.Errorf("%s called as %s, want %s", got.Path, got.Argv[0], want)
	}
}

func TestBuild(t *testing.T) {
	const main = "package main\n\nfunc main() {}\n"
	root := tree(t, map[string]string{
		"mod/go.mod":     "module example.org/x\n\ngo 1.20\n",
		"mod/main.go":    "package main\n\nfunc main() { other() }\n",
		"mod/other.go":   "package main\n\nfunc other() {}\n",
		"mod/script.go":  "//go:build ignore\n\n" + main,
		"lone/hello.go":  main,
		"bad/go.mod":     "module example.org/bad\n\ngo 1.20\n",
		"bad/main.go":    "package main\n\nfunc main() { undefined() }\n",
		"current":        "-> mod",
		"a/b/ignored.go": "",
	})
	build := func(script string, env ...string) (state.Launch, *unresolved) {
		r := resolver{spec: state.Spec{Name: "a/b", Cwd: root, Script: script, Args: []string{"x"}}, builds: t.TempDir(), gen: 3,
			env: append(env, "PATH="+os.Getenv("PATH"), "HOME="+os.Getenv("HOME"), "GOCACHE="+os.Getenv("GOCACHE"), "GOFLAGS=-mod=mod")}
		return r.resolve(t.Context())
	}
	for _, script := range []string{"mod", "mod/main.go", "mod/script.go", "current/main.go", "./current"} {
		got, failed := build(script)
		if failed != nil {
			t.Errorf("%s: %v %q", script, failed.err, failed.lines)
			continue
		}
		if info, err := os.Stat(got.Built); err != nil || info.Mode().Perm()&0o111 == 0 || filepath.Base(got.Built) != "a_b-3" {
			t.Errorf("%s: %v, %v", script, got.Built, err)
		}
		if got.Path != got.Built || !slices.Equal(got.Argv, []string{got.Built, "x"}) || got.Dir != root {
			t.Errorf("%s: %+v", script, got)
		}
	}
	if _, failed := build("bad/main.go"); failed == nil || failed.stage != "build bad/main.go" ||
		!slices.ContainsFunc(failed.lines, func(l string) bool { return strings.Contains(l, "undefined: undefined") }) {
		t.Errorf("a build error: %+v", failed)
	}
	if _, failed := build("lone/hello.go"); failed != nil {
		t.Errorf("a file that no module has: %v %q", failed.err, failed.lines)
	}
	r := resolver{spec: state.Spec{Name: "x", Cwd: root, Script: "mod"}, env: []string{"PATH=/none"}, builds: t.TempDir()}
	if _, failed := r.resolve(t.Context()); failed == nil || !strings.Contains(failed.err.Error(), "the program go is not in PATH") {
		t.Errorf("without go: %+v", failed)
	}
}

func TestNamesOfBuilds(t *testing.T) {
	for _, c := range []struct {
		app string
		gen int
	}{{"web", 1}, {"web-1", 12}, {"a/b", 3}} {
		if app, gen, ok := buildOf(buildName(c.app, c.gen)); !ok || app != safeName(c.app) || gen != c.gen {
			t.Errorf("%s, %d: %q, %d, %v", c.app, c.gen, app, gen, ok)
		}
	}
	for _, name := range []string{"web", "web-", "web-x", "preload.js"} {
		if app, _, ok := buildOf(name); ok {
			t.Errorf("%s is taken for one of %s", name, app)
		}
	}
}

func TestABuildEndsWithTheDaemonAndLeavesNoFile(t *testing.T) {
	leaktight(t)
	i := begin(t, Options{})
	root := tree(t, map[string]string{
		"go.mod":  "module example.org/x\n\ngo 1.20\n",
		"main.go": "package main\n\nimport \"time\"\n\nfunc main() { time.Sleep(time.Hour) }\n",
	})
	start := func() state.Result {
		return i.do(state.Request{Verb: state.VerbStart, Script: &state.Script{Path: "main.go", Cwd: root}})
	}
	if res := start(); res.Error != nil {
		t.Fatal(res.Error.Message, res.Error.Details)
	}
	run := func() []string {
		found, _ := filepath.Glob(filepath.Join(i.home, "run", "*"))
		return found
	}
	if got := run(); len(got) != 1 {
		t.Errorf("built: %v", got)
	}
	i.must(state.Request{Verb: state.VerbStop})
	i.must(state.Request{Verb: state.VerbStart, Names: []string{"main"}})
	if got := run(); len(got) != 1 || filepath.Base(got[0]) != "main-2" {
		t.Errorf("built: %v", got)
	}
	for range 2 {
		i.must(state.Request{Verb: state.VerbReload, Names: []string{"main"}})
	}
	i.must(state.Request{Verb: state.VerbScale, Names: []string{"main"}, Count: "2"})
	if got := run(); len(got) != 1 || filepath.Base(got[0]) != "main-4" {
		t.Errorf("after two reloads: %v", got)
	}
	i.must(state.Request{Verb: state.VerbDelete})
	i.kill()
}
