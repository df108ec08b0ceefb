package listener

import (
	"time"

	"golang.org/x/sys/unix"

	"supervisor/supervisor/fault"
)

// wish is a bind or listen call of a worker with what its reader found out.
type wish struct {
	m    *member
	tgid int
	fd   int // the worker's descriptor

	// The worker's socket, or the one that we made in its stead (own: it
	// can't be taken; made: it is MPTCP): a copy that the reader closes after
	// the call.
	sock     int
	own      bool
	made     bool
	mptcp    bool
	inode    uint64
	nonblock bool

	key  key    // bind, and listen of a unix socket
	addr string // bind: as shown
	path string // AF_UNIX: as we see it
	raw  []byte // bind of a TCP address

	dev, ino uint64 // AF_UNIX: the file at path, 0 if there is none

	listens bool // it is a listen
	backlog int
	again   bool // somebody may have begun with it
	strange bool // the socket is none that was bound for the worker

	looked suspects  // what was found open in /proc since the last question
	looks  int       // how often
	lost   bool      // it was looked for what dead workers have left
	until  time.Time // how long it waits for siblings, if it does
}

// verdict is the table's answer to a wish.
type verdict struct {
	proceed bool       // let the kernel do what the worker asked for
	errno   unix.Errno // what the call says
	holder  string     // EADDRINUSE: our app that has the address, else ""
	refused string     // the address to report as refused, "" for none

	give    *share          // put it over the worker's descriptor
	copy    int             // a copy to be put, with give; the reader closes it
	fresh   bool            // with give: the worker did not own it before
	adorn   bool            // with give: its file has to get owner and mode
	sibling *candidate      // the same with a socket that another process bound
	look    suspects        // look whether these are open, and ask again
	wait    <-chan struct{} // ask again when it is closed
	later   bool            // leave it in hand
	strange bool            // find out what was bound, and ask again
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
		tried := t.suspects(func(h *share) bool { return h.origin == w.m.ID && h.of.key.samePort(w.key) })
		if len(tried) > 0 {
			return verdict{look: tried}
		}
	}
	// b. The address is held.
	t.claim(w.m.App, w.key)
	if s := t.sockets[w.key]; s != nil {
		if t.besides(s, w) {
			return verdict{}
		}
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
	if v, ok := t.inTheWay(w, w.key); ok {
		return v
	}
	return inUse(w.addr, t.holderOf(w.key))
}

// besides binds an even worker's own socket beside those that are held at its
// address, if none of them is left for it. It becomes a share at its listen.
func (t *Table) besides(s *socket, w *wish) bool {
	if s.app != w.m.App || s.shareFor(w.m.owner) != nil || len(s.shares) >= maxShares {
		return false
	}
	return t.bound(w, t.bindBeside(s, w.sock, w.raw)) == 0
}

// bindSocket binds the worker's open file with the bytes that the worker gave,
// so that every option it has set stays.
func (t *Table) bindSocket(w *wish) unix.Errno { return t.bound(w, bindRaw(w.sock, w.raw)) }

// bound makes the socket of a bind that succeeded a candidate.
func (t *Table) bound(w *wish, errno unix.Errno) unix.Errno {
	c := t.candidates[w.inode]
	if errno == unix.EINVAL && c != nil && c.key == w.key {
		// We have bound it, and a signal kept the answer from its thread.
		return 0
	}
	if errno == unix.EINVAL && w.again && isAt(w.sock, w.key) {
		errno = 0 // a predecessor has
	}
	if errno != 0 {
		return errno
	}
	fault.Point("notify.bound")
	c = &candidate{key: w.key, addr: w.addr, inode: w.inode, tgid: w.tgid, fd: w.fd, by: w.m, own: -1, since: time.Now()}
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

// grant gives a share of a held address to a worker that asked for it.
func (t *Table) grant(s *socket, w *wish, asked string) verdict {
	if s.app != w.m.App {
		return inUse(asked, "app "+s.app)
	}
	if h := t.inodes[w.inode]; h != nil && h.of == s && !w.m.Even {
		t.own(h, w.m.owner)
		return verdict{} // it has it: the answer was lost to a signal
	}
	h := t.provide(s, w.m.owner)
	fresh := h.owners[w.m.ID] == nil
	t.own(h, w.m.owner)
	if h.inode == w.inode {
		return verdict{}
	}
	own, err := duplicate(h.fd)
	if err != nil {
		return refusal(unix.ENFILE)
	}
	if w.nonblock {
		setNonblock(h.fd)
	}
	h.handing++
	h.version++
	adorn := s.declared && s.key.isUnix() && !s.adorned && !s.adorning
	s.adorning = s.adorning || adorn
	return verdict{give: h, copy: own, fresh: fresh, adorn: adorn}
}

// granted says that a grant was carried out, or that it could not be.
func (t *Table) granted(v verdict, m *member, ok bool) {
	v.give.handing--
	if s := v.give.of; v.adorn {
		s.adorned, s.adorning, t.dirty = true, false, true
	}
	if ok {
		t.tell(m, Bound{Worker: m.ID, App: m.App, Addr: v.give.of.addr})
	} else if v.fresh {
		t.disown(v.give, m.owner)
	}
}

// bindUnix decides about a bind of a path. Only a declared path, or one that
// nobody has unlinked, is shared.
func (t *Table) bindUnix(w *wish) verdict {
	t.claimPath(w.m.App, t.sockets[w.key], w)
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
	t.remember(&candidate{key: w.key, addr: w.addr, path: w.path, inode: w.inode, tgid: w.tgid, fd: w.fd, by: w.m, own: -1, since: time.Now()})
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
	if h := t.inodes[w.inode]; h != nil {
		return t.relisten(h, w)
	}
	c := t.candidates[w.inode]
	if c == nil && w.m.adopted && !w.strange && !w.own {
		return verdict{strange: true}
	}
	if c == nil {
		return verdict{proceed: true} // port 0, or nothing that we have seen
	}
	if s := t.sockets[c.key]; s != nil {
		if !s.key.isUnix() || s.declared {
			// Both were bound with SO_REUSEADDR before either listened, or
			// are even.
			if t.listenBeside(s, c, w) {
				return verdict{}
			}
			return t.grant(s, w, c.addr)
		}
		if s.app != w.m.App || s.given {
			return verdict{proceed: true}
		}
		t.close(s, false) // its file was unlinked, or c could not have bound
	}
	if v, full := t.crowded(w); full {
		return v
	}
	return t.listenFirst(c, w)
}

// relisten is a listen on a share.
func (t *Table) relisten(h *share, w *wish) verdict {
	if h.of.app != w.m.App {
		return verdict{proceed: true}
	}
	if w.m.Even && h.owners[w.m.ID] == nil && !h.free() && t.owners[w.m.ID] == w.m.owner && !h.of.key.isUnix() {
		return t.grant(h.of, w, h.of.addr) // it has got another's, as a sibling
	}
	if err := t.listenAgain(h, w.backlog); err != nil {
		return verdict{errno: err.(unix.Errno), refused: h.of.addr, holder: t.holderOf(h.of.key)}
	}
	t.own(h, w.m.owner)
	t.listens(h, w.m, w.tgid)
	return verdict{}
}

// listenBeside makes a candidate of an even worker a share of an address that
// is held, unless one is left for it.
func (t *Table) listenBeside(s *socket, c *candidate, w *wish) bool {
	if s.app != w.m.App || s.shareFor(w.m.owner) != nil || w.mptcp || len(s.shares) >= maxShares {
		return false
	}
	fd, err := duplicate(w.sock)
	if err != nil {
		return false
	}
	// It is stored first: a successor has to know all that the kernel has numbered,
	// in that order.
	h := &share{of: s, fd: fd, inode: c.inode, origin: w.m.ID}
	t.keep(h)
	t.spread(s)
	before := reusePort(h.fd, true)
	if err := unix.Listen(h.fd, max(w.backlog, t.somaxconn)); err != nil {
		reusePort(h.fd, before)
		t.letGo(h)
		return false
	}
	fault.Point("notify.joined")
	t.forget(c)
	t.add(s, h)
	t.own(h, w.m.owner)
	t.listens(h, w.m, w.tgid)
	return true
}

// listenFirst makes a candidate a held socket.
func (t *Table) listenFirst(c *candidate, w *wish) verdict {
	fd, err := duplicate(w.sock)
	if err != nil {
		t.unavailable(w.m.ID, w.m.App, "too many open files", "raise the supervisor's limit of open files")
		return verdict{proceed: true}
	}
	if !c.key.isUnix() && !w.mptcp {
		prepare(fd)
	}
	err = unix.Listen(fd, max(w.backlog, t.somaxconn))
	if err != nil {
		unix.Close(fd)
	}
	if err == unix.EADDRINUSE {
		for _, s := range t.of(func(s *socket) bool { return s.app == w.m.App && s.key.covers(c.key) }) {
			return t.grant(s, w, c.addr)
		}
		if v, ok := t.inTheWay(w, c.key); ok {
			return v
		}
		return inUse(c.addr, t.holderOf(c.key))
	}
	if err != nil {
		return refusal(err.(unix.Errno))
	}
	fault.Point("notify.listened")
	t.forget(c)
	s := &socket{key: c.key, app: w.m.App, addr: c.addr, path: c.path, dev: w.dev, ino: w.ino}
	h := &share{fd: fd, inode: c.inode, mptcp: w.mptcp, origin: w.m.ID}
	t.hold(s, h)
	t.own(h, w.m.owner)
	t.listens(h, w.m, w.tgid)
	return verdict{}
}

// crowded limits what a worker can make us hold; what it has closed again
// doesn't count.
func (t *Table) crowded(w *wish) (verdict, bool) {
	brought := 0
	for _, h := range t.inodes {
		if h.origin == w.m.ID {
			brought++
		}
	}
	if brought < maxSockets {
		return verdict{}, false
	}
	if w.looks == 0 {
		return verdict{look: t.suspects(func(h *share) bool { return h.origin == w.m.ID })}, true
	}
	t.unavailable(w.m.ID, w.m.App, "it listens on too many addresses at once", "the others are not shared")
	return verdict{proceed: true}, true
}

func setNonblock(fd int) {
	if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0); err == nil && flags&unix.O_NONBLOCK == 0 {
		_, _ = unix.FcntlInt(uintptr(fd), unix.F_SETFL, flags|unix.O_NONBLOCK)
	}
}
