package export

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/google/shlex"

	"supervisor/supervisor/state"
)

// port is one that an app listens on.
type port struct {
	name   string // of the file, "" for none
	number int
	env    string // the variable that the program takes it from, "" for none
}

// ports are those that the file names: in listen, and in PORT. What else the program
// opens only the supervisor would see.
func (a App) ports() []port {
	var all []port
	add := func(p port) {
		for i := range all {
			if all[i].number == p.number {
				all[i].env = p.env
				return
			}
		}
		all = append(all, p)
	}
	for _, l := range a.Spec.Listen {
		if n, ok := portOf(l.Address); ok && l.Network == "tcp" {
			add(port{name: l.Name, number: n})
		}
	}
	if n, err := strconv.Atoi(a.Spec.Env["PORT"]); err == nil && n > 0 && n <= 65535 {
		add(port{number: n, env: "PORT"})
	}
	return all
}

// portOf cuts the number off host:port.
func portOf(address string) (int, bool) {
	n, err := strconv.Atoi(address[strings.LastIndexByte(address, ':')+1:])
	return n, err == nil && n > 0 && n <= 65535
}

// loopback reports whether host:port is one that nobody outside reaches.
func loopback(address string) bool {
	host := strings.Trim(address[:max(0, strings.LastIndexByte(address, ':'))], "[]")
	return host == "localhost" || strings.HasPrefix(host, "127.") || host == "::1"
}

// sockets warns of what is listened on and can't be carried over.
func (r *report) sockets(a App) {
	for _, l := range a.Spec.Listen {
		switch {
		case l.Network != "tcp":
			r.warn("listen", "%s: a unix socket is not reached from outside; the program has to open it itself", l)
		case loopback(l.Address):
			r.warn("listen", "%s is not reached from outside: listen on every address", l)
		}
	}
	if len(a.Spec.Listen) > 0 {
		r.warn("listen", "no socket is passed on (LISTEN_FDS): the program has to open it itself")
	}
	if len(a.ports()) == 0 {
		r.warn("", "no port is known (listen, port): nothing is led to it, and it is ready when it runs")
	}
}

// kind is how a worker is asked whether it is ready.
type kind int

const (
	asksNothing kind = iota
	asksHTTP
	asksTCP
	asksCommand
)

// check is a question that the cluster can put.
type check struct {
	kind    kind
	host    string // of asksHTTP and asksTCP; "": the worker's own address
	port    int
	path    string
	command []string
}

// check returns what the cluster is to ask: the app's probe, else whether its first port
// takes a connection. why says what of the probe can't be asked there.
func (a App) check() (c check, why string) {
	if a.Spec.Ready != nil {
		if c, why = a.probe(); why == "" {
			return c, ""
		}
	}
	if ports := a.ports(); len(ports) > 0 {
		return check{kind: asksTCP, port: ports[0].number}, why
	}
	return check{}, why
}

func probed(a App) bool {
	c, _ := a.check()
	return c.kind != asksNothing
}

// readyBy says what counts as ready, for a warning.
func readyBy(a App) string {
	c, _ := a.check()
	switch c.kind {
	case asksHTTP:
		return fmt.Sprintf("it is ready when :%d%s answers", c.port, c.path)
	case asksTCP:
		return fmt.Sprintf("it is ready when port %d takes a connection", c.port)
	case asksCommand:
		return "it is ready when the command of its probe says so"
	}
	return "it is ready when it runs; write a ready probe"
}

// probe is the app's own.
func (a App) probe() (check, string) {
	target, missing := a.expand(a.Spec.Ready.Target)
	if missing != "" {
		return check{}, fmt.Sprintf("$%s is not known there", missing)
	}
	switch a.Spec.Ready.Kind {
	case state.ProbeHTTP:
		u, err := url.Parse(target)
		if err != nil || strings.HasPrefix(target, "http://unix:") {
			return check{}, "a unix socket can't be asked from outside"
		}
		n, ok := portOf(u.Host)
		if !ok {
			n = 80
		}
		path := u.EscapedPath()
		if u.RawQuery != "" {
			path += "?" + u.RawQuery
		}
		return check{kind: asksHTTP, host: foreign(u.Host), port: n, path: "/" + strings.TrimPrefix(path, "/")}, ""
	case state.ProbeTCP:
		n, ok := portOf(target)
		if !ok {
			return check{}, fmt.Sprintf("%s has no number for a port", target)
		}
		return check{kind: asksTCP, host: foreign(target), port: n}, ""
	case state.ProbeExec:
		words, err := shlex.Split(target)
		if err != nil || len(words) == 0 {
			return check{}, "the command can't be split into words"
		}
		return check{kind: asksCommand, command: words}, ""
	}
	return check{}, "a unix socket can't be asked from outside"
}

// foreign is the host of an address that is not the worker's own machine.
func foreign(address string) string {
	if loopback(address) || !strings.Contains(address, ":") && loopback(address+":80") {
		return ""
	}
	host := address
	if i := strings.LastIndexByte(address, ':'); i >= 0 && !strings.HasSuffix(address, "]") {
		host = address[:i]
	}
	host = strings.Trim(host, "[]")
	if host == "0.0.0.0" || host == "::" {
		return ""
	}
	return host
}

// expand replaces $NAME and ${NAME} by the app's env; missing is the first that is not
// there, as those of the supervisor are not (SUPERVISOR_WORKER).
func (a App) expand(text string) (expanded, missing string) {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(text, "$")
		b.WriteString(before)
		if !found {
			return b.String(), missing
		}
		name, rest := after[:nameLength(after)], after[nameLength(after):]
		if inner, braced := strings.CutPrefix(after, "{"); braced {
			n := nameLength(inner)
			if name, rest = inner[:n], strings.TrimPrefix(inner[n:], "}"); len(rest) == len(inner[n:]) {
				name = ""
			}
		}
		if name == "" {
			b.WriteByte('$')
			text = after
			continue
		}
		value, ok := a.Spec.Env[name]
		if !ok && missing == "" {
			missing = name
		}
		b.WriteString(value)
		text = rest
	}
}

// nameLength is how many bytes at the start of text are a variable's name (POSIX XBD 3.216).
func nameLength(text string) int {
	for i := range len(text) {
		c := text[i]
		if c != '_' && (c|0x20 < 'a' || c|0x20 > 'z') && (i == 0 || c < '0' || c > '9') {
			return i
		}
	}
	return len(text)
}
