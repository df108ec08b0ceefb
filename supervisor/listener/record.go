package listener

import (
	"maps"
	"net/netip"
	"path"
	"slices"

	"golang.org/x/sys/unix"
)

// Record is what has to be known of a held socket to hold it again, in a later
// daemon that has its descriptor: one for each share of an address. It is plain
// data, and the table never changes one that it has given away.
type Record struct {
	// Seq is the order of the socket's coming, and the number in its name in the
	// store (Name). It is never used twice.
	Seq   uint64 `json:"seq"`
	Inode uint64 `json:"inode"` // of the socket: what has another is not it

	App  string `json:"app"`  // "": it is nobody's
	Addr string `json:"addr"` // as in Socket, for whoever reads; what counts follows
	// Order is the order of the address's coming.
	Order uint64 `json:"order"`

	// Of a TCP address, as it was given to bind(2).
	Netns  uint64     `json:"netns,omitempty"` // inode of the network namespace
	IP     netip.Addr `json:"ip"`
	Port   uint16     `json:"port,omitempty"`
	Scope  uint32     `json:"scope,omitempty"`
	V6Only bool       `json:"v6only,omitempty"`

	// Of a unix address: the path as the daemon sees it, its folder, and its file.
	Path      string `json:"path,omitempty"`
	FolderDev uint64 `json:"folder_dev,omitempty"`
	Folder    uint64 `json:"folder,omitempty"`
	Dev       uint64 `json:"dev,omitempty"`
	File      uint64 `json:"file,omitempty"`

	// Of a socket that was given to the daemon: its name, and as which address it is
	// declared if not as its own.
	Given     bool   `json:"given,omitempty"`
	GivenName string `json:"given_name,omitempty"`
	As        string `json:"as,omitempty"`

	Declared bool `json:"declared,omitempty"`
	Adorned  bool `json:"adorned,omitempty"` // the file has its owner and mode

	Index     int  `json:"index"`               // in the kernel's SO_REUSEPORT group
	First     bool `json:"first,omitempty"`     // what workers share that are not even
	Listening bool `json:"listening,omitempty"` // false after a failed second listen(2)
	MPTCP     bool `json:"mptcp,omitempty"`

	Origin    uint64  `json:"origin,omitempty"`  // the worker that brought it; 0: the daemon
	Settled   bool    `json:"settled,omitempty"` // that one kept it open
	Owners    []Owner `json:"owners,omitempty"`  // ascending by Worker
	Last      uint64  `json:"last,omitempty"`    // the last that left it, if it is free
	Withdrawn bool    `json:"withdrawn,omitempty"`
}

// Owner is a worker that a recorded socket was given to.
type Owner struct {
	Worker   uint64   `json:"worker"`
	Slot     int      `json:"slot"`
	PID      int      `json:"pid,omitempty"`
	Even     bool     `json:"even,omitempty"`
	Standing Standing `json:"standing,omitempty"`
	Told     bool     `json:"told,omitempty"`    // it was withdrawn at some time
	Listens  []int    `json:"listens,omitempty"` // its processes that called listen
}

// Standing is a worker's part in the traffic: "" until it is admitted, "admitted",
// "withdrawn" or "lost" (Admit, Withdraw, Lost).
type Standing string

// Name is the socket's name in the store.
func (r Record) Name() string { return storeName(r.Seq) }

// standings are the words for where a worker stands, by number.
var standings = [...]Standing{booting: "", admitted: "admitted", withdrawn: "withdrawn", lost: "lost"}

// number is the standing of that name; booting for what is none.
func (s Standing) number() standing { return standing(max(0, slices.Index(standings[:], s))) }

// describe is the record of a share that is the i-th of its address.
func (h *share) describe(i int) Record {
	s := h.of
	r := Record{
		Seq: h.seq, Inode: h.inode, App: s.app, Addr: s.addr, Order: s.seq,
		Given: s.given, GivenName: s.name, As: s.as,
		Declared: s.declared, Adorned: s.adorned,
		Index: i, First: s.first == h, Listening: h.listening, MPTCP: h.mptcp,
		Origin: h.origin, Settled: h.settled, Last: h.last, Withdrawn: h.withdrawn,
	}
	if s.key.isUnix() {
		r.Path, r.Dev, r.File = s.path, s.dev, s.ino
		r.FolderDev, r.Folder = s.key.dev, s.key.dir
	} else {
		r.Netns, r.IP, r.Port, r.Scope, r.V6Only = s.key.netns, s.key.ip(), s.key.port, s.key.scope, s.key.v6only
	}
	for _, id := range slices.Sorted(maps.Keys(h.owners)) {
		o := h.owners[id]
		r.Owners = append(r.Owners, Owner{Worker: id, Slot: o.Slot, PID: o.PID, Even: o.Even,
			Standing: standings[o.standing], Told: o.told, Listens: slices.Clone(h.listeners[id])})
	}
	return r
}

// key is the address of a record.
func (r Record) key() key {
	if r.Path != "" {
		return key{family: unix.AF_UNIX, dev: r.FolderDev, dir: r.Folder, base: path.Base(r.Path)}
	}
	k := key{netns: r.Netns, port: r.Port, scope: r.Scope, v6only: r.V6Only}
	k.setIP(r.IP)
	return k
}

// ip is the address of a TCP key.
func (k key) ip() netip.Addr {
	if k.family == unix.AF_INET {
		return netip.AddrFrom4([4]byte(k.addr[:4]))
	}
	return netip.AddrFrom16(k.addr)
}

// setIP sets family and address; a zone is none of them.
func (k *key) setIP(a netip.Addr) {
	switch {
	case a.Is4():
		v4 := a.As4()
		k.family = unix.AF_INET
		copy(k.addr[:], v4[:])
	case a.Is6():
		k.family, k.addr = unix.AF_INET6, a.As16()
	}
}

// keyOf is the TCP address that a socket is bound to, in the kernel's words: without
// namespace, with a scope only if the address is link-local, and with v6only only if
// it is the wildcard (bind(2) sets it for every other address of IPv6). The port is
// 0 if it is not bound.
func keyOf(fd int) (k key, ok bool) {
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return k, false
	}
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		k.family, k.port = unix.AF_INET, uint16(sa.Port)
		copy(k.addr[:], sa.Addr[:])
	case *unix.SockaddrInet6:
		k.family, k.port, k.addr, k.scope = unix.AF_INET6, uint16(sa.Port), sa.Addr, sa.ZoneId
		only, err := unix.GetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY)
		if err != nil {
			return k, false
		}
		k.v6only = only != 0 && k.wildcard()
	default:
		return k, false
	}
	return k, true
}

// isAt tells if a socket is bound to a TCP address.
func isAt(fd int, k key) bool {
	is, ok := keyOf(fd)
	is.netns = k.netns
	if is.scope == 0 {
		is.scope = k.scope // given, and of no meaning for the address
	}
	if !k.wildcard() {
		is.v6only = k.v6only
	}
	return ok && is == k
}
