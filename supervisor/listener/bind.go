package listener

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// wish is a bind or listen call of a worker with what its reader found out.
type wish struct {
	m    *member
	tgid int
	fd   int // the worker's descriptor

	// The worker's socket, or the one that we made in its stead (own): a
	// copy that the reader closes after the call.
	sock     int
	own      bool
	inode    uint64
	nonblock bool

	key  key    // bind, and listen of a unix socket
	addr string // bind: as shown
	path string // AF_UNIX: as we see it
	raw  []byte // bind of a TCP address

	dev, ino uint64 // AF_UNIX: the file at path, 0 if there is none

	listens bool // it is a listen
	backlog int

	looked suspects // what was found open in /proc since the last question
	looks  int      // how often
	lost   bool     // it was looked for what dead workers have left
}

// verdict is the table's answer to a wish.
type verdict struct {
	proceed bool       // let the kernel do what the worker asked for
	errno   unix.Errno // what the call says
	holder  string     // EADDRINUSE: our app that has the address, else ""
	refused string     // the address to report as refused, "" for none

	give    *socket    // put it over the worker's descriptor
	copy    int        // a copy to be put, with give; the reader closes it
	adorn   bool       // with give: its file has to get owner and mode
	sibling *candidate // the same with a socket that another process bound
	look    suspects   // look whether these are open, and ask again
}

func refusal(errno unix.Errno) verdict { return verdict{errno: errno} }

// inUse is the EADDRINUSE that is reported.
func inUse(addr, holder string) verdict {
	return verdict{errno: unix.EADDRINUSE, refused: addr, holder: holder}
}

// bind decides about a bind of a TCP address with a port.
func (t *Table) bind(w *wish) verdict {
	// a. A port that this worker has tried and closed again.
	t.drop(w.looked)
	w.looked = nil
	if w.looks == 0 {
		tried := t.suspects(func(s *socket) bool { return s.origin == w.m.ID && s.key.samePort(w.key) })
		if len(tried) > 0 {
			return verdict{look: tried}
		}
	}
	// b. The address is held.
	if s := t.sockets[w.key]; s != nil {
		return t.grant(s, w, w.addr)
	}
	// c. The worker's own socket, bound by us.
	errno := t.bindSocket(w)
	if errno != unix.EADDRINUSE {
		return refusal(errno) // 0 among them
	}
	// d. What is held by this app covers the address.
	for _, s := range t.of(func(s *socket) bool { return s.app == w.m.App && s.key.covers(w.key) }) {
		return t.grant(s, w, w.addr)
	}
	for _, c := range t.candidates {
		if c.by.App == w.m.App && c.inode != w.inode && c.key.covers(w.key) {
			return verdict{sibling: c}
		}
	}
	// What is open nowhere was lost by a worker that died. It waits for a
	// successor, but not in the way of one that wants another address.
	if !w.lost {
		w.lost = true
		lost := t.suspects(func(s *socket) bool { return s.app == w.m.App && w.key.covers(s.key) })
		if len(lost) > 0 {
			return verdict{look: lost}
		}
	}
	return inUse(w.addr, t.holderOf(w.key))
}

// bindSocket binds the worker's open file with the bytes that the worker gave,
// so that every option it has set stays. bind(2) of a TCP address can't block.
func (t *Table) bindSocket(w *wish) unix.Errno {
	_, _, errno := unix.Syscall(unix.SYS_BIND, uintptr(w.sock), uintptr(unsafe.Pointer(&w.raw[0])), uintptr(len(w.raw)))
	c := t.candidates[w.inode]
	if errno == unix.EINVAL && c != nil && c.key == w.key {
		// We have bound it, and a signal kept the answer from its thread.
		return 0
	}
	if errno != 0 {
		return errno
	}
	c = &candidate{key: w.key, addr: w.addr, inode: w.inode, tgid: w.tgid, fd: w.fd, by: w.m, own: -1}
	if w.own {
		own, err := duplicate(w.sock)
		if err != nil {
			return unix.EMFILE
		}
		c.own = own
	}
	t.remember(c)
	t.tell(w.m, Bound{Worker: w.m.ID, App: w.m.App, Addr: c.addr})
	return 0
}

// grant gives a held socket to a worker that asked for its address.
func (t *Table) grant(s *socket, w *wish, asked string) verdict {
	if s.app != w.m.App {
		return inUse(asked, "app "+s.app)
	}
	if s.inode == w.inode {
		return verdict{} // it has it: the answer was lost to a signal
	}
	own, err := duplicate(s.file(w.m.Slot))
	if err != nil {
		return refusal(unix.ENFILE)
	}
	if w.nonblock {
		setNonblock(s.fd)
	}
	s.handing++
	s.version++
	adorn := s.declared && s.key.isUnix() && !s.adorned
	s.adorned = s.adorned || adorn
	return verdict{give: s, copy: own, adorn: adorn}
}

// granted says that a grant was carried out, or that it could not be.
func (t *Table) granted(s *socket, m *member, ok bool) {
	s.handing--
	if ok {
		t.tell(m, Bound{Worker: m.ID, App: m.App, Addr: s.addr})
	}
}

// bindUnix decides about a bind of a path. Only a declared path, or one that
// nobody has unlinked, is shared.
func (t *Table) bindUnix(w *wish) verdict {
	s := t.sockets[w.key]
	if s == nil {
		s = t.declaredPath(w.path)
	}
	switch {
	case s == nil:
	case s.app == w.m.App && s.declared:
		return t.grant(s, w, w.addr)
	case w.ino != 0 && w.ino == s.ino && w.dev == s.dev:
		return t.grant(s, w, w.addr) // or refuse, to another app
	}
	t.remember(&candidate{key: w.key, addr: w.addr, path: w.path, inode: w.inode, tgid: w.tgid, fd: w.fd, by: w.m, own: -1})
	return verdict{proceed: true}
}

// declaredPath finds a declared unix socket whose folder was made anew.
func (t *Table) declaredPath(path string) *socket {
	for _, s := range t.sockets {
		if s.declared && s.path != "" && s.path == path {
			return s
		}
	}
	return nil
}

// keepsPath tells if an app has a declared unix socket at a path, so that no
// worker of it may unlink it.
func (t *Table) keepsPath(app string, k key, path string) bool {
	s := t.sockets[k]
	if s == nil {
		s = t.declaredPath(path)
	}
	return s != nil && s.declared && s.app == app
}

// holderOf names our app that holds what keeps an address from being bound.
func (t *Table) holderOf(k key) string {
	for _, s := range t.sockets {
		if s.key.covers(k) || k.covers(s.key) {
			return "app " + s.app
		}
	}
	return ""
}

// listen decides about a listen on a TCP or unix stream socket.
func (t *Table) listen(w *wish) verdict {
	t.drop(w.looked)
	w.looked = nil
	if s := t.inodes[w.inode]; s != nil {
		return t.relisten(s, w)
	}
	c := t.candidates[w.inode]
	if c == nil {
		return verdict{proceed: true} // port 0, or nothing that we have seen
	}
	if s := t.sockets[c.key]; s != nil {
		if !s.key.isUnix() || s.declared {
			// Both were bound with SO_REUSEADDR before either listened.
			return t.grant(s, w, c.addr)
		}
		if s.app != w.m.App {
			return verdict{proceed: true}
		}
		t.close(s) // its file was unlinked, or c could not have bound
	}
	if v, full := t.crowded(w); full {
		return v
	}
	return t.listenFirst(c, w)
}

// relisten is a listen on a held socket.
func (t *Table) relisten(s *socket, w *wish) verdict {
	if s.app != w.m.App {
		return verdict{proceed: true}
	}
	if err := t.listenAgain(s, w.backlog); err != nil {
		return verdict{errno: err.(unix.Errno), refused: s.addr, holder: t.holderOf(s.key)}
	}
	t.listens(s, w.m, w.tgid)
	return verdict{}
}

// listenFirst makes a candidate a held socket.
func (t *Table) listenFirst(c *candidate, w *wish) verdict {
	fd, err := duplicate(w.sock)
	if err != nil {
		t.unavailable(w.m.ID, w.m.App, "too many open files", "raise the supervisor's limit of open files")
		return verdict{proceed: true}
	}
	err = unix.Listen(fd, max(w.backlog, t.somaxconn))
	if err != nil {
		unix.Close(fd)
	}
	if err == unix.EADDRINUSE {
		for _, s := range t.of(func(s *socket) bool { return s.app == w.m.App && s.key.covers(c.key) }) {
			return t.grant(s, w, c.addr)
		}
		return inUse(c.addr, t.holderOf(c.key))
	}
	if err != nil {
		return refusal(err.(unix.Errno))
	}
	t.forget(c)
	s := &socket{key: c.key, app: w.m.App, addr: c.addr, fd: fd, inode: c.inode, origin: w.m.ID}
	s.path, s.dev, s.ino = c.path, w.dev, w.ino
	t.hold(s)
	t.listens(s, w.m, w.tgid)
	return verdict{}
}

// crowded limits what a worker can make us hold; what it has closed again
// doesn't count.
func (t *Table) crowded(w *wish) (verdict, bool) {
	brought := 0
	for _, s := range t.sockets {
		if s.origin == w.m.ID {
			brought++
		}
	}
	if brought < maxSockets {
		return verdict{}, false
	}
	if w.looks == 0 {
		return verdict{look: t.suspects(func(s *socket) bool { return s.origin == w.m.ID })}, true
	}
	t.unavailable(w.m.ID, w.m.App, "it listens on too many addresses at once", "the others are not shared")
	return verdict{proceed: true}, true
}

func setNonblock(fd int) {
	if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0); err == nil && flags&unix.O_NONBLOCK == 0 {
		_, _ = unix.FcntlInt(uintptr(fd), unix.F_SETFL, flags|unix.O_NONBLOCK)
	}
}
