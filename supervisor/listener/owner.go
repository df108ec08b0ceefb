package listener

import "time"

// standing is what was said about a worker's part in the traffic.
type standing int

const (
	booting   standing = iota // attached, or its sockets are reserved
	admitted                  // Admit
	withdrawn                 // Withdraw
	lost                      // Lost
)

// owner is a worker that sockets are given to, from Files or Attach to Detach.
type owner struct {
	Worker
	standing
	told  bool // it was withdrawn at some time
	known bool // it lives, as far as this daemon was told (Adopt knows what lived)
}

// active tells if new connections are for it. Whoever shares a socket accepts
// from the moment it listens.
func (o *owner) active() bool { return o.standing == admitted || o.standing == booting && !o.Even }

// ownerOf gives what is known of a worker, from now on if nothing was.
func (t *Table) ownerOf(w Worker) *owner {
	o := t.owners[w.ID]
	if o == nil {
		o = &owner{Worker: w}
		t.owners[w.ID] = o
	}
	if !o.known {
		pid := o.PID
		o.Worker, o.known = w, true
		o.PID = pid
	}
	if w.PID != 0 {
		o.PID = w.PID
	}
	return o
}

// dismiss takes everything from a worker that is gone.
func (t *Table) dismiss(worker uint64) {
	o := t.owners[worker]
	if o == nil {
		return
	}
	delete(t.owners, worker)
	for _, h := range t.inodes {
		delete(h.listeners, worker)
		t.disown(h, o)
	}
	if o.Even {
		t.armSettle() // what it would have taken is judged now
	}
}

// Admit says that a worker may get new connections from now on. Shares that it
// has closed again meanwhile (it looked for a free port) are given back before:
// nothing is sent where nobody listens. Workers that are not even get
// connections from their listen on, in any case.
func (t *Table) Admit(worker uint64) {
	var closed suspects
	pid := 0
	t.do(func() {
		o := t.owners[worker]
		if o == nil || !o.Even {
			return
		}
		pid, closed = o.PID, suspects{}
		for inode, h := range t.inodes {
			if h.owners[worker] != nil && !h.settled && h.handing == 0 && !h.of.declared && len(h.of.shares) > 1 {
				closed[inode] = &suspect{version: h.version, due: true, pids: h.pids()}
			}
		}
	})
	if len(closed) > 0 {
		t.look(closed, pid)
	}
	t.do(func() {
		t.drop(closed)
		t.stand(worker, admitted)
		t.armSettle() // what a crashed worker has left is taken by now, or never
	})
}

// Withdraw says that a worker gets no new connections any more, unless nobody
// else is there to have them. Those on their way may still come: the caller
// waits a moment (pre_drain), and for Waiting to be 0.
func (t *Table) Withdraw(worker uint64) {
	t.do(func() {
		if o := t.owners[worker]; o != nil {
			o.told, t.dirty = true, true
		}
		t.stand(worker, withdrawn)
	})
}

// Lost says that the main process of a worker has ended. Its shares get nothing
// any more while others are there, keep what waits in them, and are free for the
// next worker, though processes that the main one has left may have them open
// still: these are about to be ended, and until then accept beside the successor,
// as all do whose policy is shared.
func (t *Table) Lost(worker uint64) {
	t.do(func() {
		t.stand(worker, lost)
		for _, h := range t.inodes {
			if h.owners[worker] != nil {
				t.left(h, t.owners[worker])
			}
		}
	})
}

// stand notes where a worker stands and chooses anew.
func (t *Table) stand(worker uint64, now standing) {
	o := t.owners[worker]
	if o == nil || o.standing == lost || o.standing == now {
		return
	}
	o.standing, t.dirty = now, true
	for _, s := range t.sockets {
		if s.app == o.App {
			t.steer(s)
		}
	}
}

// Waiting is how many connections wait to be accepted in the shares that are
// the worker's alone.
func (t *Table) Waiting(worker uint64) (count int) {
	t.do(func() {
		for _, h := range t.inodes {
			if h.owners[worker] != nil && len(h.owners) == 1 {
				count += h.waiting()
			}
		}
	})
	return count
}

// own gives a share to a worker.
func (t *Table) own(h *share, o *owner) {
	if t.owners[o.ID] != o || h.owners[o.ID] != nil {
		return // detached while its reader was at work, or has it
	}
	h.owners[o.ID] = o
	h.freed, t.dirty = time.Time{}, true
	if o.Even {
		h.origin = o.ID
		t.unsettle(h)
	}
	t.steer(h.of)
}

// disown takes a share from a worker.
func (t *Table) disown(h *share, o *owner) {
	if h.owners[o.ID] == nil {
		return
	}
	t.dirty = true
	delete(h.owners, o.ID)
	delete(h.listeners, o.ID)
	t.left(h, o)
	t.steer(h.of)
}

// left notes that a worker has left a share, if nobody else has it.
func (t *Table) left(h *share, o *owner) {
	if !h.free() {
		return
	}
	if h.last != o.ID || h.freed.IsZero() {
		h.freed = time.Now()
	}
	h.last, h.withdrawn, t.dirty = o.ID, o.told, true
	if len(h.of.shares) > 1 {
		t.armSettle()
	}
}
