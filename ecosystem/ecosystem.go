// Package ecosystem turns an ecosystem file into validated apps, and two
// versions of it into a plan. It is pure: what it needs of the disk it reads
// through an fs.FS that its caller gives it.
//
// Invariants:
//   - every complaint about a file is found in one pass and carries its line;
//   - a key is never silently without effect: an unknown one is an error with
//     the nearest known one, one that does not work yet is an error, one of
//     pm2's without a meaning here is a warning;
//   - one table (Keys) is what the parser goes by and what the README shows;
//   - nothing runs at package initialisation (the exec shim pays for it with
//     every worker);
//   - the cost of a file is bounded, whatever its aliases expand to.
package ecosystem

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"supervisor/supervisor/state"
)

// Options are what a file's meaning depends on beside its text.
type Options struct {
	File      string  // absolute path; relative paths in the file start at its folder
	EnvName   *string // --env NAME; nil or "": none
	Instances *string // -i: instead of the file's instances, for each app
	Rename    *string // --name: instead of the file's name, for its only app
	CPUs      int     // usable cpus (affinity and cgroup quota), for instances: max
	Disk      fs.FS   // the root folder, os.DirFS("/"); nil: nothing on disk is checked
	Path      string  // PATH, for script and interpreter
}

// Ecosystem is a valid file.
type Ecosystem struct {
	Apps     []state.Spec // at least one, in file order, with every default filled in
	Written  []Written    // of each app, where its keys stand
	Warnings Complaints   // pm2's keys that have no effect here

	Metrics   *state.Listen // where the daemon answers /metrics while the file is in use; nil: nowhere
	MetricsAt Place         // where the file says that
}

// Parse validates the text of an ecosystem file, which is YAML or JSON: a map
// with the list `apps`, a list of apps, or one app. The error is Complaints.
func Parse(src []byte, options Options) (*Ecosystem, error) {
	p := &parser{options: options, keys: Keys(), environments: map[string]bool{}}
	p.spellings = spellings(p.keys)
	doc, broken := decode(src)
	switch {
	case broken != nil:
		broken.File = options.File
		p.complaints = append(p.complaints, *broken)
	case doc == nil || len(doc.Content) == 0:
		p.complain(&node{line: 1, col: 1}, "", "the file is empty: write apps: and a list of apps (supervisor init writes an example)")
	default:
		p.file(doc.Content[0])
	}
	if len(p.complaints) > 0 {
		p.complaints.sort(options.File)
		return nil, p.complaints
	}
	p.warnings.sort(options.File)
	eco := &Ecosystem{Metrics: p.metrics, MetricsAt: p.metricsAt, Warnings: p.warnings}
	for _, a := range p.apps {
		a.spec.Place = len(eco.Apps)
		eco.Apps = append(eco.Apps, *a.spec)
		eco.Written = append(eco.Written, a.written())
	}
	return eco, nil
}

// parser goes through one file.
type parser struct {
	options      Options
	keys         []Key
	spellings    map[string]int
	apps         []*app
	environments map[string]bool // NAME of every env_NAME
	metrics      *state.Listen
	metricsAt    Place
	complaints   Complaints
	warnings     Complaints
}

func (p *parser) complain(n *node, path, message string) {
	if n.broken {
		return
	}
	p.add(&p.complaints, Complaint{p.options.File, n.line, n.col, path, message})
}

func (p *parser) warn(n *node, path, message string) {
	p.add(&p.warnings, Complaint{p.options.File, n.line, n.col, path, message})
}

func (p *parser) add(to *Complaints, c Complaint) {
	switch len(*to) {
	case MaxComplaints:
		c.Path, c.Message = "", "there is more; the rest is not listed"
	case MaxComplaints + 1:
		return
	}
	*to = append(*to, c)
}

// full tells that further complaints are not kept, so that they need not be made.
func (p *parser) full() bool { return len(p.complaints) > MaxComplaints }

// file reads the top of a file, then what concerns more than one app.
func (p *parser) file(y *yaml.Node) {
	b := &builder{complain: func(line, col int, path, message string) {
		p.complain(&node{line: line, col: col}, path, message)
	}}
	top := b.build(y, nil, 0)
	if b.stopped {
		return
	}
	apps, prefix := p.top(top)
	for i, n := range apps {
		if p.full() {
			return
		}
		where := prefix
		if prefix != "" || top.kind == list {
			where = fmt.Sprintf("%s[%d]", prefix, i)
		}
		if n.kind != mapping {
			p.complain(n, where, "expected an app (a map of keys, with a script), found "+n.show())
			continue
		}
		p.apps = append(p.apps, newApp(p, n, where))
	}
	if len(apps) == 0 {
		return
	}
	p.overrides()
	for _, a := range p.apps {
		a.read()
	}
	p.together()
}

// top finds the apps in the three forms of a file, and the path they are at.
func (p *parser) top(top *node) (apps []*node, prefix string) {
	const empty = "no apps: write a list of apps, each with a script"
	switch {
	case top.null():
		p.complain(&node{line: 1, col: 1}, "", "the file is empty: write apps: and a list of apps (supervisor init writes an example)")
		return nil, ""
	case top.kind == scalar:
		p.complain(top, "", "expected a map with the key apps, found "+top.show())
		return nil, ""
	case top.kind == list:
		if len(top.items) == 0 {
			p.complain(top, "", empty)
		}
		return top.items, ""
	}
	if top.get("apps") == nil && top.get("pm2") == nil && p.singleApp(top) {
		return []*node{top}, ""
	}
	return p.topKeys(top, empty)
}

// topKeys reads a file that is a map: apps and what stands beside it.
func (p *parser) topKeys(top *node, empty string) (apps []*node, prefix string) {
	var found *node
	typo := false
	for _, f := range top.fields {
		name := f.key.text
		switch {
		case name == "apps" || name == "pm2":
			if found != nil {
				p.complain(f.key, name, "pm2 is another word for apps: write one of them")
				continue
			}
			found, prefix, apps = f.value, name, f.value.items
			switch {
			case f.value.kind == mapping:
				apps = []*node{f.value}
			case f.value.kind == scalar && !f.value.null():
				p.complain(f.value, name, "expected a list of apps, found "+f.value.show())
			case len(apps) == 0:
				p.complain(f.value, name, empty)
			}
		case name == "metrics":
			p.readMetrics(f)
		case name == "static":
			p.complain(f.key, name, "pm2's file server is not here: run a web server as an app")
		case name == "deploy":
			p.warn(f.key, name, "pm2's deploy has no effect here")
		case strings.HasPrefix(name, "x-"): // a place for anchors
		default:
			typo = true
			p.complain(f.key, name, unknown(name, []string{"apps", "metrics"}))
		}
	}
	if found == nil && !typo {
		p.complain(top, "", `no apps: the key "apps" is missing`)
	}
	return apps, prefix
}

// singleApp tells whether a map is one app rather than a file of apps.
func (p *parser) singleApp(top *node) bool {
	return slices.ContainsFunc(top.fields, func(f field) bool {
		i, ok := p.spellings[f.key.text]
		return ok && p.keys[i].Name != "version" // many files of other programs have one
	})
}

// overrides validates the command line's share once, not per app.
func (p *parser) overrides() {
	whole := func(option, message string) {
		p.complain(&node{}, option, message)
	}
	if text := p.options.Instances; text != nil {
		if _, err := Instances(*text, p.options.CPUs); err != nil {
			whole("-i", err.Error())
			p.options.Instances = nil
		}
	}
	if name := p.options.Rename; name != nil {
		if len(p.apps) > 1 {
			whole("--name", fmt.Sprintf("the file has %d apps: --name is for a file with one", len(p.apps)))
			p.options.Rename = nil
		} else if wrong := wrongName(*name); wrong != "" {
			whole("--name", wrong)
			p.options.Rename = nil
		}
	}
}

// together checks what only shows when all apps are known.
func (p *parser) together() {
	names, addresses, ports := map[string]*app{}, map[string]*app{}, map[string]*app{}
	lines := map[string]int{}
	for _, a := range p.apps {
		if first := names[a.spec.Name]; first != nil && a.spec.Name != "" {
			p.complain(a.nameAt, join(a.path, "name"), fmt.Sprintf("the name %q is taken by the app at line %d", a.spec.Name, first.nameAt.line))
		} else {
			names[a.spec.Name] = a
		}
		for i, l := range a.spec.Listen {
			key, at := addressKey(l), a.listenAt[i]
			if first := addresses[key]; first != nil {
				p.complain(at.n, at.path, fmt.Sprintf("%s is listened on by the app %q at line %d already", l, first.spec.Name, lines[key]))
				continue
			}
			addresses[key], lines[key] = a, at.n.line
		}
		if a.port == nil {
			continue
		}
		port := a.spec.Env["PORT"]
		if first := ports[port]; first != nil {
			p.warn(a.port, join(a.path, "port"), fmt.Sprintf("port %s is also that of the app %q at line %d", port, first.spec.Name, first.port.line))
			continue
		}
		ports[port] = a
	}
	p.dependencies(names)
	if name := p.options.EnvName; name != nil && *name != "" && !p.environments[*name] {
		p.complain(&node{}, "--env", p.noEnvironment(*name))
	}
}

// noEnvironment is the message about an --env that no app has.
func (p *parser) noEnvironment(name string) string {
	var known []string
	for have := range p.environments {
		known = append(known, "env_"+have)
	}
	if len(known) == 0 {
		return fmt.Sprintf("no app has env_%s", name)
	}
	slices.Sort(known)
	return fmt.Sprintf("no app has env_%s, there is %s", name, strings.Join(known, ", "))
}

// folder returns where the file's relative paths start.
func (p *parser) folder() string { return path.Dir(p.options.File) }

// notYet is the message about a key whose effect comes with a later version.
func notYet(what string) string { return what + " is not supported yet" }
