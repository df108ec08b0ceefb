package supervisor

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"supervisor/supervisor/rollout"
	"supervisor/supervisor/state"
	"supervisor/supervisor/worker"
)

// Schema numbers the form in which the loop records its state; it reads that and the
// one before, from OldestSchema on. Whoever changes what is recorded, or what one of
// its numbers stands for, counts it up.
const (
	Schema       = 1
	OldestSchema = 1
)

// record is the loop's whole state as it is written down. Instants are nanoseconds of
// the loop's Clock, 0 for none. Environments are in it as they are: it is for no eyes
// but the owner's.
type record struct {
	Schema  int              `json:"schema"`
	LastID  uint64           `json:"last_id"`
	LastKey uint64           `json:"last_key"`
	Unkept  []*state.Receipt `json:"unkept"`
	Apps    []appRecord      `json:"apps"`
}

type appRecord struct {
	Head        appHead        `json:"head"`
	Env         []string       `json:"env"`
	Starting    *startRecord   `json:"starting,omitzero"`
	Roll        *rollRecord    `json:"roll,omitzero"`
	Gens        []genRecord    `json:"gens"`
	LastReceipt *state.Receipt `json:"last_receipt"`
	Members     []memberRecord `json:"members"`
}

// appHead is what of an app is quickly written.
type appHead struct {
	Name     string     `json:"name"`
	Want     state.Want `json:"want"`
	Spec     state.Spec `json:"spec"`
	EnvName  string     `json:"env_name,omitzero"`
	Count    int        `json:"count"`
	Cur      int        `json:"cur"`
	Last     int        `json:"last"`
	Restarts int        `json:"restarts,omitzero"`
	Unseen   bool       `json:"unseen,omitzero"`
	Silent   bool       `json:"silent,omitzero"`
	Notes    []string   `json:"notes,omitempty"`
	Holding  bool       `json:"holding,omitzero"`
	Untidy   bool       `json:"untidy,omitzero"`
	Tried    bool       `json:"tried,omitzero"`
	Deleting bool       `json:"deleting,omitzero"`
	Ops      []opRecord `json:"ops,omitempty"`
}

type opRecord struct {
	Kind   opKind `json:"kind"`
	Action string `json:"action"`
	Since  uint64 `json:"since,omitzero"`
}

// startRecord is without the token: what was being prepared is prepared again.
type startRecord struct {
	Head startHead `json:"head"`
	Env  []string  `json:"env"`
}

type startHead struct {
	Spec  state.Spec `json:"spec"`
	Count int        `json:"count"`
}

// rollRecord is without the token too.
type rollRecord struct {
	Head rollHead               `json:"head"`
	Env  []string               `json:"env"`
	Rows []*state.WorkerReceipt `json:"rows"`
}

type rollHead struct {
	Rec       rollout.Record `json:"rec"`
	Spec      state.Spec     `json:"spec"`
	Target    int            `json:"target"` // 0: it isn't prepared
	Instances int            `json:"instances"`
	Wanted    int            `json:"wanted"`
	Spawned   bool           `json:"spawned"`
	Over      bool           `json:"over"`
	Began     time.Duration  `json:"began"`
	StartedAt time.Time      `json:"started_at"`
	Cut       int            `json:"cut"`
	Drops     []*int64       `json:"drops"`
	Asked     int            `json:"asked"` // questions about drops that are unanswered
	Lines     []string       `json:"lines,omitempty"`
}

type genRecord struct {
	Head   genHead          `json:"head"`
	Launch state.Launch     `json:"launch"`
	Served map[int][]string `json:"served"`
}

type genHead struct {
	N    int        `json:"n"`
	Spec state.Spec `json:"spec"`
}

// memberRecord is comparable: what it points to is replaced, never changed.
type memberRecord struct {
	Key        uint64        `json:"key"`
	Slot       int           `json:"slot"`
	Gen        int           `json:"gen"`
	Machine    worker.Record `json:"machine"`
	InferAfter time.Duration `json:"infer_after,omitzero"` // of the machine's policy
	Timers     dues          `json:"timers,omitzero"`

	Fresh    bool     `json:"fresh,omitzero"`
	Back     bool     `json:"back,omitzero"`
	Retiring string   `json:"retiring,omitzero"`
	ByRoll   bool     `json:"by_roll,omitzero"` // the rollout under way told it so
	Remains  bool     `json:"remains,omitzero"`
	Settled  bool     `json:"settled,omitzero"`
	Failure  *failure `json:"failure,omitzero"`

	ID        uint64        `json:"id,omitzero"`
	PID       int           `json:"pid,omitzero"`
	SpawnedAt time.Duration `json:"spawned_at,omitzero"`
	OnlineAt  time.Duration `json:"online_at,omitzero"`
	StopAt    time.Duration `json:"stop_at,omitzero"`
	Via       string        `json:"via,omitzero"`
	Heard     *heard        `json:"heard,omitzero"`
	Said      string        `json:"said,omitzero"`
	Gates     gates         `json:"gates,omitzero"`
	Killed    bool          `json:"killed,omitzero"`
	Cut       *int          `json:"cut,omitzero"`
	NotReady  bool          `json:"not_ready,omitzero"`
	Alone     bool          `json:"alone,omitzero"`
	Unborn    *failure      `json:"unborn,omitzero"`
	End       *end          `json:"end,omitzero"`
	Before    *end          `json:"before,omitzero"`
}

// dues are a member's timers, as the instants at which they are due.
type dues [timerKinds]time.Duration

// MarshalJSON writes what is armed, by name.
func (d dues) MarshalJSON() ([]byte, error) {
	text := []byte{'{'}
	for _, k := range worker.Kinds {
		if d[k] != 0 {
			if len(text) > 1 {
				text = append(text, ',')
			}
			text = fmt.Appendf(text, "%q:%d", k, d[k])
		}
	}
	return append(text, '}'), nil
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (d *dues) UnmarshalJSON(text []byte) error {
	var named map[string]time.Duration
	if err := json.Unmarshal(text, &named); err != nil {
		return err
	}
	for name, due := range named {
		k, ok := worker.KindNamed(name)
		if !ok {
			return fmt.Errorf("there is no timer %q", name)
		}
		d[k] = due
	}
	return nil
}

func (a *app) head() appHead {
	h := appHead{
		Name: a.name, Want: a.want, Spec: a.spec, EnvName: a.envName, Count: a.count, Cur: a.cur, Last: a.last,
		Restarts: a.restarts, Unseen: a.unseen, Silent: a.silent, Notes: a.notes,
		Holding: a.holding, Untidy: a.untidy, Tried: a.tried, Deleting: a.deleting,
	}
	for _, o := range a.ops {
		h.Ops = append(h.Ops, opRecord{o.kind, o.action, o.since})
	}
	return h
}

func (a *app) rollHead() rollHead {
	r := a.roll
	h := rollHead{
		Rec: r.rec, Spec: r.spec, Instances: r.instances, Wanted: r.wanted, Spawned: r.spawned, Over: r.over,
		Began: r.began, StartedAt: r.startedAt, Cut: r.cut, Drops: r.drops, Lines: r.lines,
	}
	if r.target != nil {
		h.Target = r.target.n
	}
	for _, asked := range a.asked {
		if asked == r {
			h.Asked++
		}
	}
	return h
}

// servedBy is the generation's served as lists in order.
func (g *generation) servedBy() map[int][]string {
	served := map[int][]string{}
	for slot, addrs := range g.served {
		served[slot] = slices.Sorted(maps.Keys(addrs))
	}
	return served
}

func (w *member) record() memberRecord {
	r := memberRecord{
		Key: w.key, Slot: w.slot, Gen: w.gen.n, Machine: w.m.Record(), InferAfter: w.m.Policy.InferAfter,
		Fresh: w.fresh, Back: w.back, Retiring: w.retiring, ByRoll: w.by != nil && w.by == w.app.roll,
		Remains: w.remains, Settled: w.settled, Failure: w.failure,
		ID: w.id, PID: w.pid, SpawnedAt: w.spawnedAt, OnlineAt: w.onlineAt, StopAt: w.stopAt,
		Via: w.via, Heard: w.heard, Said: w.said, Gates: w.gates, Killed: w.killed, Cut: w.cut,
		NotReady: w.notReady, Alone: w.alone, Unborn: w.unborn, End: w.end, Before: w.before,
	}
	for k, t := range w.timers {
		r.Timers[k] = t.due
	}
	return r
}
