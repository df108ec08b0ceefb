package supervisor

import (
	"bytes"
	"encoding/json"
	"fmt"

	"supervisor/supervisor/rollout"
	"supervisor/supervisor/state"
	"supervisor/supervisor/worker"
)

// Found is a spawn that was adopted: the hands know it, and will tell how it ends or
// has ended, as of any other.
type Found struct {
	PID  int
	App  string
	Slot int
}

// RestoreOptions say how the loop before ended.
type RestoreOptions struct {
	// Crash: it died, so the rollouts that it was at settle by rule (package rollout,
	// Interrupt). Else it handed over, and they go on.
	Crash bool
	// Begun names the spawns whose program may have run. One that is on record, is not
	// found and has not begun is spawned again; one that has begun ended unseen.
	Begun map[uint64]bool
	// Clock is the one that the record was written by.
	Clock Clock
}

// restored is what a restored loop needs to know when it begins.
type restored struct {
	found map[uint64]Found
	RestoreOptions
}

// Restore returns a loop that has not begun and is as the one was that recorded data.
// Run begins by ordering again what may not have been done, which is all harmless to do
// twice; it tells itself what has become of each spawn. An error says what is wrong
// with data; that of a newer supervisor names both schemas.
func Restore(info state.DaemonInfo, data []byte, found map[uint64]Found, o RestoreOptions) (*Loop, error) {
	rec, err := readRecord(data)
	if err != nil {
		return nil, err
	}
	l := New(info, rec.LastID, o.Clock)
	l.lastKey = rec.LastKey
	for id := range found {
		l.lastID = max(l.lastID, id)
	}
	for id := range o.Begun {
		l.lastID = max(l.lastID, id)
	}
	for _, r := range rec.Unkept {
		if r == nil {
			return nil, fmt.Errorf("cannot read the state of the supervisor: a receipt is missing")
		}
		l.unkept = append(l.unkept, unkept{r, l.book.ink.text(`,`, r)})
	}
	for _, r := range rec.Apps {
		a, err := r.app()
		if err == nil && l.find(a.name) != nil {
			err = fmt.Errorf("it is there twice")
		}
		if err != nil {
			return nil, fmt.Errorf("cannot read the state of the supervisor: app %q: %w", r.Head.Name, err)
		}
		l.apps = append(l.apps, a)
	}
	l.before = &restored{found, o}
	return l, nil
}

// readRecord decodes what a supervisor of this schema, or of the one before, recorded.
func readRecord(data []byte) (*record, error) {
	var form struct {
		Schema *int `json:"schema"`
	}
	err := json.Unmarshal(data, &form)
	switch {
	case err != nil:
		return nil, fmt.Errorf("cannot read the state of the supervisor: %w", err)
	case form.Schema == nil:
		return nil, fmt.Errorf("cannot read the state of the supervisor: it has no schema")
	case *form.Schema > Schema:
		return nil, ErrNewer{*form.Schema, readable()}
	case *form.Schema < OldestSchema:
		return nil, fmt.Errorf("cannot read the state of a supervisor that is too old (schema %d; this one reads %s)", *form.Schema, readable())
	}
	rec := &record{}
	dec := json.NewDecoder(bytes.NewReader(data))
	if err := dec.Decode(rec); err != nil {
		return nil, fmt.Errorf("cannot read the state of the supervisor: %w", err)
	}
	return rec, nil
}

// ErrNewer is a state that only a newer supervisor can read. Reads names the schemas that
// this one reads.
type ErrNewer struct {
	Schema int
	Reads  string
}

func (e ErrNewer) Error() string {
	return fmt.Sprintf("cannot read the state of a newer supervisor (schema %d; this one reads %s)", e.Schema, e.Reads)
}

// readable names the schemas that can be read.
func readable() string {
	if OldestSchema == Schema {
		return fmt.Sprint(Schema)
	}
	return fmt.Sprintf("%d and %d", OldestSchema, Schema)
}

// maxCount bounds the numbers of slots that are believed.
const maxCount = 1 << 20

func (r appRecord) app() (*app, error) {
	h := r.Head
	a := &app{
		name: h.Name, want: h.Want, spec: h.Spec, env: r.Env, envName: h.EnvName, count: h.Count,
		gens: map[int]*generation{}, cur: h.Cur, last: h.Last, restarts: h.Restarts,
		unseen: h.Unseen, silent: h.Silent, notes: h.Notes, holding: h.Holding, untidy: h.Untidy,
		tried: h.Tried, deleting: h.Deleting, lastReceipt: r.LastReceipt,
	}
	for _, g := range r.Gens {
		a.gens[g.Head.N] = g.generation()
	}
	switch {
	case a.name == "":
		return nil, fmt.Errorf("it has no name")
	case a.want > state.Up:
		return nil, fmt.Errorf("there is no wish %d", a.want)
	case a.count < 0 || a.count > maxCount:
		return nil, fmt.Errorf("it cannot have %d workers", a.count)
	case a.cur != 0 && a.gens[a.cur] == nil, a.cur == 0 && (r.Roll != nil || a.want == state.Up && r.Starting == nil):
		return nil, fmt.Errorf("its generation %d is missing", a.cur)
	}
	if s := r.Starting; s != nil {
		a.starting = &starting{spec: s.Head.Spec, env: s.Env, count: s.Head.Count}
		if s.Head.Count < 0 || s.Head.Count > maxCount {
			return nil, fmt.Errorf("it cannot start with %d workers", s.Head.Count)
		}
	}
	for _, o := range h.Ops {
		if o.Kind >= opKinds {
			return nil, fmt.Errorf("there is no operation %d", o.Kind)
		}
		a.ops = append(a.ops, &op{kind: o.Kind, action: o.Action, since: o.Since})
	}
	if r.Roll != nil {
		if err := r.Roll.restore(a); err != nil {
			return nil, err
		}
	}
	for _, m := range r.Members {
		w, err := m.member(a)
		if err != nil {
			return nil, fmt.Errorf("worker of slot %d: %w", m.Slot, err)
		}
		a.members = append(a.members, w)
	}
	return a, nil
}

func (r genRecord) generation() *generation {
	g := &generation{n: r.Head.N, spec: r.Head.Spec, launch: r.Launch, served: map[int]map[string]bool{}}
	for slot, addrs := range r.Served {
		for _, addr := range addrs {
			g.serve(slot, addr)
		}
	}
	return g
}

// restore gives an app its rollout.
func (r *rollRecord) restore(a *app) error {
	h := r.Head
	switch {
	case h.Rec.Kind > rollout.Restart || h.Rec.Phase > rollout.RollingBack || h.Rec.Result > rollout.Failed:
		return fmt.Errorf("there is no such rollout: kind %d, phase %d, result %d", h.Rec.Kind, h.Rec.Phase, h.Rec.Result)
	case h.Instances < 0 || h.Instances > maxCount || h.Wanted < 0 || h.Wanted > maxCount || h.Asked < 0 || h.Asked > 2:
		return fmt.Errorf("there is no such rollout: %d instances, %d wanted, %d asked", h.Instances, h.Wanted, h.Asked)
	case h.Target != 0 && a.gens[h.Target] == nil:
		return fmt.Errorf("the rollout's generation %d is missing", h.Target)
	case h.Target == 0 && h.Rec.Result == rollout.Complete, h.Over != (h.Rec.Result != rollout.Running):
		return fmt.Errorf("the rollout has result %d too early", h.Rec.Result)
	}
	a.roll = &roll{
		rec: h.Rec, spec: h.Spec, env: r.Env, target: a.gens[h.Target], instances: h.Instances, wanted: h.Wanted,
		spawned: h.Spawned, over: h.Over, began: h.Began, startedAt: h.StartedAt, rows: map[int]*row{},
		cut: h.Cut, drops: h.Drops, lines: h.Lines,
	}
	for _, w := range r.Rows {
		if w == nil {
			return fmt.Errorf("a row of the rollout is missing")
		}
		a.roll.rows[w.Slot] = &row{WorkerReceipt: *w}
	}
	for range h.Asked {
		a.asked = append(a.asked, a.roll)
	}
	return nil
}

func (r memberRecord) member(a *app) (*member, error) {
	g := a.gens[r.Gen]
	if g == nil {
		return nil, fmt.Errorf("its generation %d is missing", r.Gen)
	}
	if r.Slot < 0 || r.Slot > maxCount {
		return nil, fmt.Errorf("there is no such slot")
	}
	p := policy(g.spec)
	p.InferAfter = r.InferAfter
	if r.Remains {
		p.PreDrain = 0
	}
	m, err := r.Machine.Machine(p)
	if err != nil {
		return nil, err
	}
	w := &member{
		app: a, key: r.Key, slot: r.Slot, gen: g, m: m,
		fresh: r.Fresh, back: r.Back, retiring: r.Retiring, remains: r.Remains, settled: r.Settled, failure: r.Failure,
		id: r.ID, pid: r.PID, spawnedAt: r.SpawnedAt, onlineAt: r.OnlineAt, stopAt: r.StopAt,
		via: r.Via, heard: r.Heard, said: r.Said, gates: r.Gates, killed: r.Killed, cut: r.Cut,
		notReady: r.NotReady, alone: r.Alone, unborn: r.Unborn, end: r.End, before: r.Before,
	}
	if r.ByRoll {
		w.by = a.roll
	}
	for _, k := range worker.Kinds {
		w.timers[k].due = r.Timers[k]
	}
	return w, nil
}
