package supervisor

import (
	"fmt"
	"time"
)

// explain says why a worker's process is no more, for a person.
func (w *member) explain() *failure {
	f := &failure{stage: "run", end: w.end}
	if w.end != nil {
		f.lines = w.end.lines
	}
	since := func(t time.Time) string { return time.Since(t).Round(time.Millisecond).String() }
	switch {
	case w.unborn != nil:
		return w.unborn
	case w.notReady:
		f.stage, f.reason = "ready", w.lateness()
	case w.onlineAt.IsZero():
		f.stage = "ready"
		f.reason = fmt.Sprintf("%s, %s after its start, before it was ready", w.howEnded(), since(w.spawnedAt))
	case w.m.Failed:
		f.stage = "soak"
		f.reason = fmt.Sprintf("%s, %s after it was ready, within its soak", w.howEnded(), since(w.onlineAt))
	default:
		f.reason = fmt.Sprintf("%s, %s after it was ready", w.howEnded(), since(w.onlineAt))
	}
	return f
}

// howEnded is the end of the process in hand: "ended with exit code 3", "killed by
// SIGSEGV".
func (w *member) howEnded() string {
	switch {
	case w.end == nil:
		return "ended"
	case w.end.signal != 0:
		return w.end.how
	}
	return "ended with " + w.end.how
}
