package listener

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// A table that takes over from an earlier daemon's is filled in this order:
//
//	Quiesce    if nothing may be touched yet (an upgrade that is not committed)
//	Adopt      the sockets, from the records and the store
//	Attach     each worker that lives, or Claim where its notify descriptor is lost
//	Sweep      what the records gave to others is nobody's any more
//	Resume     if it was quiesced
//
// Between Adopt and Sweep the kernel's choice among shares stays what the earlier
// daemon has made it, and no timer runs. Where each worker stands is known from the
// records; Admit, Withdraw and Lost may be called again at any time.

const (
	// maxSeq is the greatest number of a socket that is believed, far from the end
	// of the numbers.
	maxSeq = 1 << 48
	// maxStrays is how many numbers behind the last on record are looked for in the
	// store: what one daemon may have pushed while its last record was written.
	maxStrays = 4096
)

// succession is what a table remembers while it takes over. Its goroutine owns it.
type succession struct {
	adopting bool // from Adopt to Sweep
	inHand   int  // how many workers have an inherited notification that is not settled
	strays   []stray
}

// stray is a stored socket that is on no record: its worker has called listen, and
// nobody has answered yet. It is kept until all such calls are answered.
type stray struct {
	seq   uint64
	fd    int
	inode uint64
}

// errInUse is why a table can't adopt.
var errInUse = errors.New("cannot adopt sockets: the table is in use already")

// Adopt fills an empty table with what an earlier daemon has recorded. take gives
// the descriptor that is stored under a name, which is the table's from then on and
// stays stored; it is called from here, at most once for a name.
//
// What take doesn't have, and what is not the socket on record (its inode, its
// address, its file), is lost: it is returned, and what take gave for it is closed
// and removed from the store. (What was just being closed when the earlier daemon
// died may be among them.) The error says that the table is in use or closed.
func (t *Table) Adopt(records []Record, take func(name string) (fd int, ok bool)) (lost []Record, err error) {
	inUse := false
	ok := t.do(func() {
		inUse = t.adopting || len(t.sockets) > 0 || len(t.members) > 0
		t.adopting = t.adopting || !inUse
	})
	switch {
	case !ok:
		return nil, errClosed
	case inUse:
		return nil, errInUse
	}
	e := newEstate(take)
	sorted := slices.Clone(records)
	slices.SortStableFunc(sorted, func(a, b Record) int {
		return cmp.Or(cmp.Compare(a.Order, b.Order), cmp.Compare(a.Index, b.Index), cmp.Compare(a.Seq, b.Seq))
	})
	for _, r := range sorted {
		if !e.inherit(r) {
			lost = append(lost, r)
		}
	}
	e.collect()
	if !t.do(func() { t.inherit(e) }) {
		e.close()
		return nil, errClosed
	}
	return lost, nil
}

// inherit takes what was found into the table.
func (t *Table) inherit(e *estate) {
	t.seq, t.owners, t.strays, t.dirty = e.last, e.owners, e.strays, true
	for _, s := range e.sockets {
		t.sockets[s.key] = s
		s.arrived = newBucket(maxArrivals, arrivalsPerSecond)
		for _, h := range s.shares {
			t.enlist(h)
		}
		t.steer(s)
	}
}

// Sweep ends the adoption: workers on record that were neither attached nor claimed
// since Adopt are gone, as by Detach, and the table goes on by itself.
func (t *Table) Sweep() {
	t.do(func() {
		if !t.adopting {
			return
		}
		t.adopting = false
		for id, o := range t.owners {
			if !o.known {
				t.dismiss(id)
			}
		}
		t.goOn()
	})
}

// goOn does what was put off while the table stood still or adopted.
func (t *Table) goOn() {
	if t.still || t.adopting {
		return
	}
	for _, s := range t.sockets {
		t.steer(s)
	}
	t.dropStrays()
	t.armSettle()
	t.startCalming()
}

// settled says that the inherited notification of a worker is answered.
func (t *Table) settled() {
	t.inHand--
	t.dropStrays()
}

// dropStrays lets go what nobody can claim any more.
func (t *Table) dropStrays() {
	if t.still || t.adopting || t.inHand > 0 {
		return
	}
	for _, s := range t.strays {
		if t.store != nil {
			_ = t.store.Remove(storeName(s.seq))
		}
		unix.Close(s.fd)
	}
	t.strays = nil
}

// findStray takes the stray that is a socket.
func (t *Table) findStray(inode uint64) (s stray, ok bool) {
	i := slices.IndexFunc(t.strays, func(s stray) bool { return s.inode == inode })
	if i < 0 {
		return s, false
	}
	s = t.strays[i]
	t.strays = slices.Delete(t.strays, i, i+1)
	return s, true
}

// tellAgain tells what an adopted worker listens on.
func (t *Table) tellAgain(m *member) {
	for _, s := range t.of(func(s *socket) bool { return s.app == m.App }) {
		for _, h := range s.shares {
			for _, pid := range h.listeners[m.ID] {
				t.facts(Listening{Worker: m.ID, App: m.App, Addr: s.addr, PID: pid})
			}
		}
	}
}

// freedAt is when a share was left: as far as a successor knows, now.
func (h *share) freedAt() time.Time {
	if h.last != 0 && h.free() {
		return time.Now()
	}
	return time.Time{}
}
