package ecosystem

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"supervisor/supervisor/logs/stamp"
	"supervisor/supervisor/state"
)

// evenPreDrain is the default of pre_drain where a worker can be taken out of accept:
// time for handshakes under way to end, and for what waits to be accepted.
const evenPreDrain = 100 * time.Millisecond

// maxName bounds a name in bytes: names become parts of file names.
const maxName = 100

// app is one app while it is read.
type app struct {
	*parser
	node  *node
	path  string // apps[0]; "" where the file is one app
	spec  *state.Spec
	keys  map[int]field // as written, by index in the parser's keys
	later []Key

	nameAt   *node   // what a complaint about the name points at
	listenAt []value // where each of spec.Listen is written
	// dependsAt is where each of spec.DependsOn is written, until that is sorted.
	dependsAt []value
	noCwd     bool // cwd is wrong: what is relative to it can't be checked

	envFile     map[string]string
	env         map[string]string
	named       map[string]string // env_NAME of --env NAME
	port        *node
	disableLogs bool
	time        bool
}

// newApp sorts the keys of an app; none of the values is looked at yet.
func newApp(p *parser, n *node, where string) *app {
	spec := defaults()
	spec.File, spec.Cwd = p.options.File, p.folder()
	a := &app{parser: p, node: n, path: where, spec: &spec, keys: make(map[int]field, len(n.fields)), nameAt: n}
	for _, f := range n.fields {
		if p.full() {
			break
		}
		name, at := f.key.text, join(where, f.key.text)
		if i, ok := p.spellings[name]; ok {
			if first, twice := a.keys[i]; twice {
				p.complain(f.key, at, fmt.Sprintf("%s is the same key as %s at line %d: write one of them", name, first.key.text, first.key.line))
				continue
			}
			a.keys[i] = f
			continue
		}
		if environment, ok := strings.CutPrefix(name, "env_"); ok && environment != "" {
			a.environment(environment, value{a, f.value, at, ""})
			continue
		}
		p.complain(f.key, at, p.unknownKey(name))
	}
	return a
}

// unknownKey finds the key that was meant, among the ones that have an effect.
func (p *parser) unknownKey(name string) string {
	if upper, ok := strings.CutPrefix(name, "env"); ok && upper != "" && unicode.IsUpper(rune(upper[0])) {
		return fmt.Sprintf("unknown key %q: did you mean env_%s?", short(name), strings.ToLower(upper))
	}
	var known []string
	for spelling, i := range p.spellings {
		if p.keys[i].Status == Works || p.keys[i].Status == Later {
			known = append(known, spelling)
		}
	}
	slices.Sort(known)
	return unknown(name, known)
}

// read fills the spec: each key by its reader, in the table's order, then what
// follows from several of them.
func (a *app) read() {
	if a.full() {
		return
	}
	for i, key := range a.parser.keys {
		f, ok := a.keys[i]
		if !ok {
			continue
		}
		v := value{a, f.value, join(a.path, f.key.text), key.Default}
		switch {
		case key.Status == Ignored:
			a.warn(f.key, v.path, "pm2's key has no effect here")
		case key.Status == Refused:
			if !off(f.value) {
				a.complain(f.key, v.path, "pm2's key is not known here: "+key.Meaning)
			}
		case key.Status == Later:
			if !off(f.value) {
				a.complain(f.key, v.path, notYet(f.key.text))
			}
		default:
			key.read(v)
		}
	}
	if a.options.Instances != nil {
		a.spec.Instances, _ = Instances(*a.options.Instances, a.options.CPUs)
	}
	a.mergeEnv()
	a.logs()
	a.consistent()
	a.script()
}

// at returns the value of a key, or nil where the file does not have it.
func (a *app) at(name string) *value {
	i := a.spellings[name]
	f, ok := a.keys[i]
	if !ok {
		return nil
	}
	return &value{a, f.value, join(a.path, f.key.text), a.parser.keys[i].Default}
}

// off tells whether a value turns its key off, as pm2's files often do.
func off(n *node) bool {
	switch n.kind {
	case list:
		return len(n.items) == 0
	case mapping:
		return len(n.fields) == 0
	}
	switch n.text {
	case "", "0", "false", "none", "off", "NULL", "/dev/null":
		return true
	}
	return n.null() || n.tag == "!!bool" && strings.EqualFold(n.text, "false")
}

// mergeEnv puts the environment together: env_file, env, port, env_NAME; the
// later wins.
func (a *app) mergeEnv() {
	env := map[string]string{}
	maps.Copy(env, a.envFile)
	maps.Copy(env, a.env)
	if v := a.at("port"); v != nil && a.port != nil {
		if written, ok := a.env["PORT"]; ok && written != a.port.text {
			v.fail("port is %s and PORT in env is %s: write one of them", a.port.text, quote(written))
		}
		env["PORT"] = a.port.text
	}
	maps.Copy(env, a.named)
	if len(env) > 0 {
		a.spec.Env = env
	}
	if name := a.spec.IncrementVar; name != "" {
		if base, ok := env[name]; ok {
			if _, err := strconv.Atoi(base); err != nil {
				a.at("increment_var").fail("%s is %s in env: only a number can be raised by one per slot", name, quote(base))
			}
		}
	}
}

func (a *app) logs() {
	if a.disableLogs {
		a.spec.OutFile, a.spec.ErrorFile = devNull, devNull
	}
	if a.time && a.spec.LogDateFormat == "" {
		a.spec.LogDateFormat = stamp.Default
	}
}

// consistent checks the keys that limit each other.
func (a *app) consistent() {
	s := a.spec
	if v := a.at("wait_ready"); v != nil && s.WaitReady && s.Protocol == state.ProtocolNone {
		v.fail("waits for a ready message, and with protocol: none there is none")
	}
	if s.Protocol == state.ProtocolTableflip {
		if v := a.at("wait_ready"); v != nil && !s.WaitReady {
			v.fail("a tableflip program says itself when it is ready, and is always waited for: leave the key out")
		}
		s.WaitReady = true
	}
	if v := a.at("shutdown_with_message"); v != nil && s.ShutdownWithMessage &&
		s.Protocol != state.ProtocolAuto && s.Protocol != state.ProtocolNode {
		v.fail("the message goes over the Node channel, and with protocol: %s there is none", s.Protocol)
	}
	if v := a.at("balance"); v != nil && s.Balance == state.Even && s.Mode == state.Fork {
		v.fail("with exec_mode: fork the sockets are the program's own: write cluster, or leave the key out")
	}
	if s.Balance == state.Even && a.at("pre_drain") == nil {
		s.PreDrain = evenPreDrain
	}
	if v := a.at("exp_backoff_restart_delay"); v != nil && s.ExpBackoff == 0 && s.RestartDelay == 0 {
		v.fail("0 without a restart_delay would restart a broken app in a hot loop: write 100ms, or a restart_delay")
	}
	a.reload()
}

// script names the app, and finds its program on the disk.
func (a *app) script() {
	s := a.spec
	if a.at("script") == nil {
		a.complain(a.node, a.path, `no script: the key "script" is missing`)
	}
	if a.options.Rename != nil {
		s.Name = *a.options.Rename
	}
	if v := a.at("script"); v != nil && s.Script != "" {
		if s.Name == "" && a.at("name") == nil {
			a.nameAt = v.n
			s.Name = scriptName(s.Script, s.Cwd)
			if wrong := wrongName(s.Name); wrong != "" {
				v.fail("the app needs a name of its own: %s", wrong)
			}
		}
		a.find(*v)
	}
}

// find complains where the program is not there or can't be run.
func (a *app) find(script value) {
	if a.options.Disk == nil || a.noCwd {
		return
	}
	_, key, err := find(*a.spec, a.options.Disk, a.options.Path)
	if err == nil {
		return
	}
	if v := a.at(key); v != nil {
		v.fail("%v", err)
		return
	}
	script.fail("%v", err)
}

// wrongName says what is wrong with a name, "" if nothing is. Names are typed
// on command lines, split at commas (--only) and are parts of file names.
func wrongName(name string) string {
	switch {
	case name == "":
		return "a name can't be empty"
	case len(name) > maxName:
		return fmt.Sprintf("%s is too long: a name has at most %d bytes", quote(name), maxName)
	case name == "all":
		return `"all" means all apps: choose another name`
	case name == "." || name == "..", strings.HasPrefix(name, "-"):
		return fmt.Sprintf("%q can't be a name: on a command line it is something else", name)
	case strings.HasSuffix(name, ".yaml"), strings.HasSuffix(name, ".yml"), strings.HasSuffix(name, ".json"):
		return fmt.Sprintf("%q can't be a name: on a command line it is a file", name)
	case name != strings.TrimSpace(name):
		return fmt.Sprintf("%q can't be a name: it has a space at its end", name)
	}
	for _, r := range name {
		if r == '/' || r == ',' || !unicode.IsPrint(r) {
			return fmt.Sprintf("%q can't be a name: it has %q in it", name, r)
		}
	}
	return ""
}

// label reads a name of anything.
func (v value) label(into *string) {
	var text string
	if !v.text(&text) {
		return
	}
	if wrong := wrongName(text); wrong != "" {
		v.fail("%s", wrong)
		return
	}
	*into = text
}

func readName(v value) {
	v.a.nameAt = v.n
	v.label(&v.a.spec.Name)
}

func readCwd(v value) {
	a, text := v.a, ""
	if !v.text(&text) {
		a.noCwd = true
		return
	}
	a.spec.Cwd = absolute(a.folder(), text)
	if a.options.Disk == nil {
		return
	}
	info, err := stat(a.options.Disk, a.spec.Cwd)
	switch {
	case err == nil && info.IsDir():
		return
	case err == nil:
		v.fail("%s is not a folder", a.spec.Cwd)
	case errors.Is(err, fs.ErrNotExist) && strings.HasPrefix(text, "~"):
		v.fail("no such folder: %s (~ is not expanded: write the whole path)", a.spec.Cwd)
	case errors.Is(err, fs.ErrNotExist):
		v.fail("no such folder: %s", a.spec.Cwd)
	default:
		v.fail("cannot look at %s: %v", a.spec.Cwd, err)
	}
	a.noCwd = true
}

// absolute returns a path that is relative to folder.
func absolute(folder, name string) string {
	if path.IsAbs(name) {
		return path.Clean(name)
	}
	return path.Join(folder, name)
}
