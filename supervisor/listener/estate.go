package listener

import (
	"path"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// estate is what an earlier daemon has left, while it is looked through.
type estate struct {
	take    func(name string) (fd int, ok bool)
	sockets map[key]*socket
	owners  map[uint64]*owner
	strays  []stray
	last    uint64 // the greatest number
	numbers map[uint64]bool
	inodes  map[uint64]bool
}

func newEstate(take func(string) (int, bool)) *estate {
	return &estate{
		take: take, sockets: map[key]*socket{}, owners: map[uint64]*owner{},
		numbers: map[uint64]bool{}, inodes: map[uint64]bool{},
	}
}

// inherit takes a recorded socket over, if it is there and the one on record.
func (e *estate) inherit(r Record) bool {
	if r.Seq == 0 || r.Seq > maxSeq || e.numbers[r.Seq] {
		return false
	}
	e.numbers[r.Seq], e.last = true, max(e.last, r.Seq)
	fd, ok := e.take(r.Name())
	if !ok {
		return false
	}
	unix.CloseOnExec(fd)
	s := e.socketOf(r)
	if e.inodes[r.Inode] || s == nil || !r.is(fd, s.key) {
		inode, _ := inodeOf(fd)
		e.strays = append(e.strays, stray{r.Seq, fd, inode})
		return false
	}
	e.sockets[s.key], e.inodes[r.Inode] = s, true
	h := &share{
		of: s, seq: r.Seq, fd: fd, inode: r.Inode, mptcp: protocolOf(fd) == unix.IPPROTO_MPTCP,
		listening: listens(fd), origin: r.Origin, since: time.Now(), settled: r.Settled,
		last: r.Last, withdrawn: r.Withdrawn,
	}
	s.shares = append(s.shares, h)
	if r.First || s.first == nil {
		s.first = h
	}
	e.entitle(h, r)
	h.freed = h.freedAt()
	return true
}

// socketOf is the address of a record; nil if it is none, or another app's.
func (e *estate) socketOf(r Record) *socket {
	k := r.key()
	if k.family == 0 || !k.isUnix() && k.port == 0 || k.isUnix() && !filepath.IsAbs(r.Path) {
		return nil
	}
	if s := e.sockets[k]; s != nil {
		if s.app != r.App || k.isUnix() {
			return nil
		}
		return s
	}
	s := &socket{key: k, app: r.App, addr: k.String(), seq: r.Order, given: r.Given, name: r.GivenName, as: r.As, declared: r.Declared, adorned: r.Adorned}
	if k.isUnix() {
		s.path, s.addr, s.dev, s.ino = r.Path, "unix:"+r.Path, r.Dev, r.File
	}
	return s
}

// is tells if a descriptor is the socket on record.
func (r Record) is(fd int, k key) bool {
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFSOCK || st.Ino != r.Inode {
		return false
	}
	if kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE); err != nil || kind != unix.SOCK_STREAM {
		return false
	}
	if !k.isUnix() {
		p := protocolOf(fd)
		return isAt(fd, k) && (p == unix.IPPROTO_TCP || p == unix.IPPROTO_MPTCP)
	}
	name, ok := pathOf(fd)
	return ok && path.Base(name) == k.base && sameFile(r.Path, r.Dev, r.File) &&
		unix.Lstat(r.Path, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFSOCK
}

// entitle gives a share to the workers that had it.
func (e *estate) entitle(h *share, r Record) {
	h.owners = map[uint64]*owner{}
	for _, w := range r.Owners {
		if w.Worker == 0 {
			continue
		}
		o := e.owners[w.Worker]
		if o == nil {
			o = &owner{
				Worker:   Worker{ID: w.Worker, App: r.App, Slot: w.Slot, PID: w.PID, Even: w.Even},
				standing: w.Standing.number(), told: w.Told,
			}
			e.owners[w.Worker] = o
		}
		if o.App != r.App {
			continue
		}
		h.owners[w.Worker] = o
		for _, pid := range w.Listens {
			h.heard(w.Worker, pid)
		}
	}
}

// collect looks for what was stored and is on no record yet. What is in the group
// of an address takes its place there, as the kernel has numbered it already.
func (e *estate) collect() {
	first := e.last + 1
	for seq := first; seq < first+maxStrays; seq++ {
		fd, ok := e.take(storeName(seq))
		if !ok {
			continue
		}
		unix.CloseOnExec(fd)
		e.last = seq
		inode, err := inodeOf(fd)
		s := e.groupOf(fd)
		if err != nil || s == nil || e.inodes[inode] {
			e.strays = append(e.strays, stray{seq, fd, inode})
			continue
		}
		e.inodes[inode] = true
		s.shares = append(s.shares, &share{
			of: s, seq: seq, fd: fd, inode: inode, mptcp: protocolOf(fd) == unix.IPPROTO_MPTCP,
			listening: true, since: time.Now(), freed: time.Now(), owners: map[uint64]*owner{},
		})
	}
}

// groupOf finds the address that a socket listens on beside those on record.
func (e *estate) groupOf(fd int) *socket {
	joins, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT)
	if err != nil || joins == 0 || !listens(fd) {
		return nil
	}
	for _, s := range e.sockets {
		if !s.key.isUnix() && isAt(fd, s.key) && netnsOf(fd) == netnsOf(s.first.fd) {
			return s
		}
	}
	return nil
}

// close drops all of it; it stays stored.
func (e *estate) close() {
	for _, s := range e.sockets {
		for _, h := range s.shares {
			unix.Close(h.fd)
		}
	}
	for _, s := range e.strays {
		unix.Close(s.fd)
	}
}

// protocolOf is the protocol of a socket, -1 if it is none.
func protocolOf(fd int) int {
	p, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PROTOCOL)
	if err != nil {
		return -1
	}
	return p
}

// listens tells if a socket is in the state of listening.
func listens(fd int) bool {
	n, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	return err == nil && n != 0
}

// netnsOf is the cookie of a socket's network namespace; 0 before Linux 5.14.
func netnsOf(fd int) uint64 {
	cookie, _ := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	return cookie
}

// pathOf is the path that a unix socket was bound to.
func pathOf(fd int) (name string, ok bool) {
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return "", false
	}
	u, ok := sa.(*unix.SockaddrUnix)
	if !ok || u.Name == "" || u.Name[0] == '@' || slices.Contains([]byte(u.Name), 0) {
		return "", false
	}
	return u.Name, true
}
