package usage

import (
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// tcpListen is the state of a listening socket in TCP_INFO (tcp_states.h).
const tcpListen = 10

// Local is the address that a listener is bound to, by which the connections
// that came through it are recognised.
type Local struct {
	// Addr is the address of a tcp listener. An unspecified address stands
	// for every address of its port: [::] for those of IPv4 too, as a dual
	// stack socket accepts them.
	Addr netip.AddrPort
	// Path is the name of a unix stream listener as it was bound: a path, or
	// "@name" for an abstract one. Then Addr is not looked at.
	Path string
}

// LocalOf returns the address of the listener fd, by getsockname(2).
func LocalOf(fd int) (Local, error) {
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return Local{}, fmt.Errorf("cannot read the address of the listener: %w", err)
	}
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return Local{Addr: netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))}, nil
	case *unix.SockaddrInet6:
		return Local{Addr: netip.AddrPortFrom(netip.AddrFrom16(sa.Addr), uint16(sa.Port))}, nil
	case *unix.SockaddrUnix:
		return Local{Path: sa.Name}, nil
	}
	return Local{}, fmt.Errorf("cannot use a listener of type %T", sa)
}

// covers says whether a connection whose local end is addr came through l.
func (l Local) covers(addr netip.AddrPort) bool {
	if l.Path != "" || l.Addr.Port() != addr.Port() {
		return false
	}
	bound, got := l.Addr.Addr().Unmap(), addr.Addr().Unmap()
	if bound.IsUnspecified() {
		return bound.Is6() || got.Is4()
	}
	return bound.WithZone("") == got
}

// Queue is the accept queue of a listening socket: connections that the
// kernel has completed and no worker has taken yet.
type Queue struct {
	Length, Max int
}

// AcceptQueue reads the queue of the listening tcp socket fd, by TCP_INFO
// (tcpi_unacked and tcpi_sacked have this meaning on a listener). A unix
// listener has no such figure: EOPNOTSUPP.
func AcceptQueue(fd int) (Queue, error) {
	info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		return Queue{}, fmt.Errorf("cannot read the accept queue: %w", err)
	}
	if info.State != tcpListen {
		return Queue{}, fmt.Errorf("cannot read the accept queue: the socket does not listen")
	}
	return Queue{Length: int(info.Unacked), Max: int(info.Sacked)}, nil
}

// Drops returns how many connection attempts the listening tcp socket fd has
// dropped since it exists, by sock_diag(7) SK_MEMINFO: most because the
// accept queue was full, which a client sees as a second of delay. It counts
// modulo 2^32, so two values are subtracted, not compared. EOPNOTSUPP for
// other sockets.
func Drops(fd int) (uint32, error) {
	local, err := LocalOf(fd)
	if err != nil {
		return 0, err
	}
	if local.Path != "" {
		return 0, fmt.Errorf("cannot read the drops of a unix listener: %w", unix.EOPNOTSUPP)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return 0, fmt.Errorf("cannot read the drops of %s: %w", local.Addr, err)
	}
	family := uint8(unix.AF_INET)
	if local.Addr.Addr().Is6() {
		family = unix.AF_INET6
	}
	proto, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PROTOCOL)
	if err != nil {
		return 0, fmt.Errorf("cannot read the drops of %s: %w", local.Addr, err)
	}
	var drops uint32
	found := 0
	q := diagQuery{family: family, protocol: unix.IPPROTO_TCP, states: 1 << tcpListen, port: local.Addr.Port(), memInfo: true}
	err = q.each(func(s diagSocket) {
		// The inode of an MPTCP listener (Go's default) belongs to the
		// outer socket; the tcp one below it, which drops, has none.
		owned := s.inode == uint32(st.Ino)
		below := proto == unix.IPPROTO_MPTCP && s.inode == 0 && s.local == local.Addr
		if (owned || below) && s.hasDrops {
			drops, found = drops+s.drops, found+1
		}
	})
	if err != nil {
		return 0, fmt.Errorf("cannot read the drops of %s: %w", local.Addr, err)
	}
	if found == 0 {
		return 0, fmt.Errorf("cannot read the drops of %s: the kernel does not list the socket", local.Addr)
	}
	return drops, nil
}
