package ecosystem

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"supervisor/supervisor/state"
)

// Program is what an app's script is on the disk.
type Program struct {
	Path        string // absolute: a file, or the folder of a Go program; symlinks not resolved
	Interpreter string // absolute; "" when Path runs itself or is built
	Go          bool   // built first: a .go file, or a folder with package main
}

// Find returns what a spec would run: script relative to cwd, else a program
// in search (a PATH; the app's own env.PATH if it has one), and its interpreter.
// disk is the root folder. The error says which of them is missing.
func Find(spec state.Spec, disk fs.FS, search string) (Program, error) {
	program, _, err := find(spec, disk, search)
	return program, err
}

// find is Find, and tells the key that is to blame.
func find(spec state.Spec, disk fs.FS, search string) (p Program, key string, err error) {
	if own, ok := spec.Env["PATH"]; ok {
		search = own
	}
	var info fs.FileInfo
	if p.Path, info, err = findScript(spec, disk, search); err != nil {
		return p, "script", err
	}
	interpreter := spec.Interpreter
	switch {
	case info.IsDir():
		if !goMain(disk, p.Path) {
			return p, "script", fmt.Errorf("%s is a folder without package main: write a file, or the folder of a Go program", quote(spec.Script))
		}
		p.Go = true
		return p, "", nil
	case interpreter == "" && path.Ext(p.Path) == ".go":
		p.Go = true
		return p, "", nil
	case interpreter == "":
		interpreter = interpreterOf(p.Path)
	}
	if interpreter == "" || interpreter == noInterpreter {
		if info.Mode().Perm()&0o111 == 0 {
			return p, "script", fmt.Errorf("%s can't be executed: make it executable (chmod +x), or write an interpreter", p.Path)
		}
		return p, "", nil
	}
	p.Interpreter, err = findProgram(interpreter, spec.Cwd, disk, search)
	if err != nil && spec.Interpreter == "" {
		err = fmt.Errorf("%s needs an interpreter: %w", quote(spec.Script), err)
	}
	return p, "interpreter", err
}

// noInterpreter runs a script itself, whatever its extension.
const noInterpreter = "none"

// interpreterOf returns the interpreter of a file by its extension.
func interpreterOf(file string) string {
	switch path.Ext(file) {
	case ".js", ".mjs", ".cjs", ".ts":
		return "node"
	case ".py":
		return "python3"
	case ".rb":
		return "ruby"
	case ".sh":
		return "sh"
	case ".pl":
		return "perl"
	case ".php":
		return "php"
	}
	return ""
}

// findScript returns the file or folder that is meant: a regular file under
// cwd, a program in PATH, a folder under cwd.
func findScript(spec state.Spec, disk fs.FS, search string) (string, fs.FileInfo, error) {
	file := absolute(spec.Cwd, spec.Script)
	info, err := stat(disk, file)
	bare := !strings.Contains(spec.Script, "/")
	if err == nil && (!bare || !info.IsDir()) {
		return file, info, nil
	}
	if bare {
		if found, program := lookPath(spec.Script, disk, search); program != nil {
			return found, program, nil
		}
	}
	hint := ""
	if words := strings.Fields(spec.Script); len(words) > 1 {
		hint = fmt.Sprintf(" (no shell is run: write script: %s, and the rest in args)", words[0])
	}
	switch {
	case err == nil:
		return file, info, nil
	case !errors.Is(err, fs.ErrNotExist):
		return "", nil, fmt.Errorf("cannot look at %s: %w", file, err)
	case bare:
		return "", nil, fmt.Errorf("%s is neither a file in %s nor a program in PATH%s", quote(spec.Script), spec.Cwd, hint)
	}
	return "", nil, fmt.Errorf("no such file: %s%s", file, hint)
}

// findProgram returns an executable: a path relative to cwd, or a name in PATH.
func findProgram(name, cwd string, disk fs.FS, search string) (string, error) {
	if !strings.Contains(name, "/") {
		found, info := lookPath(name, disk, search)
		if info == nil {
			return "", fmt.Errorf("%s is not in PATH", quote(name))
		}
		return found, nil
	}
	file := absolute(cwd, name)
	info, err := stat(disk, file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("no such file: %s", file)
	case err != nil:
		return "", fmt.Errorf("cannot look at %s: %w", file, err)
	case !executable(info):
		return "", fmt.Errorf("%s can't be executed", file)
	}
	return file, nil
}

// lookPath finds an executable in a PATH. Relative entries are left out: what
// they mean would depend on where the daemon was started.
func lookPath(name string, disk fs.FS, search string) (string, fs.FileInfo) {
	for folder := range strings.SplitSeq(search, ":") {
		if !path.IsAbs(folder) {
			continue
		}
		file := path.Join(folder, name)
		if info, err := stat(disk, file); err == nil && executable(info) {
			return file, info
		}
	}
	return "", nil
}

func executable(info fs.FileInfo) bool { return !info.IsDir() && info.Mode().Perm()&0o111 != 0 }

// stat looks at an absolute path; its error is the bare cause.
func stat(disk fs.FS, file string) (fs.FileInfo, error) {
	info, err := fs.Stat(disk, rooted(file))
	return info, cause(err)
}

// rooted turns an absolute path into one that an fs.FS of the root takes.
func rooted(file string) string {
	if name := strings.TrimPrefix(path.Clean(file), "/"); name != "" {
		return name
	}
	return "."
}

// cause takes the path off an error that a message names anyway.
func cause(err error) error {
	var at *fs.PathError
	if errors.As(err, &at) {
		return at.Err
	}
	return err
}

// goMain tells whether a folder has a Go file of package main that is neither
// a test nor left out of every build.
func goMain(disk fs.FS, folder string) bool {
	entries, err := fs.ReadDir(disk, rooted(folder))
	if err != nil {
		return false
	}
	for _, entry := range entries {
		name := entry.Name()
		if entry.IsDir() || path.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go") ||
			strings.HasPrefix(name, "_") || strings.HasPrefix(name, ".") {
			continue
		}
		if src, err := fs.ReadFile(disk, rooted(path.Join(folder, name))); err == nil && packageMain(string(src)) {
			return true
		}
	}
	return false
}

// packageMain reads a Go file up to its package clause (go.dev/ref/spec#Packages).
func packageMain(src string) bool {
	for {
		src = strings.TrimLeft(src, " \t\r\n\ufeff")
		switch {
		case strings.HasPrefix(src, "//"):
			comment, rest, _ := strings.Cut(src, "\n")
			if strings.TrimSpace(comment) == "//go:build ignore" {
				return false
			}
			src = rest
		case strings.HasPrefix(src, "/*"):
			_, rest, ok := strings.Cut(src, "*/")
			if !ok {
				return false
			}
			src = rest
		default:
			words := strings.FieldsFunc(src[:min(len(src), 100)], func(r rune) bool { return strings.ContainsRune(" \t\r\n;/", r) })
			return len(words) > 1 && words[0] == "package" && words[1] == "main"
		}
	}
}

// scriptName is the name of an app that has none: the script's base name, less
// the extension of a program text; for the folder itself, the folder's.
func scriptName(script, cwd string) string {
	base := path.Base(absolute(cwd, script))
	if ext := path.Ext(base); ext != base && (interpreterOf(base) != "" || ext == ".go") {
		base = strings.TrimSuffix(base, ext)
	}
	return base
}

// FromScript returns the spec of an app that has no file: every key has its
// default, cwd is the caller's. Of the options Instances, Rename, CPUs, Disk
// and Path count.
func FromScript(script state.Script, options Options) (state.Spec, error) {
	spec := defaults()
	spec.Script, spec.Args, spec.Cwd = script.Path, script.Args, script.Cwd
	fail := func(cause any) (state.Spec, error) {
		return state.Spec{}, fmt.Errorf("cannot start %s: %v", quote(script.Path), cause)
	}
	if options.EnvName != nil && *options.EnvName != "" {
		return fail("--env is for an ecosystem file")
	}
	if script.Path == "" || !path.IsAbs(script.Cwd) || strings.ContainsRune(strings.Join(append(script.Args, script.Path), ""), 0) {
		return fail("not a script")
	}
	if text := options.Instances; text != nil {
		n, err := Instances(*text, options.CPUs)
		if err != nil {
			return fail(fmt.Errorf("-i: %w", err))
		}
		spec.Instances = n
	}
	spec.Name = scriptName(script.Path, script.Cwd)
	if options.Rename != nil {
		spec.Name = *options.Rename
	}
	if wrong := wrongName(spec.Name); wrong != "" {
		return fail("--name: " + wrong)
	}
	if options.Disk != nil {
		if _, err := Find(spec, options.Disk, options.Path); err != nil {
			return fail(err)
		}
	}
	return spec, nil
}
