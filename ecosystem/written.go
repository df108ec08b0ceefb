package ecosystem

import (
	"path"
	"strings"

	"supervisor/supervisor/state"
)

// Place is where something stands in a file; Line and Col count from 1.
type Place struct {
	Line, Col int
	Path      string // apps[0].kill_timeout, as written
	Text      string // what stands there where that is one text or number, else ""
}

// Written is where an app's keys stand, by their own names (not the alias that the
// file may use); a key that the file does not write is not in it, "" is the app.
type Written map[string]Place

// written tells where everything stands of which the spec has come.
func (a *app) written() Written {
	w := Written{"": {Line: a.node.line, Col: a.node.col, Path: a.path}}
	for i, f := range a.keys {
		place := Place{Line: f.key.line, Col: f.key.col, Path: join(a.path, f.key.text)}
		if f.value.kind == scalar {
			place.Text = f.value.text
		}
		w[a.parser.keys[i].Name] = place
	}
	return w
}

// Command returns the words that run a spec on another machine, where its files lie below
// the folder in which it is started: programs are found in PATH again, and what is built
// here (Program.Go) is what the build has made.
func (p Program) Command(spec state.Spec) []string {
	script := spec.Script
	switch {
	case p.Go:
		return append([]string{"./" + scriptName(spec.Script, spec.Cwd)}, spec.Args...)
	case p.Interpreter != "":
		program := spec.Interpreter
		if program == "" {
			program = interpreterOf(p.Path)
		}
		return append(append([]string{program}, spec.InterpreterArgs...), append([]string{script}, spec.Args...)...)
	case !strings.Contains(script, "/") && p.Path == path.Join(spec.Cwd, script):
		script = "./" + script // it won over PATH
	}
	return append([]string{script}, spec.Args...)
}
