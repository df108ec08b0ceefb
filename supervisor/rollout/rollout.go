// Package rollout is the pure planner of one app's reload: after each fact it
// compares what is missing with what is in excess and orders the difference. It
// has no clock and no OS; it never waits, it is asked again.
//
// Invariants, fuzzed over random histories (DESIGN section 4):
//
//   - I1 no order takes the slots that have an online worker, not told to leave,
//     below instances - max_unavailable. A slot counts once: to remove the second
//     of two online workers takes nothing, even while another slot is down;
//   - I2 seats taken (a process alive, or waiting to be restarted) never exceed
//     instances + max_surge by an order of this package;
//   - I3 an old worker is told to leave only when its slot's successor is online
//     and soaked, beyond what max_unavailable allows (there, trials count as
//     unavailable);
//   - I4 one rollout per app (the caller's part; a View has one Record);
//   - I5 a timeout is a failure: a failed new worker aborts;
//   - an abort leaves untouched every slot whose old worker still runs;
//   - an interrupted rollout spawns nothing forward, and tells nobody to leave before
//     every covered slot has a successor that is online and soaked;
//   - it ends: a view without orders has a worker on its way to another state, or
//     the rollout is over.
//
// A scale is the caller's alone: slots beyond instances are given up at once.
package rollout

// Kind says what a rollout is for.
type Kind uint8

const (
	Reload  Kind = iota // new workers of generation To for those of From
	Restart             // the same generation, slot by slot, stopped then started
)

// Phase is where a rollout is.
type Phase uint8

const (
	Idle        Phase = iota // none runs, or this one is over: see Result
	Progressing              // something is missing or in excess
	Soaking                  // waiting for new workers to prove themselves, nothing else
	RollingBack              // a new worker failed: back to what ran
)

// Result is how a rollout ended.
type Result uint8

const (
	Running    Result = iota
	Complete          // every covered slot runs its new worker, the old are gone
	RolledBack        // every covered slot runs what it ran before
	Failed            // mixed
)

// Record is what is kept about one rollout between facts. It is data: the loop
// stores it, a successor of the daemon may read it back.
type Record struct {
	Kind   Kind   `json:"kind"`
	From   int    `json:"from"`  // generation that a failure goes back to: the last complete one
	To     int    `json:"to"`    // generation of the new workers (== From for Restart)
	Slots  []int  `json:"slots"` // covered slots; nil: all. Empty slots beside them are the caller's
	Phase  Phase  `json:"phase"`
	Result Result `json:"result"`
	Reason string `json:"reason,omitzero"` // why it rolls back, "" while it doesn't
	// Interrupted: the caller died while it went forward, so it settles (Interrupt).
	Interrupted bool `json:"interrupted,omitzero"`
	// Replaced lists the slots whose old worker was told to leave (or was found
	// without one), Back those in which a rollback spawned a worker, Kept those that
	// keep their new worker in spite of CanRollback, since what ran before doesn't
	// run. All ascending, without the slots that a scale gave up.
	Replaced []int `json:"replaced,omitempty"`
	Back     []int `json:"back,omitempty"`
	Kept     []int `json:"kept,omitempty"`
}

// Worker is what the planner sees of one worker.
type Worker struct {
	Key    uint64 // opaque, unique among the app's workers
	Slot   int
	Gen    int
	New    bool // spawned by this rollout, going forward (not a rollback's)
	Online bool // ready and not told to leave
	Soaked bool // online, and for as long as it must be
	Proven bool // has soaked once, so that the policy restarts it from then on
	Going  bool // told to leave, not gone yet
	Seat   bool // a process exists or a restart is scheduled (also while Going)
	// Failed, of a New worker: it ended, or timed out, before it had soaked, or gave
	// up later (one without a Seat counts as failed too). Of one spawned with Back:
	// its first start failed. Without meaning for others.
	Failed bool
	Reason string // of Failed, for a person
}

// View is all the planner knows.
type View struct {
	Record         Record
	Instances      int // target; may change while a rollout runs (scale)
	MaxSurge       int // Instances for blue-green, 0 for Restart
	MaxUnavailable int // 1 for Restart. If neither is above 0, MaxSurge counts as 1
	BlueGreen      bool
	// CanRollback: From still exists under real paths of its own, or differs in its
	// spec, so spawning it again brings back what ran.
	CanRollback bool
	Workers     []Worker
}

// Order is one act for the loop: Spawn or Retire.
type Order interface{ order() }

// Spawn asks for one worker. New workers (Back false) are on trial: an end before
// they have soaked is reported as Failed and not restarted by the policy. Workers
// spawned to roll back (Back true) follow the ordinary restart policy.
type Spawn struct {
	Slot, Gen int
	Back      bool
}

// Retire tells one worker to leave and to be forgotten when it is gone.
type Retire struct {
	Key uint64
	Why string // "replaced", "rollback", "scale", "superseded"
}

func (Spawn) order()  {}
func (Retire) order() {}
