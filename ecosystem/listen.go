package ecosystem

import (
	"net/netip"
	"path"
	"strconv"
	"strings"

	"supervisor/supervisor/state"
)

// maxUnixPath is sun_path of unix(7) less its NUL; maxFDName is that of
// LISTEN_FDNAMES (sd_listen_fds(3)).
const (
	maxUnixPath = 107
	maxFDName   = 255
	maxHost     = 253 // RFC 1035, 2.3.4
)

// readListen reads one socket or a list of them.
//
//	socket  = [ name "=" ] address | {address: ..., name: ...}
//	address = "tcp://" host ":" port | "unix:" path
//	host    = an IPv4 address, an IPv6 address in brackets, a host name, or nothing (all addresses)
func readListen(v value) {
	switch {
	case v.n.null():
	case v.n.kind == list:
		for i := range v.n.items {
			v.item(i).socket()
		}
	default:
		v.socket()
	}
}

// socket reads one socket in its text or its map form.
func (v value) socket() {
	var l state.Listen
	address := v
	if v.n.kind == mapping {
		if !v.fields([]string{"address", "name"}, func(string, value) {}) {
			return
		}
		if name := v.n.get("name"); name != nil && !(value{v.a, name, join(v.path, "name"), ""}).fdName(&l.Name) {
			return
		}
		address = value{v.a, v.n.get("address"), join(v.path, "address"), ""}
		if address.n == nil {
			v.fail("a socket needs an address: tcp://127.0.0.1:3000 or unix:run/app.sock")
			return
		}
	}
	var text string
	if !address.text(&text) {
		return
	}
	if name, rest, ok := strings.Cut(text, "="); ok && !strings.ContainsAny(name, ":/") {
		if v.n.kind == mapping {
			address.fail("the name of a socket is in the key name here, not before the address")
			return
		}
		named := &node{kind: scalar, tag: "!!str", text: name, line: v.n.line, col: v.n.col}
		if !(value{v.a, named, v.path, ""}).fdName(&l.Name) {
			return
		}
		text = rest
	}
	if address.address(text, &l) {
		v.a.spec.Listen = append(v.a.spec.Listen, l)
		v.a.listenAt = append(v.a.listenAt, address)
	}
}

// fdName reads the name that the program finds in LISTEN_FDNAMES.
func (v value) fdName(into *string) bool {
	var text string
	if !v.text(&text) {
		return false
	}
	if len(text) > maxFDName || strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == ':' || r == '=' }) {
		v.fail("%s is not a name of a socket: ASCII letters, digits and signs, without : and =", quote(text))
		return false
	}
	*into = text
	return true
}

// address reads tcp://host:port or unix:path.
func (v value) address(text string, into *state.Listen) bool {
	if rest, ok := strings.CutPrefix(text, "tcp://"); ok {
		into.Network, into.Address = "tcp", rest
		return v.tcp(rest)
	}
	if rest, ok := strings.CutPrefix(text, "unix:"); ok {
		rest = strings.TrimPrefix(rest, "//")
		switch {
		case rest == "" || strings.HasSuffix(rest, "/"):
			v.fail("%s has no file: write unix:run/app.sock (relative to cwd) or unix:/run/app.sock", quote(text))
			return false
		case strings.HasPrefix(rest, "@"):
			v.fail("%s is an abstract socket: only sockets in a folder can be declared", quote(text))
			return false
		}
		into.Network, into.Address = "unix", absolute(v.a.spec.Cwd, rest)
		if len(into.Address) > maxUnixPath {
			v.fail("%s is too long for a unix socket: at most %d bytes", quote(into.Address), maxUnixPath)
			return false
		}
		return true
	}
	hint := ""
	if host, port, ok := cutPort(text); ok {
		hint = ": write tcp://" + host + ":" + port
	} else if digits(text) {
		hint = ": write tcp://127.0.0.1:" + text + ", or tcp://:" + text + " for all addresses"
	} else if path.IsAbs(text) {
		hint = ": write unix:" + text
	}
	v.fail("%s is not an address (tcp://HOST:PORT or unix:PATH)%s", quote(text), hint)
	return false
}

// tcp checks HOST:PORT.
func (v value) tcp(text string) bool {
	host, port, ok := cutPort(text)
	if !ok {
		v.fail("%s is not an address: write tcp://127.0.0.1:3000, tcp://[::1]:3000 or tcp://:3000", quote("tcp://"+text))
		return false
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > maxPort || port[0] == '0' {
		v.fail("%s is not a port: a number from 1 to %d", quote(port), maxPort)
		return false
	}
	inner, bracket := strings.CutPrefix(host, "[")
	if bracket {
		inner = strings.TrimSuffix(inner, "]")
	}
	ip, err := netip.ParseAddr(inner)
	switch {
	case host == "", err == nil && ip.Is6() == bracket:
		return true
	case !bracket && err != nil && hostName(host):
		return true
	}
	v.fail("%s is not a host: an IPv4 address, an IPv6 address in brackets, a host name, or nothing for all addresses", quote(host))
	return false
}

// cutPort splits HOST:PORT at the last colon, and reports whether both can be meant.
func cutPort(text string) (host, port string, ok bool) {
	i := strings.LastIndexByte(text, ':')
	if i < 0 {
		return "", "", false
	}
	host, port = text[:i], text[i+1:]
	return host, port, digits(port) && !strings.Contains(host, "/") &&
		(strings.HasPrefix(host, "[") == strings.HasSuffix(host, "]"))
}

// hostName tells whether text could be a host's name (RFC 1123, and _ as in container networks).
func hostName(text string) bool {
	for label := range strings.SplitSeq(text, ".") {
		if label == "" || label[0] == '-' || strings.ContainsFunc(label, func(r rune) bool {
			return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_')
		}) {
			return false
		}
	}
	// All digits would be a wrong IPv4 address, not a name.
	return len(text) <= maxHost && !digits(strings.ReplaceAll(text, ".", ""))
}

// addressKey is equal for two spellings of one address. What covers what (a
// wildcard and an address of its own) is the kernel's to say, at bind.
func addressKey(l state.Listen) string {
	if l.Network == "unix" {
		return l.String()
	}
	host, port, _ := cutPort(l.Address)
	host = strings.ToLower(strings.Trim(host, "[]"))
	if ip, err := netip.ParseAddr(host); err == nil {
		host = ip.String()
	} else if host == "" {
		host = netip.IPv6Unspecified().String()
	}
	return host + " " + port
}
