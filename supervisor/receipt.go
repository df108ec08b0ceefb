package supervisor

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"supervisor/supervisor/rollout"
	"supervisor/supervisor/state"
)

// results are the planner's results in the receipt's words.
var results = [...]string{
	rollout.Running:    state.Interrupted,
	rollout.Complete:   state.Complete,
	rollout.RolledBack: state.RolledBack,
	rollout.Failed:     state.Failed,
}

// result is the planner's, unless the supervisor's death made it what it is.
func (r *roll) result() string {
	if r.rec.Interrupted && r.rec.Result != rollout.Complete {
		return state.Interrupted
	}
	return results[r.rec.Result]
}

// verbs are the kinds of rollout as users ask for them.
var verbs = [...]string{rollout.Reload: "reload", rollout.Restart: "restart"}

// errNotComplete is the end of a reload that did not do what was asked.
type errNotComplete struct{ verb, app, result, reason string }

func (e errNotComplete) Error() string {
	return fmt.Sprintf("cannot %s %s: %s (%s)", e.verb, e.app, e.reason, strings.ReplaceAll(e.result, "_", " "))
}

// row is one slot's part of a receipt in the making.
type row struct {
	state.WorkerReceipt
	edits int // times that it was asked for to be written to
	image piece[int]
}

// row returns a slot's row to be written to.
func (r *roll) row(slot int) *row {
	to := r.rows[slot]
	if to == nil {
		to = &row{WorkerReceipt: state.WorkerReceipt{Slot: slot, LastLines: []string{}}}
		r.rows[slot] = to
	}
	to.edits++
	return to
}

// receipt is what the rollout has done until now.
func (r *roll) receipt(a *app, result string, now time.Duration) *state.Receipt {
	rec := &state.Receipt{
		Name: a.name, Result: result, FromGeneration: r.rec.From, ToGeneration: r.rec.To,
		StartedAt: r.startedAt, DurationMS: (now - r.began).Milliseconds(),
		Reason: r.rec.Reason, ConnectionsCut: r.cut, Workers: []state.WorkerReceipt{},
	}
	if rec.ToGeneration == 0 {
		rec.ToGeneration = rec.FromGeneration
	}
	if len(r.drops) == 2 && r.drops[0] != nil && r.drops[1] != nil {
		n := max(0, *r.drops[1]-*r.drops[0])
		rec.QueueDrops = &n
	}
	for _, slot := range slices.Sorted(maps.Keys(r.rows)) {
		row := r.rows[slot].WorkerReceipt
		row.SlotRuns = a.runs(slot)
		rec.Workers = append(rec.Workers, row)
	}
	return rec
}

// runs returns the generation that a slot runs: of an online worker that stays,
// else of any that stays, 0 for none.
func (a *app) runs(slot int) int {
	gen := 0
	for _, w := range a.in(slot) {
		if w.retiring == "" && (gen == 0 || w.m.State == state.Online) {
			gen = w.gen.n
		}
	}
	return gen
}

// noteSpawn empties the new worker's part of a row: it may be spawned again, after a
// crash beyond its soak.
func (l *Loop) noteSpawn(w *member) {
	if r := w.app.roll; r != nil && w.fresh {
		row := r.row(w.slot)
		row.NewPID, row.ReadyMS, row.ReadyBy = 0, nil, ""
		row.Stage, row.LastLines, row.NewExitCode, row.NewSignal = "", []string{}, nil, ""
	}
}

func (l *Loop) noteSpawned(w *member) {
	if r := w.app.roll; r != nil && w.fresh {
		r.row(w.slot).NewPID = w.pid
	}
}

func (l *Loop) noteReady(w *member) {
	if r := w.app.roll; r != nil && w.fresh {
		ms := (w.onlineAt - w.spawnedAt).Milliseconds()
		row := r.row(w.slot)
		row.ReadyMS, row.ReadyBy = &ms, w.readyBy()
	}
}

// readyBy names the sign that a worker was ready by, for a person.
func (w *member) readyBy() string {
	if w.via == "" {
		return "inferred"
	}
	return w.via
}

// noteFailed fills the new worker's part of a row.
func (l *Loop) noteFailed(w *member, f *failure) {
	r := w.app.roll
	if r == nil || !w.fresh {
		return
	}
	row := r.row(w.slot)
	row.Stage, row.LastLines = f.Stage, f.Lines
	if row.LastLines == nil {
		row.LastLines = []string{}
	}
	if w.end != nil {
		row.NewExitCode, row.NewSignal = w.end.status()
	}
	if r.rec.Phase != rollout.RollingBack { // of the first that failed, which is the reason
		r.lines = f.Lines
	}
}

// noteGone fills the old worker's part of a row: one that was told to leave and did.
func (l *Loop) noteGone(w *member) {
	r := w.app.roll
	if r == nil || w.retiring == "" {
		return
	}
	if w.cut != nil && (w.killed || w.diedServing()) {
		r.cut += *w.cut
	}
	if w.fresh || w.by != r || w.retiring == "scale" || w.retiring == "superseded" {
		return
	}
	row := r.row(w.slot)
	row.OldPID, row.Killed = w.pid, w.killed
	if w.killed {
		row.OpenAtKill = w.cut
	}
	if w.stopAt != 0 {
		ms := (l.now() - w.stopAt).Milliseconds()
		row.DrainMS = &ms
	}
	if w.end != nil {
		row.ExitCode, row.Signal = w.end.status()
	}
}

// diedServing reports whether the main process, being the one that serves, ended
// otherwise than with code 0, so that what was open at the stop signal was cut. Of a
// server behind a wrapper (npm, a shell) the end is not known: the wrapper's says
// nothing, since shells die of the signal after their child has drained.
func (w *member) diedServing() bool {
	if w.end == nil || w.end.Signal == 0 && w.end.Code == 0 {
		return false
	}
	return len(w.listeners()) == 0 || slices.Contains(w.listeners(), w.pid)
}

// status tells an exit code apart from a death by signal.
func (e *end) status() (*int, string) {
	switch {
	case e.Signal != 0:
		return nil, e.Name
	case e.Code == UnknownCode:
		return nil, ""
	}
	code := e.Code
	return &code, ""
}
