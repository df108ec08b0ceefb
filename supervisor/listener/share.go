package listener

import (
	"errors"
	"fmt"
	"slices"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// free tells if no living worker has the share.
func (h *share) free() bool {
	for _, o := range h.owners {
		if o.standing != lost {
			return false
		}
	}
	return true
}

// waiting is how many connections of a TCP share wait to be accepted (of a
// socket that listens, tcpi_unacked is the length of that queue).
func (h *share) waiting() int {
	if h.of.key.isUnix() {
		return 0
	}
	info, err := unix.GetsockoptTCPInfo(h.fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		return 0
	}
	return int(info.Unacked)
}

// nextFree is the free share that the next worker gets: one where connections
// wait, else the first in order; nil if none is free.
func (s *socket) nextFree() *share {
	var next *share
	for _, h := range s.shares {
		switch {
		case !h.free():
		case h.waiting() > 0:
			return h
		case next == nil:
			next = h
		}
	}
	return next
}

// shareFor is the share of an address that a worker gets; nil: none is left.
func (s *socket) shareFor(o *owner) *share {
	if !o.Even || s.key.isUnix() {
		return s.first
	}
	for _, h := range s.shares {
		if h.owners[o.ID] != nil {
			return h
		}
	}
	return s.nextFree()
}

// provide is shareFor that makes a share if none is left, and gives the first
// where that is impossible, which is said.
func (t *Table) provide(s *socket, o *owner) *share {
	if h := s.shareFor(o); h != nil {
		return h
	}
	h, err := t.makeShare(s)
	if err != nil {
		t.unavailable(o.ID, o.App, "no even share of "+s.addr+": "+err.Error(),
			"this worker shares a socket with another, as with `balance: shared`")
		return s.first
	}
	return h
}

// makeShare makes a share in the likeness of the first.
func (t *Table) makeShare(s *socket) (*share, error) {
	if len(s.shares) >= maxShares {
		return nil, fmt.Errorf("it has %d already", maxShares)
	}
	fd, err := newLike(s.first.fd, s.key)
	if err != nil {
		return nil, err
	}
	h := &share{of: s, fd: fd}
	if h.inode, err = inodeOf(fd); err == nil {
		if errno := t.bindBeside(s, fd, s.key.sockaddr()); errno != 0 {
			err = errno
		}
	}
	if err == nil {
		err = unix.Listen(fd, max(minBacklog, t.somaxconn))
	}
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	t.add(s, h)
	return h, nil
}

// errNetns is why a socket can't be made in a worker's stead.
var errNetns = errors.New("it is in another network namespace")

// alike are the options that a socket made in the stead of another takes from
// it, as far as it has them: those that connections inherit or bind asks for.
var alike = [...][2]int{
	{unix.SOL_SOCKET, unix.SO_REUSEADDR},
	{unix.SOL_SOCKET, unix.SO_KEEPALIVE},
	{unix.IPPROTO_TCP, unix.TCP_NODELAY},
	{unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT},
	{unix.IPPROTO_TCP, unix.TCP_FASTOPEN},
	{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE},
	{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL},
	{unix.IPPROTO_TCP, unix.TCP_KEEPCNT},
	{unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT},
	{unix.IPPROTO_IP, unix.IP_FREEBIND},
	{unix.IPPROTO_IP, unix.IP_TRANSPARENT},
}

// newLike makes a TCP socket for an address with the options of another.
func newLike(fd int, k key) (int, error) {
	ours, err := newTarget(unix.Gettid()).netns()
	if err != nil {
		return -1, err
	}
	if ours != k.netns {
		return -1, errNetns
	}
	made, err := unix.Socket(int(k.family), unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	for _, option := range alike {
		theirs, err := unix.GetsockoptInt(fd, option[0], option[1])
		mine, _ := unix.GetsockoptInt(made, option[0], option[1])
		if err == nil && theirs != mine {
			_ = unix.SetsockoptInt(made, option[0], option[1], theirs) // it may lack the privilege
		}
	}
	if k.family == unix.AF_INET6 {
		only := 0
		if k.v6only {
			only = 1
		}
		if err := unix.SetsockoptInt(made, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, only); err != nil {
			unix.Close(made)
			return -1, err
		}
	}
	if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0); err == nil && flags&unix.O_NONBLOCK != 0 {
		setNonblock(made)
	}
	return made, nil
}

// bindBeside binds a socket at an address that is held, in its group. The
// kernel has only sockets of one user in a group, that of their making, which
// fchown(2) changes (with CAP_CHOWN).
func (t *Table) bindBeside(s *socket, fd int, raw []byte) unix.Errno {
	t.spread(s)
	before := reusePort(fd, true)
	errno := bindRaw(fd, raw)
	if errno == unix.EADDRINUSE {
		var group, own unix.Stat_t
		if unix.Fstat(s.first.fd, &group) == nil && unix.Fstat(fd, &own) == nil && group.Uid != own.Uid &&
			unix.Fchown(fd, int(group.Uid), -1) == nil {
			if errno = bindRaw(fd, raw); errno != 0 {
				_ = unix.Fchown(fd, int(own.Uid), -1)
			}
		}
	}
	if errno != 0 && errno != unix.EINVAL {
		reusePort(fd, before)
	}
	return errno
}

// bindRaw is bind(2) with an address as it lies in memory. Of TCP it can't block.
func bindRaw(fd int, raw []byte) unix.Errno {
	_, _, errno := unix.Syscall(unix.SYS_BIND, uintptr(fd), uintptr(unsafe.Pointer(&raw[0])), uintptr(len(raw)))
	return errno
}

// abandon resets what waits in a free share that nobody will take, since no
// worker boots that would: that of a worker that was withdrawn, and that of one
// that has crashed if a later one serves meanwhile. The clients see it and may
// try again, instead of waiting for ever. It tells if there are free shares too
// young to be judged; the others are judged again when a worker is admitted or
// detached.
func (t *Table) abandon() (young bool) {
	for _, s := range t.sockets {
		if len(s.shares) < 2 {
			continue
		}
		for _, h := range s.shares {
			if h.freed.IsZero() || !h.free() || h.chosen() {
				continue
			}
			if time.Since(h.freed) < settleTime {
				young = true
				continue
			}
			if (h.withdrawn || s.servedAfter(h.last)) && !t.boots(s) {
				t.reset(h)
			}
		}
	}
	return young
}

// servedAfter tells if a worker that was started after another is admitted.
func (s *socket) servedAfter(id uint64) bool {
	for _, h := range s.shares {
		for _, o := range h.owners {
			if o.ID > id && o.standing == admitted {
				return true
			}
		}
	}
	return false
}

// boots tells if an even worker of the app may still ask for a share of s, and
// would get the one where connections wait.
func (t *Table) boots(s *socket) bool {
	for _, o := range t.owners {
		if o.App == s.app && o.Even && o.standing == booting &&
			!slices.ContainsFunc(s.shares, func(h *share) bool { return h.owners[o.ID] != nil }) {
			return true
		}
	}
	return false
}

// reset accepts and resets what waits in a share that nobody has open.
func (t *Table) reset(h *share) {
	count := 0
	for n := h.waiting(); n > 0; n-- {
		fds := []unix.PollFd{{Fd: int32(h.fd), Events: unix.POLLIN}}
		if ready, err := unix.Poll(fds, 0); err != nil || ready == 0 || fds[0].Revents&unix.POLLIN == 0 {
			break
		}
		fd, _, err := unix.Accept4(h.fd, unix.SOCK_CLOEXEC)
		if err != nil {
			break
		}
		_ = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
		unix.Close(fd)
		count++
	}
	if count > 0 {
		t.facts(Abandoned{App: h.of.app, Addr: h.of.addr, Count: count})
	}
}
