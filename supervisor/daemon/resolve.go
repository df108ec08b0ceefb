package daemon

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"supervisor/ecosystem"
	"supervisor/supervisor/state"
)

// quotedLines is how many last lines of a failed worker or build are quoted.
const quotedLines = 20

// unresolved is a generation that can't be had: the stage, the cause, and the last
// words of whoever was asked to make it.
type unresolved struct {
	stage string
	err   error
	lines []string
}

// disk is what ecosystem looks at.
func disk() fs.FS { return os.DirFS("/") }

// resolver finds on disk what a generation runs, once, when it begins: symlinks in
// cwd and script are followed now, so that a crash later restarts this release.
type resolver struct {
	spec   state.Spec
	env    []string // the caller's, filtered
	builds string   // folder of programs built for a generation
	gen    int
}

func (r resolver) resolve(ctx context.Context) (state.Launch, *unresolved) {
	launch := state.Launch{BaseEnv: r.env}
	fail := func(err error) (state.Launch, *unresolved) {
		return launch, &unresolved{stage: "start " + r.spec.Name, err: err}
	}
	dir, err := filepath.EvalSymlinks(r.spec.Cwd)
	if err != nil {
		return fail(fmt.Errorf("cwd: %w", err))
	}
	spec := r.spec
	spec.Cwd, launch.Dir = dir, dir
	behind := ecosystem.Unwrap(spec, disk(), lookEnv(r.env, "PATH"))
	if behind.Argv != nil {
		return unwrapped(launch, spec, behind), nil
	}
	launch.Wrapper = behind.Wrapper
	program, err := ecosystem.Find(spec, disk(), lookEnv(r.env, "PATH"))
	if err != nil {
		return fail(err)
	}
	if launch.Script, err = filepath.EvalSymlinks(program.Path); err != nil {
		return fail(err)
	}
	switch {
	case program.Go:
		return r.built(ctx, launch)
	case program.Interpreter != "":
		launch.Path, launch.Node = program.Interpreter, isNode(program.Interpreter)
		launch.Argv = append([]string{interpreterName(spec.Interpreter, program.Interpreter)}, spec.InterpreterArgs...)
		launch.Argv = append(append(launch.Argv, launch.Script), spec.Args...)
		return launch, nil
	}
	if err := unix.Access(program.Path, unix.X_OK); err != nil {
		return fail(fmt.Errorf("script %s: not executable, and its name asks for no interpreter (chmod +x it, or set interpreter)", program.Path))
	}
	name, inPath := argv0(spec, program.Path)
	if inPath { // stays as it is named there
		launch.Script = program.Path
	}
	launch.Path, launch.Argv = launch.Script, append([]string{name}, spec.Args...)
	launch.Node = isNode(launch.Script) || shebangIsNode(launch.Script) || behind.Node
	return launch, nil
}

// unwrapped is a generation that runs the plain command behind a wrapper.
func unwrapped(launch state.Launch, spec state.Spec, behind ecosystem.Wrapped) state.Launch {
	launch.Path, launch.Script, launch.Argv, launch.Env = behind.Path, behind.Path, behind.Argv, behind.Env
	launch.Instead = strings.Join(append([]string{spec.Script}, spec.Args...), " ")
	launch.Node = isNode(behind.Path) || shebangIsNode(behind.Path) || shimOfNode(behind.Path)
	return launch
}

// shimOfNode: pnpm and yarn put a text for sh into node_modules/.bin that executes
// node.
func shimOfNode(path string) bool {
	if filepath.Base(filepath.Dir(path)) != ".bin" {
		return false
	}
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	text, _ := io.ReadAll(io.LimitReader(f, maxShim))
	return strings.HasPrefix(string(text), "#!") && strings.Contains(string(text), "exec node ")
}

// maxShim is more than such a text has, in bytes.
const maxShim = 8 << 10

// interpreterName is the name that an interpreter is called by: as it would be in a
// shell. By a path where one is written: a venv's python finds its venv by it.
func interpreterName(written, found string) string {
	if strings.Contains(written, "/") {
		return found
	}
	return filepath.Base(found)
}

// argv0 is the name that a program is called by. One found in PATH keeps the name
// that was written; a file keeps its own in its real folder, which is what a venv's
// python and a multi-call binary go by.
func argv0(spec state.Spec, path string) (name string, inPath bool) {
	if !strings.Contains(spec.Script, "/") && path != filepath.Join(spec.Cwd, spec.Script) {
		return spec.Script, true
	}
	if folder, err := filepath.EvalSymlinks(filepath.Dir(path)); err == nil {
		return filepath.Join(folder, filepath.Base(path)), false
	}
	return path, false
}

func lookEnv(env []string, name string) string {
	for _, e := range env {
		if v, ok := strings.CutPrefix(e, name+"="); ok {
			return v
		}
	}
	return ""
}

func isNode(path string) bool {
	switch filepath.Base(path) {
	case "node", "nodejs":
		return true
	}
	return false
}

// maxShebang is how much of a first line execve(2) reads (BINPRM_BUF_SIZE).
const maxShebang = 256

// shebangIsNode reads a script's first line: #!/usr/bin/env node.
func shebangIsNode(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	line, _ := bufio.NewReader(io.LimitReader(f, maxShebang)).ReadString('\n')
	rest, ok := strings.CutPrefix(line, "#!")
	if !ok {
		return false
	}
	for _, word := range strings.Fields(rest) {
		if isNode(word) {
			return true
		}
	}
	return false
}
