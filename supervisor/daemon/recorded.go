package daemon

import (
	"sync"

	"golang.org/x/sys/unix"

	"supervisor/supervisor/handover"
	"supervisor/supervisor/process"
)

// endRecorded ends the workers that an earlier daemon has left without a state in which
// they could go on.
func (d *daemon) endRecorded(l leftovers) {
	var all sync.WaitGroup
	for _, r := range l.records {
		all.Go(func() { d.endOne(r) })
	}
	all.Wait()
	for id := range l.records {
		d.records.Drop(id)
	}
}

// endOne ends one worker, known again by pid and start time, by the stop ladder.
func (d *daemon) endOne(r handover.Record) {
	ended, err := process.EndRecorded(d.ctx, recorded(r), unix.Signal(r.KillSignal), r.KillAfter)
	switch {
	case err != nil:
		d.log.Printf("%s: cannot end pid %d, which an earlier supervisor has left: %v", label(r.App, r.Slot), r.PID, err)
	case len(ended.Signalled)+len(ended.Killed) > 0:
		d.log.Printf("%s: ended pid %d, which an earlier supervisor has left and nobody knows of", label(r.App, r.Slot), r.PID)
	}
}
