package daemon

import (
	"fmt"

	"golang.org/x/sys/unix"

	"supervisor/supervisor/handover"
	"supervisor/supervisor/process"
)

// endOne ends one worker of an earlier daemon, known again by pid and start time.
func (d *daemon) endOne(r handover.Record) {
	ended, err := process.EndRecorded(d.ctx, process.Recorded{
		PID: r.PID, StartTime: r.StartTime, Mark: fmt.Sprintf("SUPERVISOR_WORKER=%d", r.ID),
	}, unix.Signal(r.KillSignal), r.KillAfter)
	switch {
	case err != nil:
		d.log.Printf("%s: cannot end pid %d, which an earlier supervisor has left: %v", label(r.App, r.Slot), r.PID, err)
	case len(ended.Signalled)+len(ended.Killed) > 0:
		d.log.Printf("%s: ended pid %d, which an earlier supervisor has left (it can't be adopted yet)", label(r.App, r.Slot), r.PID)
	}
}
