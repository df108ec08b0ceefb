package listener

import "fmt"

// Attach begins to answer the notifications of a worker. It owns notifyFD
// from now on, and closes it when the worker is detached or has no process
// left. The worker's calls wait until then.
//
// For a worker of an earlier daemon it is called between Adopt and Sweep, with the
// same w.Hand: the notification that the earlier one had in hand, if it has not
// answered it, is the first that is answered. What the worker listens on is told
// again, since whoever heard it may have died before noting it.
//
// The error says that the descriptor can't be read, that w.Hand is not the
// worker's, or that the table is closed; notifyFD is closed then.
func (t *Table) Attach(w Worker, notifyFD int) error {
	p, err := newPump(notifyFD, "seccomp")
	if err != nil {
		return err
	}
	r := &reader{t: t, fd: notifyFD, hand: newHand()}
	shared := t.hands != nil && w.Hand >= 0
	if shared {
		if r.hand, err = t.hands.open(w.Hand); err != nil {
			p.file.Close()
			return fmt.Errorf("cannot attach worker %d: %w", w.ID, err)
		}
	}
	r.m = &member{
		pump:   p,
		shared: shared,
		facts:  newBucket(maxFacts, factsPerSecond),
		heard:  newBucket(maxSockets, factsPerSecond),
		looks:  newBucket(maxLooks, looksPerSecond),
	}
	if !t.do(func() { t.begin(r, w) }) {
		p.file.Close()
		if shared {
			t.hands.release(w.Hand)
		}
		return errClosed
	}
	return nil
}

// begin starts a worker's reader.
func (t *Table) begin(r *reader, w Worker) {
	m := r.m
	m.owner = t.ownerOf(w)
	t.members[w.ID] = m
	m.adopted = t.adopting
	if r.pending = r.hand.full(); r.pending {
		t.inHand++
	}
	t.startPump(m.pump, func() {
		r.run()
		if r.pending {
			t.do(t.settled)
		}
		if m.shared {
			t.hands.release(w.Hand)
		}
	})
}

// Claim says that a worker of an earlier daemon lives that has no notify
// descriptor, or none any more: what it had according to the records stays its own
// until Detach. It is called between Adopt and Sweep.
func (t *Table) Claim(w Worker) { t.do(func() { t.ownerOf(w) }) }

// startPump starts a pump's goroutine; it ends with p.
func (t *Table) startPump(p *pump, run func()) {
	t.pumps[p] = struct{}{}
	if t.quiet {
		p.pause()
	}
	go func() {
		run()
		t.do(func() { delete(t.pumps, p) })
	}()
}
