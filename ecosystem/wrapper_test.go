package ecosystem

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"supervisor/supervisor/state"
)

func TestPlainLines(t *testing.T) {
	for line, want := range map[string]string{
		"node server.js":                         `["node" "server.js"]`,
		"  node\t server.js \n":                  `["node" "server.js"]`,
		"exec node server.js":                    `["node" "server.js"]`,
		"A=b C= node x":                          `["node" "x"] A=b C=`,
		`A='b c' node "d e" f"g"'h' ""`:          `["node" "d e" "fgh" ""] A=b c`,
		`node --eval 'a && b' "{\"c\": \"\\\"}"`: `["node" "--eval" "a && b" "{\"c\": \"\\\"}"]`,
		"node --port=3000 A=b":                   `["node" "--port=3000" "A=b"]`,
		"cross-env NODE_ENV=production node x":   `["node" "x"] NODE_ENV=production`,
		"A=b env C=d cross-env E=f exec":         "",
		"env -i node x":                          `["env" "-i" "node" "x"]`,
		"env A=b":                                `["env" "A=b"]`,
		`cross-env A='$B' node x`:                `["cross-env" "A=$B" "node" "x"]`,
		"'A=b' node":                             `["A=b" "node"]`,
		`"A"=b node`:                             `["A=b" "node"]`,
		"1A=b":                                   `["1A=b"]`,
		"exec":                                   "", "exec -a x node": "", "exec exec node": "", "A=b": "", "": "", "   ": "", "'' x": "",
		"node a && node b": "", "node a; b": "", "node a &": "", "node a | b": "", "node > log": "", "node $PORT": "", "node `x`": "",
		"(node a)": "", "node *.js": "", "node a?": "", "node [a]": "", "node {a,b}": "", "node ~/x": "", "! node": "", "node # x": "",
		`node a\ b`: "", `node "a`: "", "node 'a": "", `node "$A"`: "", "node \"`x`\"": "", `node "a\nb"`: "", "node a\nnode b": "",
		"cd x": "", ". ./env": "", "ulimit -n 5": "", "wait": "", "export A=b": "",
	} {
		got := ""
		if c, ok := plain(line); ok {
			got = fmt.Sprintf("%q", c.words)
			for _, name := range slices.Sorted(maps.Keys(c.env)) {
				got += " " + name + "=" + c.env[name]
			}
		}
		if got != want {
			t.Errorf("%q: %s, want %s", line, got, want)
		}
	}
}

// What is called plain means the same to sh.
func TestPlainLinesAreWhatAShellMakesOfThem(t *testing.T) {
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("sh is missing")
	}
	pieces := []string{"a", "b=c", "B", " ", "  ", "\t", "'", `"`, `\`, `\"`, `\\`, "=", "-x", "'d e'", `"f g"`, "$", "#", "~", "*", ";", "/", "%", "é", ",", ":", "\n"}
	random := rand.New(rand.NewPCG(3, 4))
	checked := 0
	for checked < 300 {
		line := ""
		for range 1 + random.IntN(9) {
			line += pieces[random.IntN(len(pieces))]
		}
		c, ok := plain("printf '<%s>' " + line)
		if !ok {
			continue
		}
		checked++
		out, err := exec.Command(sh, "-c", "printf '<%s>' "+line).CombinedOutput()
		want := ""
		for _, w := range c.words[2:] {
			want += "<" + w + ">"
		}
		if len(c.words) == 2 {
			want = "<>"
		}
		if err != nil || string(out) != want {
			t.Errorf("%q: sh says %q (%v), we say %q", line, out, err, want)
		}
	}
}

func FuzzPlain(f *testing.F) {
	for _, line := range []string{"node x", `A="b" exec env C=d 'e'`, "cross-env A=b c", `"\\"`, "="} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		if c, ok := plain(line); ok && (len(c.words) == 0 || c.words[0] == "") {
			t.Errorf("%q has no program", line)
		}
	})
}

// packages is a disk with programs and the package.json of an app in /srv/app.
func packages(text string, more ...string) fstest.MapFS {
	elf := &fstest.MapFile{Data: []byte("\x7fELF..."), Mode: 0o755}
	disk := fstest.MapFS{
		"usr/bin/node": elf, "usr/bin/npm": elf, "usr/bin/yarn": elf, "usr/bin/pnpm": elf, "usr/bin/sh": elf, "usr/bin/bash": elf, "usr/bin/env": elf,
		"srv/app/node_modules/.bin/next": {Data: []byte("#!/usr/bin/env node\n"), Mode: 0o755},
		"srv/node_modules/.bin/tool":     {Data: []byte("#!/bin/sh\n"), Mode: 0o755},
		"srv/app/bare":                   {Data: []byte("node server.js\n"), Mode: 0o755},
		"srv/app/package.json":           {Data: []byte(text), Mode: 0o644},
	}
	for _, name := range more {
		disk[name] = &fstest.MapFile{Data: []byte("script-shell=/bin/zsh\n"), Mode: 0o644}
	}
	return disk
}

func TestUnwrap(t *testing.T) {
	scripts := func(text string) string { return `{"name": "shop", "version": "1.2.3", "scripts": {` + text + `}}` }
	for _, c := range []struct {
		script, pkg string
		want        string // the wrapper, then what is run instead
		more        []string
	}{
		{"node server.js", "", "", nil},
		{"npm start", scripts(`"start": "node server.js"`), "npm start: /usr/bin/node [node server.js]", nil},
		{"npm run serve", scripts(`"serve": "next start -p 3000"`), "npm run serve: /srv/app/node_modules/.bin/next [next start -p 3000]", nil},
		{"npm -s run-script serve -- --port 1", scripts(`"serve": "tool x"`), "npm run serve: /srv/node_modules/.bin/tool [tool x --port 1]", nil},
		{"npm start a -- -b", scripts(`"start": "node s"`), "npm start: /usr/bin/node [node s a -b]", nil},
		{"yarn start --b", scripts(`"start": "node s"`), "yarn start: /usr/bin/node [node s --b]", nil},
		{"pnpm run x", scripts(`"x": "npm run y", "y": "NODE_ENV=p exec node s"`), "pnpm run x: /usr/bin/node [node s]", nil},
		{"/usr/bin/npm start", scripts(`"start": "node s"`), "npm start: /usr/bin/node [node s]", nil},
		{"npm start", `{}`, "npm start: /usr/bin/node [node server.js]", []string{"srv/app/server.js"}},
		{"sh -c 'exec node server.js'", "", "sh -c: /usr/bin/node [node server.js]", nil},
		{"/bin/bash -c 'A=b npm start'", scripts(`"start": "node s"`), "bash -c: /usr/bin/node [node s]", nil},
		// as written
		{"npm start", scripts(`"start": "node a && node b"`), "npm start", nil},
		{"npm start", scripts(`"start": "node a", "prestart": "make"`), "npm start", nil},
		{"npm start", scripts(`"start": "node a", "poststart": "make"`), "npm start", nil},
		{"npm start", scripts(`"start": "npm start"`), "npm start", nil},
		{"npm start", scripts(`"start": ["node"]`), "npm start", nil},
		{"npm start", scripts(`"start": "missing x"`), "npm start", nil},
		{"npm start", scripts(`"start": "./bare"`), "npm start", nil},
		{"npm start", scripts(`"start": "cd x"`), "npm start", nil},
		{"npm start", scripts(`"start": "node s"`), "npm start", []string{"srv/app/.npmrc"}},
		{"npm start", `{`, "npm start", nil},
		{"npm start", `{}`, "npm start", nil},
		{"yarn start", scripts(`"start": "node s"`), "yarn start", []string{"srv/.pnp.cjs"}},
		{"sh -c 'node \"$0\"; exit $?'", "", "sh -c +node", nil},
		{"sh -c 'make; ./server'", "", "sh -c", nil},
		{"npm start --loglevel silly", scripts(`"start": "node s"`), "npm", nil},
		{"npm run", scripts(`"start": "node s"`), "npm", nil},
		{"npx serve", scripts(`"start": "node s"`), "npx", nil},
		{"yarn start -- x", scripts(`"start": "node s"`), "yarn", nil},
		{"sh -ec 'node s'", "", "sh -ec", nil},
		// no wrapper
		{"sh server.sh", "", "", nil},
		{"./npm start", scripts(`"start": "node s"`), "", nil},
		{"npm start", scripts(`"start": "node s"`), "", []string{"srv/app/npm"}},
	} {
		all, ok := words(c.script)
		if !ok {
			t.Fatal(c.script)
		}
		spec := state.Spec{Script: all[0].text, Cwd: "/srv/app"}
		for _, w := range all[1:] {
			spec.Args = append(spec.Args, w.text)
		}
		w := Unwrap(spec, packages(c.pkg, c.more...), "/usr/local/bin:/usr/bin")
		got := w.Wrapper
		if w.Argv != nil {
			got += fmt.Sprintf(": %s %s", w.Path, w.Argv)
		} else if w.Node {
			got += " +node"
		}
		if got != c.want {
			t.Errorf("%s with %s %v:\n  %s, want\n  %s", c.script, c.pkg, c.more, got, c.want)
		}
	}
}

func TestUnwrapSetsWhatTheWrapperWouldHaveSet(t *testing.T) {
	spec := state.Spec{Script: "npm", Args: []string{"run", "a"}, Cwd: "/srv/app", Env: map[string]string{"PATH": "/usr/bin"}}
	w := Unwrap(spec, packages(`{"name": "shop", "version": "1.2.3", "config": {"port": 3000, "x": {}}, "scripts": {"a": "A=b npm run c", "c": "C=d node s"}}`), "/nowhere")
	bin := "/srv/app/node_modules/.bin:/srv/node_modules/.bin:/node_modules/.bin:"
	for name, want := range map[string]string{
		"A": "b", "C": "d", "npm_lifecycle_event": "c", "npm_lifecycle_script": "C=d node s", "npm_package_name": "shop", "npm_package_version": "1.2.3",
		"npm_package_config_port": "3000", "npm_package_json": "/srv/app/package.json", "PATH": bin + bin + "/usr/bin",
	} {
		if w.Env[name] != want {
			t.Errorf("%s is %q, want %q", name, w.Env[name], want)
		}
	}
	if len(w.Env) != 9 {
		t.Errorf("env: %v", w.Env)
	}
	if shell := Unwrap(state.Spec{Script: "sh", Args: []string{"-c", "A=b node s"}, Cwd: "/srv/app"}, packages(""), "/usr/bin"); fmt.Sprint(shell.Env) != "map[A:b]" {
		t.Errorf("of a shell: %v", shell.Env)
	}
	if other := Unwrap(state.Spec{Script: "npm", Args: []string{"start"}, Interpreter: "node", Cwd: "/srv/app"}, packages(""), "/usr/bin"); other.Wrapper != "" {
		t.Errorf("with an interpreter: %+v", other)
	}
	if strings.Contains(w.Env["PATH"], "nowhere") {
		t.Error("the app's own PATH counts")
	}
}
