package listener

import (
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// What follows is called by the table's goroutine only.

// hold takes a socket that listens into the table.
func (t *Table) hold(s *socket) {
	t.seq++
	s.seq = t.seq
	s.listening = true
	s.since = time.Now()
	s.hangups = newBucket(maxFacts, factsPerSecond)
	t.sockets[s.key] = s
	t.inodes[s.inode] = s
	if t.store != nil {
		if err := t.store.Push(s.storeName(), s.fd); err != nil {
			t.unavailable(s.origin, s.app, "cannot store "+s.addr+": "+err.Error(),
				"the socket is closed if the supervisor dies")
		}
	}
	t.watchSocket(s)
	if !s.declared {
		t.armSettle()
	}
}

// close lets a held socket go for good.
func (t *Table) close(s *socket) {
	delete(t.sockets, s.key)
	delete(t.inodes, s.inode)
	if t.watch != nil {
		t.watch.remove(s)
	}
	if t.store != nil {
		// What can't be removed is unclaimed at the next start, and goes then.
		_ = t.store.Remove(s.storeName())
	}
	if s.path != "" && sameFile(s.path, s.dev, s.ino) {
		_ = unix.Unlink(s.path) // a path that can't be unlinked stays a stale file
	}
	unix.Close(s.fd)
	closed := Closed{App: s.app, Addr: s.addr}
	if m := t.members[s.origin]; m != nil {
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

// unavailable says once for an app why its sockets can't be shared.
func (t *Table) unavailable(worker uint64, app, reason, remedy string) {
	k := [2]string{app, reason}
	if t.warned[k] {
		return
	}
	t.warned[k] = true
	t.facts(Unavailable{Worker: worker, App: app, Reason: reason, Remedy: remedy})
}

// listens notes that a process of a worker listens on a held socket.
func (t *Table) listens(s *socket, m *member, pid int) {
	if t.sockets[s.key] != s || t.members[m.ID] != m {
		return
	}
	if s.heard(m.ID, pid) && m.heard.take(time.Now()) {
		t.facts(Listening{Worker: m.ID, App: m.App, Addr: s.addr, PID: pid})
	}
}

// listenAgain calls listen(2) on a held socket. The backlog belongs to all
// that share it and never shrinks below somaxconn.
func (t *Table) listenAgain(s *socket, asked int) error {
	err := unix.Listen(s.fd, max(asked, t.somaxconn))
	s.listening = err == nil
	return err
}

// armSettle makes the table look again, settleTime from now, at what workers
// have brought.
func (t *Table) armSettle() {
	if !t.quiet && !t.settling && !t.armed {
		t.armed = true
		t.settle.Reset(settleTime)
	}
}

// startSettling closes what workers have brought and closed again. Each socket
// is judged once, when it is settleTime old: later, a worker that closes its
// listener is one that drains. The look into /proc is done by a goroutine of
// its own, which ends with it; there is one at a time.
func (t *Table) startSettling() {
	t.armed = false
	if t.quiet || t.settling {
		return
	}
	for _, c := range t.candidates {
		if c.own >= 0 {
			t.forget(c)
		}
	}
	now, young := time.Now(), false
	due := t.suspects(func(s *socket) bool {
		age := now.Sub(s.since)
		young = young || !s.settled && age < settleTime
		return !s.settled && age >= settleTime && t.members[s.origin] != nil
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
		due.look(0)
		t.do(func() {
			t.settling = false
			t.drop(due)
			for inode := range due {
				if s := t.inodes[inode]; s != nil {
					s.settled = true
				}
			}
			t.armSettle()
		})
	}()
}

// suspects are undeclared sockets, by inode, that may not be open anywhere.
type suspects map[uint64]*suspect

type suspect struct {
	version uint64 // of the socket when it was suspected
	open    bool
}

// suspects gives the undeclared sockets that match and are not being handed
// out at the moment.
func (t *Table) suspects(match func(*socket) bool) suspects {
	found := suspects{}
	for _, s := range t.sockets {
		if !s.declared && s.handing == 0 && match(s) {
			found[s.inode] = &suspect{version: s.version}
		}
	}
	return found
}

// drop closes the suspects that are open nowhere, except those handed out
// since the look began.
func (t *Table) drop(looked suspects) {
	for inode, l := range looked {
		s := t.inodes[inode]
		if s != nil && !l.open && !s.declared && s.handing == 0 && s.version == l.version {
			t.close(s)
		}
	}
}
