package ecosystem

import (
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"supervisor/supervisor/state"
)

// Wrapped is an app whose script is a wrapper: a package manager's npm start, or
// sh -c. Such a program takes the ready channel and the signals that are meant for
// the server behind it.
type Wrapped struct {
	Wrapper string // "npm start", "sh -c"; "" where script is none
	// The plain command that the wrapper runs, so that the wrapper isn't needed; Argv
	// is nil where a shell or the wrapper itself is.
	Argv []string
	Path string            // of Argv[0], absolute
	Env  map[string]string // what the wrapper would have set, over everything else
	// Node: a Node program is named in what a shell runs, and would inherit a channel.
	Node bool
}

// maxWrappers bounds wrappers in wrappers: npm run x in the script of npm start.
const maxWrappers = 8

// Unwrap looks behind the wrapper of a spec whose Cwd is a real path. search is
// PATH, unless the app's own env has one.
func Unwrap(spec state.Spec, disk fs.FS, search string) Wrapped {
	if own, ok := spec.Env["PATH"]; ok {
		search = own
	}
	if spec.Interpreter != "" && spec.Interpreter != noInterpreter {
		return Wrapped{}
	}
	u := unwrapping{cwd: spec.Cwd, disk: disk, search: search, env: map[string]string{}}
	c := command{words: append([]string{spec.Script}, spec.Args...)}
	label := u.label(c.words)
	switch {
	case u.inCwd(spec.Script):
		return Wrapped{}
	case label == "":
		return Wrapped{Wrapper: other(spec.Script, spec.Args)}
	}
	as := Wrapped{Wrapper: label, Node: namesNode(c.words)}
	for range maxWrappers {
		var ok bool
		if c, ok = u.inner(c.words); !ok {
			return as
		}
		maps.Copy(u.env, c.env)
		if to, set := c.env["PATH"]; set {
			u.search = to
		}
		if u.label(c.words) == "" {
			file, ok := u.find(c.words[0])
			if !ok {
				return as
			}
			return Wrapped{Wrapper: label, Argv: c.words, Path: file, Env: u.env}
		}
	}
	return as
}

// unwrapping is one Unwrap in work.
type unwrapping struct {
	cwd    string
	disk   fs.FS
	search string
	env    map[string]string
}

// label names a wrapper and what it runs; "" is no wrapper.
func (u *unwrapping) label(words []string) string {
	name := path.Base(words[0])
	if strings.Contains(words[0], "/") && path.Base(path.Dir(words[0])) != "bin" {
		return "" // somebody's own file of that name
	}
	switch name {
	case "sh", "bash", "dash":
		if len(words) == 3 && words[1] == "-c" {
			return name + " -c"
		}
	case "npm", "yarn", "pnpm":
		if script, _, ok := runs(name, words[1:]); ok {
			if script == "start" {
				return name + " start"
			}
			return name + " run " + script
		}
	}
	return ""
}

// other names a wrapper that is given something else than what label knows.
func other(script string, args []string) string {
	switch name := path.Base(script); {
	case strings.Contains(script, "/") && path.Base(path.Dir(script)) != "bin":
	case name == "npm", name == "npx", name == "yarn", name == "pnpm":
		return name
	case name == "sh" || name == "bash" || name == "dash":
		if len(args) > 1 && strings.HasPrefix(args[0], "-") && strings.HasSuffix(args[0], "c") {
			return name + " " + args[0]
		}
	}
	return ""
}

// inCwd: a regular file under cwd wins over PATH.
func (u *unwrapping) inCwd(name string) bool {
	if strings.Contains(name, "/") {
		return false
	}
	info, err := stat(u.disk, absolute(u.cwd, name))
	return err == nil && !info.IsDir()
}

// inner is the command that a wrapper runs, false where it is no plain one.
func (u *unwrapping) inner(words []string) (command, bool) {
	name := path.Base(words[0])
	if name == "sh" || name == "bash" || name == "dash" {
		return plain(words[2])
	}
	script, rest, _ := runs(name, words[1:])
	line, ok := u.script(name, script)
	if !ok {
		return command{}, false
	}
	c, ok := plain(line)
	c.words = append(c.words, rest...)
	return c, ok
}

// runs reads a package manager's arguments: start or run X, and what X is given.
func runs(manager string, args []string) (script string, rest []string, ok bool) {
	quiet := func(arg string) bool { return arg == "-s" || arg == "--silent" }
	for len(args) > 0 && quiet(args[0]) {
		args = args[1:]
	}
	if len(args) == 0 {
		return "", nil, false
	}
	verb := args[0]
	args = args[1:]
	switch verb {
	case "start":
		script = verb
	case "run", "run-script":
		for len(args) > 0 && quiet(args[0]) {
			args = args[1:]
		}
		if len(args) == 0 || strings.HasPrefix(args[0], "-") || manager == "yarn" && verb == "run-script" {
			return "", nil, false
		}
		script, args = args[0], args[1:]
	default:
		return "", nil, false
	}
	end := slices.Index(args, "--")
	if manager != "npm" { // they differ in what they make of it, by version
		return script, args, end < 0
	}
	own := args
	if end >= 0 {
		own = args[:end]
		args = slices.Concat(own, args[end+1:])
	}
	if slices.ContainsFunc(own, func(arg string) bool { return strings.HasPrefix(arg, "-") }) {
		return "", nil, false // an option of npm itself
	}
	return script, args, true
}

// find returns the file that a shell in cwd would execute, and whether the kernel
// can do the same: a text without #! would be the shell's own to run.
func (u *unwrapping) find(name string) (file string, ok bool) {
	if strings.Contains(name, "/") {
		file = absolute(u.cwd, name)
		info, err := stat(u.disk, file)
		ok = err == nil && executable(info)
	} else {
		var info fs.FileInfo
		file, info = lookPath(name, u.disk, u.search)
		ok = info != nil
	}
	if !ok {
		return "", false
	}
	f, err := u.disk.Open(rooted(file))
	if err != nil {
		return file, true // executable, not readable
	}
	defer f.Close()
	magic := make([]byte, len("\x7fELF"))
	n, _ := io.ReadFull(f, magic)
	return file, string(magic[:n]) == "\x7fELF" || strings.HasPrefix(string(magic[:n]), "#!")
}

// namesNode tells whether a shell's line runs Node.
func namesNode(words []string) bool {
	for _, word := range strings.Fields(words[len(words)-1]) {
		if base := path.Base(word); base == "node" || base == "nodejs" {
			return strings.HasSuffix(words[0], "sh")
		}
	}
	return false
}
