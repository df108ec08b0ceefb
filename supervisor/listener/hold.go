package listener

import (
	"maps"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"supervisor/supervisor/fault"
)

// What follows is called by the table's goroutine only.

// hold takes an address into the table with its first share, which listens.
func (t *Table) hold(s *socket, h *share) {
	s.first = h
	s.arrived = newBucket(maxArrivals, arrivalsPerSecond)
	t.add(s, h)
	s.seq = h.seq
	t.sockets[s.key] = s
	if !s.declared {
		t.armSettle()
	}
}

// add makes a socket that listens a share of an address.
func (t *Table) add(s *socket, h *share) {
	if h.of = s; h.seq == 0 {
		t.keep(h)
	}
	h.listening, h.since = true, time.Now()
	h.owners = map[uint64]*owner{}
	s.shares = append(s.shares, h)
	t.enlist(h)
	t.steer(s)
	t.wake()
}

// keep stores a socket, under a number of its own. One that a predecessor has
// stored for a call that it did not answer is in the store already.
func (t *Table) keep(h *share) {
	if s, ok := t.findStray(h.inode); ok {
		unix.Close(h.fd)
		h.fd, h.seq = s.fd, s.seq
		return
	}
	t.seq++
	h.seq = t.seq
	if t.store != nil {
		if err := t.store.Push(storeName(h.seq), h.fd); err != nil {
			t.unavailable(h.origin, h.of.app, "cannot store "+h.of.addr+": "+err.Error(),
				"the socket is closed if the supervisor dies")
		}
	}
	fault.Point("notify.stored")
}

// letGo closes what keep has stored. What can't be removed is unclaimed at the next
// start, and goes then.
func (t *Table) letGo(h *share) {
	if t.store != nil {
		_ = t.store.Remove(storeName(h.seq))
	}
	unix.Close(h.fd)
}

// enlist makes a share of an address one of the table's.
func (t *Table) enlist(h *share) {
	h.hangups = newBucket(maxFacts, factsPerSecond)
	t.inodes[h.inode] = h
	t.dirty = true
	t.watchSocket(h)
}

// leave closes what an app needs no more, or makes it nobody's. alone: no worker has it.
func (t *Table) leave(s *socket, alone bool) {
	if s.given || t.keeping {
		t.orphan(s)
		return
	}
	t.close(s, alone)
}

// close lets a held address go for good. alone: no worker has it.
func (t *Table) close(s *socket, alone bool) {
	t.dirty = true
	delete(t.sockets, s.key)
	for _, h := range s.shares {
		delete(t.inodes, h.inode)
		if t.watch != nil {
			t.watch.remove(h)
		}
		t.disarm(h)
		if alone {
			// It refuses, and is in nobody's way, at once: a poll has it a moment longer,
			// as has what we have just forked.
			_ = unix.Shutdown(h.fd, unix.SHUT_RDWR)
		}
	}
	if s.path != "" && !s.given {
		s.removeFile()
	}
	for _, h := range s.shares {
		t.letGo(h)
	}
	t.wake()
	closed := Closed{App: s.app, Addr: s.addr}
	if m := t.members[s.first.origin]; m != nil {
		t.tell(m, closed)
	} else {
		t.facts(closed)
	}
}

// sameFile tells if the file at path is the one that we know.
func sameFile(path string, dev, ino uint64) bool {
	var st unix.Stat_t
	return unix.Lstat(path, &st) == nil && uint64(st.Dev) == dev && st.Ino == ino
}

// remember makes c a candidate.
func (t *Table) remember(c *candidate) {
	if old := t.candidates[c.inode]; old != nil {
		t.forget(old)
	}
	if t.members[c.by.ID] != c.by { // detached while its reader was at work
		if c.own >= 0 {
			unix.Close(c.own)
		}
		return
	}
	if len(c.by.candidates) == maxCandidates {
		t.forget(c.by.candidates[0])
	}
	c.by.candidates = append(c.by.candidates, c)
	t.candidates[c.inode] = c
	if c.own >= 0 {
		t.armSettle()
	}
}

// forget drops a candidate.
func (t *Table) forget(c *candidate) {
	if t.candidates[c.inode] != c {
		return
	}
	delete(t.candidates, c.inode)
	t.wake()
	c.by.candidates = slices.DeleteFunc(c.by.candidates, func(o *candidate) bool { return o == c })
	if c.own >= 0 {
		unix.Close(c.own)
	}
}

// tell reports a fact of a worker, unless there were too many of late.
func (t *Table) tell(m *member, f Fact) {
	if m.facts.take(time.Now()) {
		t.facts(f)
	}
}

// unavailable says once for an app why its sockets can't be shared. An address may be
// in a reason, so a worker can make ever new ones.
func (t *Table) unavailable(worker uint64, app, reason, remedy string) {
	said := t.warned[app]
	if said[reason] || len(said) == maxReasons {
		return
	}
	if said == nil {
		said = map[string]bool{}
		t.warned[app] = said
	}
	said[reason] = true
	t.facts(Unavailable{Worker: worker, App: app, Reason: reason, Remedy: remedy})
}

// listens notes that a process of a worker listens on a share.
func (t *Table) listens(h *share, m *member, pid int) {
	if t.inodes[h.inode] != h || t.members[m.ID] != m {
		return
	}
	if !h.heard(m.ID, pid) {
		return
	}
	t.dirty = true
	if m.heard.take(time.Now()) {
		t.facts(Listening{Worker: m.ID, App: m.App, Addr: h.of.addr, PID: pid})
	}
}

// listenAgain calls listen(2) on a share. The backlog belongs to all that
// share it and never shrinks below somaxconn.
func (t *Table) listenAgain(h *share, asked int) error {
	err := unix.Listen(h.fd, max(asked, t.somaxconn))
	if on := err == nil; h.listening != on {
		h.listening, t.dirty = on, true
	}
	return err
}

// unsettle has a share looked at when it is settleTime older.
func (t *Table) unsettle(h *share) {
	h.since, h.settled, t.dirty = time.Now(), false, true
	if !h.of.declared {
		t.armSettle()
	}
}

// armSettle makes the table look again, settleTime from now, at what workers
// have brought.
func (t *Table) armSettle() {
	if !t.quiet && !t.adopting && !t.settling && !t.armed {
		t.armed = true
		t.settle.Reset(settleTime)
	}
}

// startSettling closes what workers have brought and closed again, or takes it
// back where others have shares of it. Each share is judged once, when its
// worker has it for settleTime: later, a worker that closes its listener is one
// that drains. The look into /proc is done by a goroutine of its own, which ends
// with it; there is one at a time.
func (t *Table) startSettling() {
	t.armed = false
	if t.quiet || t.adopting || t.settling || t.keeping {
		return
	}
	young, at := t.abandon(), time.Now()
	for _, c := range t.candidates {
		switch {
		case c.own < 0:
		case at.Sub(c.since) >= settleTime:
			t.forget(c)
		default:
			young = true // or its worker's listen would not find it
		}
	}
	due := t.suspects(func(h *share) bool {
		age := at.Sub(h.since)
		young = young || !h.settled && age < settleTime
		return !h.settled && age >= settleTime && t.members[h.origin] != nil
	})
	if len(due) == 0 {
		if young {
			t.armSettle()
		}
		return
	}
	t.settling = true
	t.scans.Add(1)
	go func() {
		defer t.scans.Done()
		t.look(due, 0)
		t.do(func() {
			t.settling = false
			t.drop(due)
			for inode, l := range due {
				if h := t.inodes[inode]; h != nil && l.due && h.version == l.version {
					h.settled, t.dirty = true, true
				}
			}
			t.armSettle()
		})
	}()
}

// suspects are undeclared sockets, by inode, that may not be open anywhere.
type suspects map[uint64]*suspect

type suspect struct {
	version uint64 // of the share when it was suspected
	due     bool   // it is suspected, not only looked at for the others' sake
	orphan  bool   // it goes even if its worker is gone
	open    bool
	pids    []int // of processes that have it, or had it
}

// suspects gives the undeclared shares that match and are not being handed out
// at the moment, with the others of their address.
func (t *Table) suspects(match func(*share) bool) suspects {
	found := suspects{}
	for _, s := range t.sockets {
		if s.declared {
			continue
		}
		some := suspects{}
		any := false
		for _, h := range s.shares {
			due := match(h)
			if h.handing == 0 {
				some[h.inode] = &suspect{version: h.version, due: due, pids: h.pids()}
				any = any || due
			}
		}
		if any {
			maps.Copy(found, some)
		}
	}
	return found
}

// drop closes the suspects that are open nowhere, except those handed out
// since the look began, if that is true of all shares of their address; else
// they are free.
func (t *Table) drop(looked suspects) {
	for inode, l := range looked {
		h := t.inodes[inode]
		if h == nil || !l.due || !h.closed(looked) {
			continue
		}
		whole := true
		for _, other := range h.of.shares {
			whole = whole && other.closed(looked) && (l.orphan || t.members[other.origin] != nil)
		}
		if whole {
			t.close(h.of, true)
			continue
		}
		for _, o := range h.owners {
			t.disown(h, o)
		}
	}
}

// closed tells if a share was found open nowhere and was not handed out since.
func (h *share) closed(looked suspects) bool {
	l := looked[h.inode]
	return l != nil && !l.open && !h.of.declared && h.handing == 0 && h.version == l.version
}
