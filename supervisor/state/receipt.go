package state

import "time"

// Results of a reload (DESIGN section 4).
const (
	Complete    = "complete"
	RolledBack  = "rolled_back" // every slot runs what it ran
	Failed      = "failed"      // mixed: SlotRuns says which slot runs what
	Superseded  = "superseded"
	Interrupted = "interrupted"
	Skipped     = "skipped"
)

// Receipt is what one reload of one app did. Durations are milliseconds.
type Receipt struct {
	Name           string          `json:"name"`
	Result         string          `json:"result"`
	FromGeneration int             `json:"from_generation"`
	ToGeneration   int             `json:"to_generation"`
	StartedAt      time.Time       `json:"started_at"`
	DurationMS     int64           `json:"duration_ms"`
	Reason         string          `json:"reason"`
	ConnectionsCut int             `json:"connections_cut"`
	QueueDrops     *int64          `json:"queue_drops"`
	Workers        []WorkerReceipt `json:"workers"`
}

// WorkerReceipt is one slot's part of a Receipt. Fields up to OpenAtKill are
// about the old worker, New*, Stage and LastLines about the new one.
type WorkerReceipt struct {
	Slot        int      `json:"slot"`
	OldPID      int      `json:"old_pid"`
	NewPID      int      `json:"new_pid"`
	ReadyMS     *int64   `json:"ready_ms"` // from spawn
	ReadyBy     string   `json:"ready_by"` // READY_FD, NOTIFY_SOCKET, node ipc, listening, probe, inferred
	DrainMS     *int64   `json:"drain_ms"` // from the stop signal to an empty group
	Killed      bool     `json:"killed"`
	OpenAtKill  *int     `json:"open_at_kill"`
	ExitCode    *int     `json:"exit_code"`
	Signal      string   `json:"signal"`
	NewExitCode *int     `json:"new_exit_code"`
	NewSignal   string   `json:"new_signal"`
	Stage       string   `json:"stage"`
	LastLines   []string `json:"last_lines"`
	SlotRuns    int      `json:"slot_runs"` // the generation
}

// Plan is what a start or reload of a file would do, for --dry-run.
type Plan struct {
	Apps []PlanApp `json:"apps"`
}

// PlanApp is one app of a Plan.
type PlanApp struct {
	Name    string   `json:"name"`
	Action  string   `json:"action"` // start, reload, scale, delete, unchanged, replace
	Changed []string `json:"changed"`
	Why     string   `json:"why,omitempty"`
}
