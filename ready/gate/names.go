package gate

import (
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"strings"
)

// Listener is a listening TCP socket that is passed to a tableflip program.
type Listener struct {
	FD int // the caller's; Child.Files has it, and nobody here closes it
	// Address is HOST:PORT as the user declared it: the host is an IP address (IPv6 in
	// brackets), localhost, or nothing (or *) for both families' wildcard.
	Address string
}

// flipFile is one entry of the names pipe: what the program has to ask for, to the letter, to
// be given the descriptor.
type flipFile struct {
	network, address string
	fd               int
}

// aliases lists the ways in which a Go program may write the address of each listener, since
// tableflip compares texts: under its own text, and under every other one whose bind the
// listener would stand in the way of, as long as it is the only one to do so. Unix sockets are
// never among them: the library unlinks those that it has no use for.
func aliases(listeners []Listener) []flipFile {
	var files []flipFile
	add := func(network, address string, fd int) {
		if !slices.ContainsFunc(files, func(f flipFile) bool { return f.network == network && f.address == address }) {
			files = append(files, flipFile{network, address, fd})
		}
	}
	held := holdings(listeners)
	for i, l := range listeners {
		for _, network := range flipNetworks {
			if held[i].clashes(parseFlip(network, l.Address)) {
				add(network, l.Address, l.FD)
			}
		}
	}
	for i, l := range listeners {
		for _, host := range []string{"", "0.0.0.0", "[::]", "localhost", "127.0.0.1", "[::1]", held[i].host} {
			for _, network := range flipNetworks {
				address := host + ":" + held[i].port
				asked := parseFlip(network, address)
				if held[i].clashes(asked) && only(held, asked) {
					add(network, address, l.FD)
				}
			}
		}
	}
	return files
}

// holdings is what the listeners take. 0.0.0.0 is IPv4 alone here, and beside it the other
// wildcard is IPv6 alone.
func holdings(listeners []Listener) []flipAddr {
	held := make([]flipAddr, len(listeners))
	v4 := map[string]bool{} // by port
	for i, l := range listeners {
		held[i] = parseFlip("tcp", l.Address)
		if held[i].host == "0.0.0.0" {
			held[i].v6 = netip.Addr{}
			v4[held[i].port] = true
		}
	}
	for i, h := range held {
		if h.v6.IsValid() && h.v4.IsUnspecified() && v4[h.port] {
			held[i].v4 = netip.Addr{}
		}
	}
	return held
}

var flipNetworks = [...]string{"tcp", "tcp4", "tcp6"}

// only reports whether just one of them stands in the way of asked.
func only(held []flipAddr, asked flipAddr) bool {
	n := 0
	for _, h := range held {
		if h.clashes(asked) {
			n++
		}
	}
	return n == 1
}

// flipAddr is what a Go program means by an address (net.Listen): what it takes of each family,
// nothing, one address or all.
type flipAddr struct {
	host, port string // of the text, the host canonical
	v4, v6     netip.Addr
}

// parseFlip reads an address in the way of net.Listen: a wildcard with network tcp is that of
// both families, in whichever way it is written. What it can't read clashes with nothing.
func parseFlip(network, address string) (a flipAddr) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return a
	}
	a.port = port
	if host == "" || host == "*" {
		a.v4, a.v6 = netip.IPv4Unspecified(), netip.IPv6Unspecified()
	} else if host == "localhost" {
		a.v4 = netip.AddrFrom4([4]byte{127, 0, 0, 1})
		if network == "tcp6" {
			a.v4, a.v6 = netip.Addr{}, netip.IPv6Loopback()
		}
	} else if ip, err := netip.ParseAddr(host); err != nil {
		return flipAddr{port: port}
	} else if ip = ip.Unmap(); ip.IsUnspecified() && network == "tcp" {
		a.v4, a.v6 = netip.IPv4Unspecified(), netip.IPv6Unspecified()
		a.host = bracketed(ip)
	} else if ip.Is4() {
		a.v4, a.host = ip, ip.String()
	} else {
		a.v6, a.host = ip, bracketed(ip)
	}
	switch network {
	case "tcp4":
		a.v6 = netip.Addr{}
	case "tcp6":
		a.v4 = netip.Addr{}
	}
	return a
}

func bracketed(ip netip.Addr) string {
	if strings.Contains(ip.String(), ":") {
		return "[" + ip.String() + "]"
	}
	return ip.String()
}

// clashes reports whether only one of both can be bound.
func (a flipAddr) clashes(b flipAddr) bool {
	return a.port == b.port && (overlap(a.v4, b.v4) || overlap(a.v6, b.v6))
}

func overlap(a, b netip.Addr) bool {
	return a.IsValid() && b.IsValid() && (a == b || a.IsUnspecified() || b.IsUnspecified())
}

// namesType is how encoding/gob introduces the type [][]string: two type definitions, -65 and
// -64, as messages of their own.
const namesType = "\x0d\xff\x81\x02\x01\x02\xff\x82\x00\x01\xff\x80\x00\x00" +
	"\x0b\x7f\x02\x01\x02\xff\x80\x00\x01\x0c\x00\x00"

// encodeNames writes the names as encoding/gob would write them as a [][]string. By hand: the
// package would cost each start of every worker its init.
func encodeNames(files []flipFile) []byte {
	value := []byte{0xff, 0x82, 0x00} // of type 65, no struct
	value = appendUint(value, uint64(len(files)))
	for _, f := range files {
		value = appendUint(value, 3)
		for _, s := range []string{"listener", f.network, f.address} {
			value = append(appendUint(value, uint64(len(s))), s...)
		}
	}
	b := appendUint([]byte(namesType), uint64(len(value)))
	return append(b, value...)
}

// appendUint is gob's unsigned integer: below 128 one byte, else its length, negated, before it.
func appendUint(b []byte, n uint64) []byte {
	if n < 128 {
		return append(b, byte(n))
	}
	var whole [8]byte
	binary.BigEndian.PutUint64(whole[:], n)
	short := whole[:]
	for short[0] == 0 {
		short = short[1:]
	}
	return append(append(b, byte(-len(short))), short...)
}
