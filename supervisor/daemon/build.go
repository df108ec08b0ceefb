package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"supervisor/supervisor/state"
)

// built makes a Go program for this generation alone: what an earlier one runs is
// not touched. A file is built with its folder's package, or by itself, as go run
// does, when it is not part of it (//go:build ignore) or there is no module.
func (r resolver) built(ctx context.Context, launch state.Launch) (state.Launch, *unresolved) {
	fail := func(err error, lines []string) (state.Launch, *unresolved) {
		return launch, &unresolved{stage: "build " + r.spec.Script, err: err, lines: lines}
	}
	dir, target := launch.Script, "."
	if info, err := os.Stat(launch.Script); err != nil {
		return fail(err, nil)
	} else if !info.IsDir() {
		dir = filepath.Dir(launch.Script)
		if ignored(launch.Script) || !inModule(dir) {
			target = filepath.Base(launch.Script)
		}
	}
	env := workerEnv(r.spec, r.env)
	tool, err := goTool(lookEnv(env, "PATH"))
	if err != nil {
		return fail(err, nil)
	}
	out := filepath.Join(r.builds, buildName(r.spec.Name, r.gen))
	cmd := exec.CommandContext(ctx, tool, "build", "-o", out, target)
	// The compilers go with it: they hold the pipe that is read to its end.
	cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
	cmd.Dir = dir
	cmd.Env = append(env, "PWD="+dir)
	if said, err := cmd.CombinedOutput(); err != nil {
		return fail(fmt.Errorf("go build: %w", err), lastLines(string(said), quotedLines))
	}
	if err := os.Chmod(out, 0o555); err != nil { // for other users, whatever our umask is
		return fail(err, nil)
	}
	launch.Path, launch.Built, launch.Argv = out, out, append([]string{out}, r.spec.Args...)
	return launch, nil
}

// goTool finds the program go in a PATH.
func goTool(path string) (string, error) {
	for _, folder := range filepath.SplitList(path) {
		p := filepath.Join(folder, "go")
		if info, err := os.Stat(p); err == nil && info.Mode().IsRegular() && unix.Access(p, unix.X_OK) == nil {
			return p, nil
		}
	}
	return "", errors.New("the program go is not in PATH")
}

// ignored reports whether a Go file is kept out of its package (go help buildconstraint).
func ignored(file string) bool {
	data, err := os.ReadFile(file)
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		if rest, ok := strings.CutPrefix(line, "//go:build "); ok {
			return strings.TrimSpace(rest) == "ignore"
		}
		if strings.HasPrefix(line, "package ") {
			break
		}
	}
	return false
}

// inModule reports whether a folder belongs to a module (go.dev/ref/mod#go-mod-file).
func inModule(dir string) bool {
	for {
		if info, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil && info.Mode().IsRegular() {
			return true
		}
		if dir == "/" {
			return false
		}
		dir = filepath.Dir(dir)
	}
}

func lastLines(text string, n int) []string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return lines[max(0, len(lines)-n):]
}

// safeName makes an app's name one element of a path.
func safeName(name string) string { return strings.ReplaceAll(name, "/", "_") }
