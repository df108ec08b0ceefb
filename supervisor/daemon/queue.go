package daemon

import (
	"time"

	"supervisor/supervisor"
)

// A worker that was taken out of accept gets its stop signal when nothing waits in its
// queue, or after queueMax, or a quarter of its kill_timeout: it may be stuck. The kernel
// tells nobody that a queue has become empty, so it is looked at every queueLook.
const (
	queueLook = 10 * time.Millisecond
	queueMax  = time.Second
)

// letAccept puts a stop off while connections wait that the worker has to accept; they
// would have to wait for another. It reports whether it did.
func (p *attendant) letAccept(o supervisor.StopOrder) bool {
	now := time.Now()
	if p.acceptUntil.IsZero() {
		p.acceptUntil = now.Add(min(queueMax, p.order.Spec.KillTimeout/4))
	}
	if !now.Before(p.acceptUntil) || p.over.Load() || p.w.table.Waiting(p.order.ID) == 0 {
		return false
	}
	p.w.working.Add(1)
	time.AfterFunc(queueLook, func() {
		defer p.w.working.Done()
		p.push(func() { p.stop(o) })
	})
	return true
}
