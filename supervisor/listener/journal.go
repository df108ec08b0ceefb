package listener

import "slices"

// journal gives what the table holds to be recorded, whenever that has changed.
// The table's goroutine owns it.
type journal struct {
	record   func([]Record) <-chan struct{}
	dirty    bool            // something of a Record has changed
	recorded <-chan struct{} // closed when the last change is on record; nil: nobody records
}

// commit gives what has changed to be recorded, once for each operation. A table
// that stands still records nothing: its successor may do so already.
func (t *Table) commit() {
	if !t.dirty || t.still {
		return
	}
	t.dirty = false
	if t.record != nil {
		t.recorded = t.record(t.records())
	}
}

// decide is do, and gives the channel that is closed when the outcome is on
// record, nil if nothing has to be.
func (t *Table) decide(f func()) (recorded <-chan struct{}, ok bool) {
	ok = t.do(func() {
		f()
		t.commit()
		recorded = t.recorded
	})
	return recorded, ok
}

// doOnRecord is do that returns when the outcome is on record.
func (t *Table) doOnRecord(f func()) bool {
	recorded, ok := t.decide(f)
	if recorded != nil {
		select {
		case <-recorded:
		case <-t.closed:
		}
	}
	return ok
}

// onRecord waits until what the reader is about to carry out, or to answer, is on
// record, or the worker is none of ours any more.
func (r *reader) onRecord(recorded <-chan struct{}) {
	if recorded == nil {
		return
	}
	select {
	case <-recorded:
	case <-r.m.pump.quit:
	}
}

// records is everything that is held, in the order of its coming.
func (t *Table) records() (all []Record) {
	for _, s := range t.of(func(*socket) bool { return true }) {
		for i, h := range s.shares {
			all = append(all, h.describe(i))
		}
	}
	return slices.Clip(all)
}
