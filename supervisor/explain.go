package supervisor

import (
	"fmt"
	"time"
)

// explain says why a worker's process is no more, for a person.
func (w *member) explain(now time.Duration) *failure {
	f := &failure{Stage: "run"}
	if w.end != nil {
		f.Lines = w.end.Lines
	}
	since := func(at time.Duration) string { return (now - at).Round(time.Millisecond).String() }
	switch {
	case w.unborn != nil:
		return w.unborn
	case w.notReady:
		f.Stage, f.Reason = "ready", w.lateness()
	case w.onlineAt == 0:
		f.Stage = "ready"
		f.Reason = fmt.Sprintf("%s, %s after its start, before it was ready", w.howEnded(), since(w.spawnedAt))
	case w.m.Failed:
		f.Stage = "soak"
		f.Reason = fmt.Sprintf("%s, %s after it was ready, within its soak", w.howEnded(), since(w.onlineAt))
	default:
		f.Reason = fmt.Sprintf("%s, %s after it was ready", w.howEnded(), since(w.onlineAt))
	}
	return f
}

// howEnded is the end of the process in hand: "ended with exit code 3", "killed by
// SIGSEGV".
func (w *member) howEnded() string {
	switch {
	case w.end == nil:
		return "ended"
	case w.end.Signal != 0:
		return w.end.How
	}
	return "ended with " + w.end.How
}
