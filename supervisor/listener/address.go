package listener

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// key tells two addresses apart. Nothing in it is normalised. A unix socket's
// key is its folder's identity and its name, so that a path may be written in
// several ways and seen through another root.
type key struct {
	netns  uint64 // inode of the network namespace
	family uint16
	addr   [16]byte // the first 4 for AF_INET
	port   uint16
	scope  uint32
	v6only bool

	dev, dir uint64 // AF_UNIX: the folder's device and inode
	base     string // AF_UNIX: the last element of the path
}

func (k key) isUnix() bool { return k.family == unix.AF_UNIX }

// wildcard tells if the address is 0.0.0.0 or [::].
func (k key) wildcard() bool { return k.addr == [16]byte{} }

// mapped gives the IPv4 address within an IPv4-mapped IPv6 address.
func (k key) mapped() (v4 [16]byte, ok bool) {
	a := netip.AddrFrom16(k.addr)
	if k.family != unix.AF_INET6 || !a.Is4In6() {
		return v4, false
	}
	b := a.Unmap().As4()
	copy(v4[:], b[:])
	return v4, true
}

// samePort tells if both are TCP addresses with the same port in the same
// network namespace.
func (k key) samePort(w key) bool {
	return !k.isUnix() && !w.isUnix() && k.netns == w.netns && k.port == w.port
}

// covers tells if a socket on k gets every connection that one on w would
// get. It is asked only after the kernel has said EADDRINUSE for w.
func (k key) covers(w key) bool {
	if k == w {
		return true
	}
	if !k.samePort(w) {
		return false
	}
	v4, isMapped := w.mapped()
	switch {
	case k.family == unix.AF_INET && w.family == unix.AF_INET:
		return k.wildcard() || k.addr == w.addr
	case k.family == unix.AF_INET:
		return isMapped && (k.wildcard() || k.addr == v4)
	case w.family == unix.AF_INET:
		own, ok := k.mapped()
		return k.wildcard() && !k.v6only || ok && own == w.addr
	case k.wildcard() && (w.wildcard() || isMapped):
		return !k.v6only || w.wildcard() && w.v6only
	case k.wildcard():
		return true
	}
	return k.addr == w.addr && k.scope == w.scope
}

// String is the address as list shows it: tcp://[::]:3000.
func (k key) String() string {
	var a netip.Addr
	switch k.family {
	case unix.AF_UNIX:
		return "unix:" + k.base
	case unix.AF_INET:
		a = netip.AddrFrom4([4]byte(k.addr[:4]))
	default:
		a = netip.AddrFrom16(k.addr)
		if k.scope != 0 {
			a = a.WithZone(strconv.FormatUint(uint64(k.scope), 10))
		}
	}
	return "tcp://" + netip.AddrPortFrom(a, k.port).String()
}

// parseSockaddr reads the bytes that a worker gave to bind(2). For a TCP
// address with a port it gives its key without namespace and v6only, for a
// unix address its path (ip(7), ipv6(7), unix(7)). ok is false for whatever
// is none of our business: port 0, abstract names, other families, and what
// the kernel will refuse by itself.
func parseSockaddr(raw []byte) (k key, path string, ok bool) {
	if len(raw) < 2 {
		return k, "", false
	}
	k.family = binary.NativeEndian.Uint16(raw)
	switch k.family {
	case unix.AF_INET:
		if len(raw) < unix.SizeofSockaddrInet4 {
			return k, "", false
		}
		copy(k.addr[:4], raw[4:8])
	case unix.AF_INET6:
		// Without its last field it is the address of RFC 2133, which the
		// kernel still takes.
		if len(raw) < unix.SizeofSockaddrInet6-4 {
			return k, "", false
		}
		copy(k.addr[:], raw[8:24])
		if len(raw) >= unix.SizeofSockaddrInet6 {
			k.scope = binary.NativeEndian.Uint32(raw[24:])
		}
	case unix.AF_UNIX:
		path, _, _ = strings.Cut(string(raw[2:]), "\x00")
		return k, path, path != ""
	default:
		return k, "", false
	}
	k.port = binary.BigEndian.Uint16(raw[2:])
	return k, "", k.port != 0
}

// sockaddr writes a TCP key as bind(2) takes it.
func (k key) sockaddr() []byte {
	raw := make([]byte, unix.SizeofSockaddrInet6)
	binary.NativeEndian.PutUint16(raw, k.family)
	binary.BigEndian.PutUint16(raw[2:], k.port)
	if k.family == unix.AF_INET {
		copy(raw[4:], k.addr[:4])
		return raw[:unix.SizeofSockaddrInet4]
	}
	copy(raw[8:], k.addr[:])
	binary.NativeEndian.PutUint32(raw[24:], k.scope)
	return raw
}

// parseTCP reads the address of a declared TCP socket. The empty host is the
// wildcard of both families, localhost is 127.0.0.1; other names are refused,
// since what they mean may differ at each start.
func parseTCP(address string) (k key, err error) {
	host, port, err := splitHostPort(address)
	if err != nil {
		return k, err
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return k, fmt.Errorf("%q is not a port between 1 and 65535", port)
	}
	k.port = uint16(n)
	switch host {
	case "", "*":
		k.family = unix.AF_INET6
		return k, nil
	case "localhost":
		host = "127.0.0.1"
	}
	a, err := netip.ParseAddr(host)
	if err != nil {
		return k, fmt.Errorf("%q is not an IP address", host)
	}
	if a.Is4() {
		v4 := a.As4()
		k.family = unix.AF_INET
		copy(k.addr[:], v4[:])
		return k, nil
	}
	k.family, k.addr = unix.AF_INET6, a.As16()
	if zone := a.Zone(); zone != "" {
		n, err := strconv.ParseUint(zone, 10, 32)
		if err != nil {
			return k, fmt.Errorf("zone %q is not an interface's number", zone)
		}
		k.scope = uint32(n)
	}
	return k, nil
}

func splitHostPort(address string) (host, port string, err error) {
	i := strings.LastIndexByte(address, ':')
	if i < 0 {
		return "", "", fmt.Errorf("%q has no port", address)
	}
	host, port = address[:i], address[i+1:]
	if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
		return host[1 : len(host)-1], port, nil
	}
	if strings.ContainsAny(host, ":[]") {
		return "", "", fmt.Errorf("%q needs brackets around its IPv6 address", address)
	}
	return host, port, nil
}
