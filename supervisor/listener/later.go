package listener

import "time"

// Two programs of an app that look for a free port at the same time are in each
// other's way for a moment: one listens on 127.0.0.1 and is about to close it
// while the other asks for [::]. So a refusal by what a sibling has just brought
// is not final: the call waits in its own worker's reader, and is tried again at
// every change of what is held, until settleTime has passed. During Quiesce
// nothing waits: it is tried again after Resume or by a successor, if that can find
// it in hand, and else refused at once.

// inTheWay tells what to do about an address that is in use, before it is
// refused: look for what dead workers have left, or wait for a sibling.
func (t *Table) inTheWay(w *wish, k key) (v verdict, ok bool) {
	// What is open nowhere was lost by a worker that died. It waits for a
	// successor, but not in the way of one that wants another address.
	if !w.lost {
		w.lost = true
		lost := t.suspects(func(h *share) bool { return h.of.app == w.m.App && k.covers(h.of.key) })
		for _, l := range lost {
			l.orphan = true
		}
		if len(lost) > 0 {
			return verdict{look: lost}, true
		}
	}
	if t.members[w.m.ID] != w.m || !t.sibling(w, k) {
		return v, false
	}
	if t.quiet {
		return verdict{later: true}, w.m.shared
	}
	if w.until.IsZero() {
		w.until = time.Now().Add(settleTime)
	}
	if !time.Now().Before(w.until) {
		return v, false
	}
	if t.changed == nil {
		t.changed = make(chan struct{})
	}
	return verdict{wait: t.changed}, true
}

// sibling tells if something that was brought just now, and that another worker
// of the app has, is in conflict with an address.
func (t *Table) sibling(w *wish, k key) bool {
	conflict := func(other key) bool { return k.covers(other) || other.covers(k) }
	for _, h := range t.inodes {
		if h.of.app != w.m.App || h.of.declared || h.settled || !conflict(h.of.key) {
			continue
		}
		for id := range h.owners {
			if id != w.m.ID {
				return true
			}
		}
	}
	for _, c := range t.candidates {
		if c.by.App == w.m.App && c.by != w.m && time.Since(c.since) < settleTime && conflict(c.key) {
			return true
		}
	}
	return false
}

// wake lets calls that wait be tried again.
func (t *Table) wake() {
	if t.changed != nil {
		close(t.changed)
		t.changed = nil
	}
}

// wait waits for a change of what is held, or for the end of the wish's time.
func (r *reader) wait(w *wish, changed <-chan struct{}) {
	timer := time.NewTimer(time.Until(w.until))
	defer timer.Stop()
	select {
	case <-changed:
	case <-r.m.pump.quit:
	case <-timer.C:
		w.lost = false // a last look
	}
}
