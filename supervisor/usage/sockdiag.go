package usage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Numbers of linux/sock_diag.h and linux/inet_diag.h that x/sys has not.
const (
	sockDiagByFamily    = 20
	inetDiagSKMemInfo   = 7
	inetDiagReqProtocol = 2 // attribute: protocol numbers above 255

	sizeInetDiagReq = 56
	sizeInetDiagMsg = 72

	diagBuffer         = 64 << 10
	diagTimeoutSeconds = 5
)

// diagQuery asks sock_diag(7) for the tcp sockets of our network namespace.
type diagQuery struct {
	family   uint8  // AF_INET or AF_INET6
	protocol int    // IPPROTO_TCP or IPPROTO_MPTCP
	states   uint32 // bits by tcp state
	port     uint16 // local port, 0 for any
	memInfo  bool   // ask for the drops
}

// diagSocket is one answer.
type diagSocket struct {
	local    netip.AddrPort
	inode    uint32 // 0: no process has it open (not accepted yet, or closed)
	drops    uint32
	hasDrops bool
}

// each calls f for every socket that matches.
func (q diagQuery) each(f func(diagSocket)) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return fmt.Errorf("cannot open sock_diag: %w", err)
	}
	defer unix.Close(fd)
	// The kernel answers at once; the limit is for a sandbox that swallows it.
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: diagTimeoutSeconds}); err != nil {
		return fmt.Errorf("cannot set up sock_diag: %w", err)
	}
	if err := unix.Sendto(fd, q.request(), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("cannot ask sock_diag: %w", err)
	}
	buf := make([]byte, diagBuffer)
	for {
		n, _, err := unix.Recvfrom(fd, buf, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("cannot read from sock_diag: %w", err)
		}
		done, err := parseDiag(buf[:n], f)
		if done || err != nil {
			return err
		}
	}
}

// request is the netlink message: nlmsghdr, inet_diag_req_v2 and, for a
// protocol that does not fit its byte, an attribute.
func (q diagQuery) request() []byte {
	size := unix.SizeofNlMsghdr + sizeInetDiagReq
	wide := q.protocol > 0xff
	if wide {
		size += unix.SizeofRtAttr + 4
	}
	ne := binary.NativeEndian
	b := make([]byte, size)
	ne.PutUint32(b[0:], uint32(size))
	ne.PutUint16(b[4:], sockDiagByFamily)
	ne.PutUint16(b[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	r := b[unix.SizeofNlMsghdr:]
	r[0], r[1] = q.family, uint8(q.protocol)
	if wide {
		r[1] = unix.IPPROTO_TCP
		a := r[sizeInetDiagReq:]
		ne.PutUint16(a[0:], unix.SizeofRtAttr+4)
		ne.PutUint16(a[2:], inetDiagReqProtocol)
		ne.PutUint32(a[4:], uint32(q.protocol))
	}
	if q.memInfo {
		r[2] = 1 << (inetDiagSKMemInfo - 1)
	}
	ne.PutUint32(r[4:], q.states)
	binary.BigEndian.PutUint16(r[8:], q.port)
	return b
}

// parseDiag walks the messages of one datagram; done at the end of the dump.
func parseDiag(b []byte, f func(diagSocket)) (done bool, err error) {
	ne := binary.NativeEndian
	for len(b) >= unix.SizeofNlMsghdr {
		size, kind := int(ne.Uint32(b)), ne.Uint16(b[4:])
		if size < unix.SizeofNlMsghdr || size > len(b) {
			return false, fmt.Errorf("broken message of sock_diag: %d of %d bytes", size, len(b))
		}
		body := b[unix.SizeofNlMsghdr:size]
		switch kind {
		case unix.NLMSG_DONE:
			return true, nil
		case unix.NLMSG_ERROR:
			if len(body) < 4 {
				return false, fmt.Errorf("broken error of sock_diag")
			}
			if errno := -int32(ne.Uint32(body)); errno != 0 {
				return false, fmt.Errorf("sock_diag refused: %w", unix.Errno(errno))
			}
		case sockDiagByFamily:
			s, err := parseDiagSocket(body)
			if err != nil {
				return false, err
			}
			f(s)
		}
		b = b[min(nlAlign(size), len(b)):]
	}
	return false, nil
}

// parseDiagSocket reads inet_diag_msg and the attributes behind it.
func parseDiagSocket(b []byte) (diagSocket, error) {
	var s diagSocket
	if len(b) < sizeInetDiagMsg {
		return s, fmt.Errorf("broken answer of sock_diag: %d bytes", len(b))
	}
	ne := binary.NativeEndian
	port := binary.BigEndian.Uint16(b[4:])
	addr := netip.AddrFrom16([16]byte(b[8:24]))
	if b[0] == unix.AF_INET {
		addr = netip.AddrFrom4([4]byte(b[8:12]))
	}
	s.local = netip.AddrPortFrom(addr, port)
	s.inode = ne.Uint32(b[68:])
	const drops = unix.SK_MEMINFO_DROPS * 4
	for a := b[sizeInetDiagMsg:]; len(a) >= unix.SizeofRtAttr; {
		size, kind := int(ne.Uint16(a)), ne.Uint16(a[2:])
		if size < unix.SizeofRtAttr || size > len(a) {
			return s, fmt.Errorf("broken attribute of sock_diag")
		}
		v := a[unix.SizeofRtAttr:size]
		if kind == inetDiagSKMemInfo && len(v) >= drops+4 {
			s.drops, s.hasDrops = ne.Uint32(v[drops:]), true
		}
		a = a[min(nlAlign(size), len(a)):]
	}
	return s, nil
}

// nlAlign rounds up to the alignment of netlink messages and attributes.
func nlAlign(n int) int { return (n + unix.NLMSG_ALIGNTO - 1) &^ (unix.NLMSG_ALIGNTO - 1) }
