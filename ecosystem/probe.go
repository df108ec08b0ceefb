package ecosystem

import (
	"strings"
	"time"

	"github.com/google/shlex"

	"supervisor/supervisor/state"
)

// A probe's defaults and bounds.
const (
	probeInterval    = 200 * time.Millisecond
	probeTimeout     = time.Second
	minProbeInterval = 10 * time.Millisecond
	maxProbeInterval = time.Minute
	minProbeTimeout  = 10 * time.Millisecond
	maxProbeTimeout  = 5 * time.Minute
)

const (
	httpScheme = "http://"
	tcpScheme  = "tcp://"
	unixScheme = "unix:"
	execScheme = "exec:"
)

// readProbe reads the key ready.
//
//	ready = probe | {kind: probe without its scheme, or with it, interval: ..., timeout: ...}
//	kind  = "http" | "tcp" | "unix" | "exec"
//	probe = "http://" host [ ":" port ] [ path ] | "http://unix:" socket [ ":" path ] | "tcp://" host ":" port | "unix:" path | "exec:" words
func readProbe(v value) {
	probe := state.Probe{Interval: probeInterval, Timeout: probeTimeout}
	if v.n.kind == scalar && !v.n.null() && off(v.n) {
		return
	}
	good := false
	if v.n.kind == mapping {
		good = v.probeMap(&probe)
	} else {
		var text string
		good = v.text(&text) && v.probe(text, &probe)
	}
	if good {
		v.a.spec.Ready = &probe
	}
}

// probeMap reads the map form.
func (v value) probeMap(into *state.Probe) bool {
	kinds, good := 0, true
	good = v.fields([]string{"http", "tcp", "unix", "exec", "interval", "timeout"}, func(key string, v value) {
		switch key {
		case "interval":
			v.duration(&into.Interval, minProbeInterval, maxProbeInterval)
			return
		case "timeout":
			v.duration(&into.Timeout, minProbeTimeout, maxProbeTimeout)
			return
		}
		var text string
		if kinds++; !v.text(&text) {
			good = false
			return
		}
		scheme := map[string]string{"http": httpScheme, "tcp": tcpScheme, "unix": unixScheme, "exec": execScheme}[key]
		if !strings.HasPrefix(text, scheme) {
			text = scheme + text
		}
		good = v.probe(text, into) && good
	}) && good
	if kinds != 1 {
		v.fail("a probe is one of http, tcp, unix and exec, this has %d", kinds)
		return false
	}
	return good
}

// probe reads the text form. What has a variable in it is checked when the
// worker's environment is known.
func (v value) probe(text string, into *state.Probe) bool {
	if _, rest, open := strings.Cut(text, "${"); open && !strings.Contains(rest, "}") {
		v.fail("%s has a ${ without its }", quote(text))
		return false
	}
	switch {
	case strings.HasPrefix(text, httpScheme):
		into.Kind, into.Target = state.ProbeHTTP, text
		return v.url(text)
	case strings.HasPrefix(text, tcpScheme):
		into.Kind, into.Target = state.ProbeTCP, strings.TrimPrefix(text, tcpScheme)
		return strings.Contains(text, "$") || v.tcp(into.Target)
	case strings.HasPrefix(text, unixScheme):
		into.Kind, into.Target = state.ProbeUnix, strings.TrimPrefix(strings.TrimPrefix(text, unixScheme), "//")
		return v.socketPath(into.Target)
	case strings.HasPrefix(text, execScheme):
		into.Kind, into.Target = state.ProbeExec, strings.TrimSpace(strings.TrimPrefix(text, execScheme))
		return v.command(into.Target)
	case strings.HasPrefix(text, "https://"):
		v.fail("https is not spoken here: write tcp://HOST:PORT, or exec: curl -fsk %s", short(text))
	default:
		v.fail("%s is not a probe: http://HOST:PORT/PATH, tcp://HOST:PORT, unix:PATH or exec: COMMAND", quote(text))
	}
	return false
}

// url checks http://HOST[:PORT][/PATH].
func (v value) url(text string) bool {
	rest := strings.TrimPrefix(text, httpScheme)
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	host, target := rest[:end], rest[end:]
	if socket, ok := strings.CutPrefix(rest, unixScheme); ok {
		socket, target, _ = strings.Cut(socket, ":")
		if target != "" && target[0] != '/' {
			v.fail("%s is not a URL of a socket: http://unix:run/health.sock:/path", quote(text))
			return false
		}
		if !v.socketPath(socket) {
			return false
		}
		host = "$"
	}
	switch {
	case strings.ContainsFunc(target, func(r rune) bool { return r <= ' ' || r >= 0x7f }):
		v.fail("%s has a character in its path that a URL can't have (RFC 3986): write it as %%XX", quote(text))
	case strings.Contains(target, "#"):
		v.fail("%s has a fragment, which no server is sent", quote(text))
	case strings.Contains(host, "@"):
		v.fail("%s has a user in it: write exec: curl ... for that", quote(text))
	case strings.Contains(host, "$"):
		return true
	case host == "":
		v.fail("%s has no host", quote(text))
	default:
		if _, _, ok := cutPort(host); !ok {
			host += ":80"
		}
		return v.tcp(host)
	}
	return false
}

func (v value) socketPath(path string) bool {
	switch {
	case path == "" || strings.HasSuffix(path, "/"):
		v.fail("the probe has no file: write unix:run/health.sock (relative to cwd) or unix:/run/health.sock")
	case len(path) > maxUnixPath && !strings.Contains(path, "$"):
		v.fail("%s is too long for a unix socket: at most %d bytes", quote(path), maxUnixPath)
	default:
		return true
	}
	return false
}

func (v value) command(text string) bool {
	words, err := shlex.Split(text)
	switch {
	case err != nil:
		v.fail("cannot split %s like a shell would: a quote or a backslash is not closed", quote(text))
	case len(words) == 0:
		v.fail("exec: has no command")
	default:
		return true
	}
	return false
}
