package listener

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// A held socket may be nobody's: its app is "". So are those that an earlier daemon has
// left for its next start, with the connections that wait in them, and those that the
// service manager has opened for us. The first app that declares or binds exactly such an
// address gets the socket; what stands only in the way of another address is closed.

// Given is a listening socket that somebody has opened for the daemon
// (sd_listen_fds_with_names(3)).
type Given struct {
	FD   int    // the table's from Give on
	Name string // a declared socket of that name gets it, at whatever address
}

// Keep makes Release and Retain leave sockets to nobody, from now on, instead of closing
// them: the daemon ends, and the next one is to find them.
func (t *Table) Keep() { t.do(func() { t.keeping = true }) }

// Bequeath makes every held socket nobody's, and returns when that is on record.
func (t *Table) Bequeath() {
	t.doOnRecord(func() {
		for _, s := range t.sockets {
			t.orphan(s)
		}
	})
}

// CloseUnclaimed closes what is nobody's, unless it was given, and returns its addresses.
func (t *Table) CloseUnclaimed() (closed []string) {
	t.do(func() {
		for _, s := range t.of(func(s *socket) bool { return s.app == "" && !s.given }) {
			closed = append(closed, s.addr)
			t.close(s, true)
		}
	})
	return closed
}

// Give takes sockets that are nobody's into the table, where they stay as long as it does.
// One that it holds already is closed. The errors name what is no stream socket that
// listens on an address, which is closed too.
func (t *Table) Give(list []Given) (errs []error) {
	for _, g := range list {
		if err := t.give(g); err != nil {
			errs = append(errs, fmt.Errorf("cannot use the socket %s: %w", g.Name, err))
			unix.Close(g.FD)
		}
	}
	return errs
}

// Why a given socket is of no use.
var (
	errNoListener = errors.New("it is no stream socket that listens on TCP or a path")
	errHeld       = errors.New("an app holds another socket at that address")
)

func (t *Table) give(g Given) error {
	s, err := givenSocket(g)
	if err != nil {
		return err
	}
	err = errClosed
	t.doOnRecord(func() {
		err = nil
		h := t.inodes[s.first.inode]
		switch {
		case h != nil: // stored by an earlier daemon
			h.of.given, h.of.name, t.dirty = true, g.Name, true
			unix.Close(g.FD)
		case t.sockets[s.key] != nil:
			err = errHeld
		default:
			t.hold(s, s.first)
		}
	})
	return err
}

// givenSocket finds out what a given descriptor is.
func givenSocket(g Given) (*socket, error) {
	kind, err := unix.GetsockoptInt(g.FD, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil || kind != unix.SOCK_STREAM || !listens(g.FD) {
		return nil, errNoListener
	}
	s := &socket{given: true, name: g.Name, first: &share{fd: g.FD, mptcp: protocolOf(g.FD) == unix.IPPROTO_MPTCP, settled: true}}
	if s.first.inode, err = inodeOf(g.FD); err != nil {
		return nil, err
	}
	if name, ok := pathOf(g.FD); ok {
		var st unix.Stat_t
		p, err := newTarget(unix.Gettid()).locate(unix.AT_FDCWD, name)
		if err == nil {
			err = unix.Lstat(name, &st)
		}
		if err != nil {
			return nil, err
		}
		s.key, s.path, s.addr, s.adorned = p.key(), name, "unix:"+name, true
		s.dev, s.ino = uint64(st.Dev), st.Ino
		return s, nil
	}
	k, ok := keyOf(g.FD)
	if !ok || k.port == 0 {
		return nil, errNoListener
	}
	if k.netns, err = newTarget(unix.Gettid()).netns(); err != nil {
		return nil, err
	}
	s.key, s.addr = k, k.String()
	return s, nil
}

// What follows is called by the table's goroutine only.

// orphan makes a socket nobody's.
func (t *Table) orphan(s *socket) {
	s.app, s.as, s.declared, t.dirty = "", "", false, true
	for _, h := range s.shares {
		h.owners, h.listeners = map[uint64]*owner{}, nil
		h.origin, h.last, h.withdrawn, h.settled = 0, 0, false, true
		h.freed = time.Time{}
	}
	t.steer(s)
}

// claim gives an app what is nobody's at an address, and closes what is in its way.
func (t *Table) claim(app string, k key) {
	for _, s := range t.of(func(s *socket) bool { return s.app == "" }) {
		switch {
		case s.key == k:
			s.app, t.dirty = app, true
		case s.key.isUnix() || k.isUnix() || s.given:
		case s.key.covers(k) || k.covers(s.key):
			t.close(s, true)
		}
	}
}

// claimDeclared is claim for a declared socket: a given one of its name comes first.
func (t *Table) claimDeclared(app string, d resolved) {
	for _, s := range t.of(func(s *socket) bool { return s.app == "" }) {
		if s.given && d.Name != "" && s.name == d.Name {
			s.app, s.as, t.dirty = app, d.shown, true
			return
		}
	}
	for _, s := range t.of(func(s *socket) bool { return s.app == "" && s.addr == d.shown }) {
		if s.path != "" && !sameFile(s.path, s.dev, s.ino) {
			t.close(s, true) // nobody can reach it any more
			continue
		}
		if !s.key.isUnix() && s.key.v6only != d.key.v6only {
			continue
		}
		s.app, t.dirty = app, true
		return
	}
	if d.path == "" {
		k := d.key
		k.netns, _ = newTarget(unix.Gettid()).netns()
		t.claim(app, k)
	}
}

// claimPath is claim for a path that a worker binds.
func (t *Table) claimPath(app string, s *socket, w *wish) {
	switch {
	case s == nil || s.app != "":
	case w.ino != 0 && w.ino == s.ino && w.dev == s.dev:
		s.app, t.dirty = app, true
	case !s.given:
		t.close(s, true)
	}
}

// at tells if a socket is the one that is declared as an address.
func (s *socket) at(shown string) bool { return s.addr == shown || s.as == shown }
