package listener

import (
	"errors"
	"strings"

	"golang.org/x/sys/unix"
)

// take gets a copy of the worker's socket and what is to be known of it. ok is
// false for what is no TCP or unix stream socket, or not of the family of its
// address (AF_UNSPEC: any).
func (r *reader) take(g target, fd int, family uint16) (w *wish, ok bool) {
	st, err := g.status()
	if err != nil {
		r.blind("the worker's process", err)
		return nil, false
	}
	w = &wish{m: r.m, tgid: st.tgid, fd: fd, sock: -1, again: r.again}
	pidfd, err := unix.PidfdOpen(st.tgid, 0)
	if err != nil {
		return nil, false
	}
	defer unix.Close(pidfd)
	if !r.valid() { // only now is pidfd known to be the caller's
		return nil, false
	}
	w.sock, err = r.t.takeFD(pidfd, fd)
	switch {
	case errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSYS):
		return r.takeBlind(g, w, err)
	case errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE):
		r.unavailable("too many open files", "raise the supervisor's limit of open files")
		return nil, false
	case err != nil:
		return nil, false // EBADF: the kernel says so
	}
	if !r.inspect(w, family) {
		unix.Close(w.sock)
		return nil, false
	}
	return w, true
}

// inspect finds out what the socket taken is, and if it is one of ours to share.
func (r *reader) inspect(w *wish, family uint16) bool {
	kind, err := unix.GetsockoptInt(w.sock, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil || kind != unix.SOCK_STREAM {
		return false
	}
	domain, err := unix.GetsockoptInt(w.sock, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil || family != unix.AF_UNSPEC && domain != int(family) {
		return false
	}
	if domain != unix.AF_UNIX {
		// Go's servers ask for MPTCP.
		proto, err := unix.GetsockoptInt(w.sock, unix.SOL_SOCKET, unix.SO_PROTOCOL)
		if err != nil || proto != unix.IPPROTO_TCP && proto != unix.IPPROTO_MPTCP {
			return false
		}
		w.mptcp = proto == unix.IPPROTO_MPTCP
	}
	if w.inode, err = inodeOf(w.sock); err != nil {
		return false
	}
	flags, err := unix.FcntlInt(uintptr(w.sock), unix.F_GETFL, 0)
	w.nonblock = flags&unix.O_NONBLOCK != 0
	return err == nil
}

// takeBlind learns from /proc what it can of a socket that can't be taken
// (pidfd_getfd is refused in some containers); the wish is then about a socket
// of our own, which substitute makes.
func (r *reader) takeBlind(g target, w *wish, why error) (*wish, bool) {
	inode, ok := socketInode(g.link(w.fd))
	flags, err := g.flags(w.fd)
	if !ok || err != nil || !strings.Contains(g.protocol(w.fd), "TCP") { // MPTCP, TCPv6
		r.unavailable("pidfd_getfd is refused: "+why.Error(), remedyPtrace)
		return nil, false
	}
	w.own, w.inode, w.nonblock = true, inode, flags&unix.O_NONBLOCK != 0
	r.t.do(func() {
		// At listen the worker has our socket already.
		if c := r.t.candidates[inode]; c != nil && c.own >= 0 {
			w.sock, _ = duplicate(c.own)
		}
	})
	return w, true
}

// substitute makes a socket in the stead of the worker's, in its likeness as
// far as it is known.
func (r *reader) substitute(g target, w *wish) bool {
	ours, err := newTarget(unix.Gettid()).netns()
	if err != nil || ours != w.key.netns {
		r.unavailable("pidfd_getfd is refused, and the worker is in another network namespace", remedyPtrace)
		return false
	}
	fd, err := unix.Socket(int(w.key.family), unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	if w.sock >= 0 {
		unix.Close(w.sock)
	}
	w.sock = fd
	if w.nonblock {
		setNonblock(fd)
	}
	if w.key.v6only {
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1)
	}
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1) // as nearly every server does
	w.inode, err = inodeOf(fd)
	return err == nil
}

// plain makes a TCP socket in the stead of an MPTCP one, which Go's servers ask
// for: that one takes no program to choose among the workers by.
func (r *reader) plain(w *wish) {
	fd, err := newLike(w.sock, w.key)
	if err != nil {
		return // then it gets a share that we make, or shares one
	}
	inode, err := inodeOf(fd)
	if err != nil {
		unix.Close(fd)
		return
	}
	unix.Close(w.sock)
	w.sock, w.inode, w.made, w.mptcp = fd, inode, true, false
}

// v6only is the socket's IPV6_V6ONLY. Of one that can't be taken it is guessed:
// a server that has bound 0.0.0.0 binds [::] beside it for IPv6 alone.
func (r *reader) v6only(w *wish, k key) (only bool) {
	if !w.own {
		n, err := unix.GetsockoptInt(w.sock, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY)
		return err == nil && n != 0
	}
	v4 := key{netns: k.netns, family: unix.AF_INET, port: k.port}
	r.t.do(func() {
		only = r.t.sockets[v4] != nil && r.t.sockets[v4].app == r.m.App
		for _, c := range r.t.candidates {
			only = only || c.key == v4 && c.by.App == r.m.App
		}
	})
	return only
}

// unconnected tells if a TCP socket is bound at most, or listens.
func unconnected(fd int) bool {
	info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		return false
	}
	return info.State == unix.BPF_TCP_CLOSE || info.State == unix.BPF_TCP_LISTEN
}
