package listener

import (
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// What a reader does about calls that an earlier daemon had begun with, and about
// sockets that were bound while that one lived: candidates are on no record.

// bound tells if the descriptor of a bind was exchanged already for a socket of
// ours: a held one of its app, or one that was made in the stead of its own. Then
// only the answer is missing.
func (r *reader) bound(g target, fd int) (done bool) {
	inode, ok := socketInode(g.link(fd))
	if !ok {
		return false
	}
	if *r.hand.note() == inode {
		return true
	}
	recorded, _ := r.t.decide(func() {
		if h := r.t.inodes[inode]; h != nil && h.of.app == r.m.App {
			r.t.own(h, r.m.owner)
			done = h.owners[r.m.ID] != nil
			h.of.adorned = h.of.adorned || h.of.declared // it was, before
		}
	})
	r.onRecord(recorded)
	return done
}

// noteUnnamed remembers a socket that an adopted worker binds to port 0: at its
// listen it is known not to be one that was bound before.
func (r *reader) noteUnnamed(g target, fd int, k key) {
	if !r.m.adopted || k.family != unix.AF_INET && k.family != unix.AF_INET6 {
		return
	}
	if inode, ok := socketInode(g.link(fd)); ok {
		if len(r.unnamed) == maxCandidates {
			r.unnamed = r.unnamed[1:]
		}
		r.unnamed = append(r.unnamed, inode)
	}
}

// recognise makes a socket that an adopted worker has bound before it was adopted
// the candidate that it was then. (One bound to port 0 then, and not listened on
// until now, is taken for one too.)
func (r *reader) recognise(g target, w *wish) {
	w.strange = true
	c := &candidate{inode: w.inode, tgid: w.tgid, fd: w.fd, by: w.m, own: -1, since: time.Now()}
	if name, ok := pathOf(w.sock); ok {
		p, err := g.locate(unix.AT_FDCWD, name)
		if err != nil {
			r.blind("the worker's folder", err)
			return
		}
		c.key, c.path, c.addr = p.key(), p.path, "unix:"+p.path
	} else {
		var ok bool
		var err error
		if c.key, ok = keyOf(w.sock); !ok || c.key.port == 0 || slices.Contains(r.unnamed, w.inode) {
			return
		}
		if c.key.netns, err = g.netns(); err != nil {
			r.blind("the worker's network namespace", err)
			return
		}
		c.addr = c.key.String()
	}
	r.t.do(func() { r.t.remember(c) })
}
