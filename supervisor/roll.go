package supervisor

import (
	"maps"
	"slices"
	"time"

	"supervisor/supervisor/rollout"
	"supervisor/supervisor/state"
	"supervisor/supervisor/worker"
)

// roll is one rollout under way: the planner's record, and what its receipt will say.
type roll struct {
	rec    rollout.Record
	spec   state.Spec // becomes the app's when the rollout is complete
	env    []string
	token  uint64      // of the Prepare under way
	target *generation // nil until it is prepared

	instances int // what is planned with: nothing is scaled down before it is complete
	wanted    int // the count when it is complete
	spawned   bool
	over      bool // the result is there; the last of the old is waited for

	began     time.Duration // by the loop's clock
	startedAt time.Time     // UTC; of the app's receipts no two have the same
	rows      map[int]*row
	cut       int
	drops     []*int64 // at the beginning, at the end; nil: not known
	lines     []string // of what failed

	image rollImage
}

// reload replaces every worker of an app by one of a new generation.
func (l *Loop) reload(a *app, spec state.Spec, env []string, reply waiter) {
	switch {
	case a.want == state.Down:
		a.take(spec, env)
		reply.tell(Outcome{Action: WasStopped})
		return
	case a.starting != nil: // nothing runs yet: start the newer one instead
		to := a.aim()
		count := recount(to.spec, to.count, spec)
		a.starting = &starting{spec: spec, env: env, count: count}
		a.wait(opStart, Started, reply)
		return
	case a.roll != nil && a.roll.joins(spec, env):
		a.wait(opRoll, Reloaded, reply)
		return
	}
	l.newRoll(a, rollout.Reload, spec, env)
	a.wait(opRoll, Reloaded, reply)
	l.prepareRoll(a)
}

// prepareRoll asks for the generation that a reload is to bring.
func (l *Loop) prepareRoll(a *app) {
	r := a.roll
	r.token = l.key()
	a.holding = true
	l.world.Prepare(PrepareOrder{App: a.name, Gen: a.last + 1, Token: r.token, Spec: r.spec, Env: r.env})
}

// restart replaces every worker by one of the same generation, slot by slot.
func (l *Loop) restart(a *app, reply waiter) {
	if a.want == state.Down || !a.busy() && !a.alive() || a.starting != nil {
		l.startApp(a, reply)
		return
	}
	r := l.newRoll(a, rollout.Restart, a.spec, a.env)
	r.target, r.rec.To = a.current(), a.cur
	a.wait(opRoll, Restarted, reply)
}

// forward reports whether a rollout is under way that has not failed, nor been
// interrupted.
func (a *app) forward() bool {
	return a.roll != nil && !a.roll.over && a.roll.rec.Phase != rollout.RollingBack && !a.roll.rec.Interrupted
}

// joins reports whether a second request is served by a rollout: only while it has
// spawned nothing, since the code on disk may have changed after that.
func (r *roll) joins(spec state.Spec, env []string) bool {
	return !r.spawned && !r.over && !r.rec.Interrupted && r.rec.Kind == rollout.Reload &&
		len(state.Diff(r.spec, spec)) == 0 && slices.Equal(r.env, env)
}

// newRoll begins a rollout; one under way is superseded, and every slot is replaced
// again: its workers are old ones now.
func (l *Loop) newRoll(a *app, kind rollout.Kind, spec state.Spec, env []string) *roll {
	wanted := a.count
	if to := a.aim(); kind == rollout.Reload {
		wanted = recount(to.spec, to.count, spec)
	}
	if a.roll != nil {
		l.overtake(a)
	}
	a.settleMembers()
	r := &roll{
		spec: spec, env: env, began: l.now(), startedAt: a.nextStart(), wanted: wanted, instances: max(a.count, wanted),
		rec:  rollout.Record{Kind: kind, From: a.cur, Phase: rollout.Progressing},
		rows: map[int]*row{},
	}
	if wanted < a.count {
		r.rec.Slots = upTo(wanted)
	}
	a.roll = r
	for slot := range wanted {
		row := r.row(slot)
		for _, w := range a.in(slot) {
			if w.m.State == state.Online {
				row.OldPID = w.pid
			}
		}
	}
	l.askDrops(a)
	l.publish(state.Event{Kind: state.EventReload, App: a.name, What: "begun"})
	return r
}

// nextStart is the time of a rollout that begins now, later than that of the one before:
// it tells their receipts apart.
func (a *app) nextStart() time.Time {
	now := time.Now().UTC()
	if last := a.lastReceipt; last != nil && !now.After(last.StartedAt) {
		now = last.StartedAt.Add(1)
	}
	return now
}

func upTo(n int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	return all
}

// settleMembers ends what a rollout said of its members: they are just workers now.
func (a *app) settleMembers() {
	for _, w := range a.members {
		w.fresh, w.back, w.m.Trial = false, false, false
	}
}

// scaled moves the target of a rollout under way.
func (r *roll) scaled(to int) {
	r.instances, r.wanted, r.rec.Slots = to, to, nil
}

func (l *Loop) rollPrepared(a *app, f Prepared) {
	r := a.roll
	r.token = 0
	if f.Err != nil {
		r.rec.Result, r.rec.Phase, r.rec.Reason = rollout.RolledBack, rollout.Idle, unprepared(f).Error()
		r.rec.To, r.lines = r.rec.From, f.Lines
		row := r.row(0)
		row.Stage, row.LastLines = f.Stage, f.Lines
		l.rollOver(a)
		return
	}
	r.target = a.adopt(r.spec, f)
	r.rec.To = r.target.n
}

// advance asks the planner until it has nothing more to order.
func (l *Loop) advance(a *app) {
	r := a.roll
	for r.target != nil && !r.over {
		rec, orders := rollout.Plan(a.view())
		r.rec = rec
		for _, order := range orders {
			l.carryOut(a, order)
		}
		if rec.Result != rollout.Running {
			l.rollOver(a)
			break
		}
		if len(orders) == 0 {
			return
		}
	}
	if r.over {
		l.finishRoll(a)
	}
}

func (l *Loop) carryOut(a *app, order rollout.Order) {
	switch order := order.(type) {
	case rollout.Spawn:
		g := a.gens[order.Gen]
		w := l.add(a, g, order.Slot)
		w.fresh, w.back, w.m.Trial = !order.Back, order.Back, !order.Back
		a.roll.spawned = true
		if g.spec.Mode == state.Fork {
			l.retain(a) // it binds by itself what a cluster before it shared
		}
		l.step(w, worker.Event{Kind: worker.Start})
	case rollout.Retire:
		for _, w := range slices.Clone(a.members) {
			if w.key == order.Key {
				l.retire(w, order.Why)
			}
		}
	}
}

// rollOver: the planner is done. What is left is to see the last of the old go.
func (l *Loop) rollOver(a *app) {
	r := a.roll
	r.over = true
	if r.rec.Result == rollout.Complete {
		a.cur, a.spec, a.env, a.count = r.rec.To, r.spec, r.env, r.wanted
		if r.rec.Kind == rollout.Reload {
			a.unseen = a.unseen && !r.target.spec.WaitReady
		}
	}
	a.settleMembers()
	l.fill(a)
	l.askDrops(a)
}

// overtake ends a rollout for a newer one: whoever waits for it waits for that.
func (l *Loop) overtake(a *app) {
	if a.roll.over {
		l.closeRoll(a)
		return
	}
	receipt := a.roll.receipt(a, state.Superseded, l.now())
	receipt.Reason = "a newer reload"
	for _, o := range a.ops {
		if o.kind == opRoll {
			o.earlier = receipt
		}
	}
	l.keep(a, receipt)
	a.roll = nil
}

// abandon ends a rollout because the app is stopped or deleted.
func (l *Loop) abandon(a *app, by string) {
	if a.roll.over {
		l.closeRoll(a)
		return
	}
	receipt := a.roll.receipt(a, state.Superseded, l.now())
	receipt.Reason = by
	l.keep(a, receipt)
	a.roll = nil
	a.thin(by)
	a.settleMembers()
	a.prune()
	a.answer(func(o *op) bool { return o.kind == opRoll },
		func(*op) Outcome { return Outcome{Err: errSuperseded{by}, Receipt: receipt} })
}

// thin leaves one worker in each slot of an app that goes down; the others are
// forgotten when they are gone. What the rollout brought goes first.
func (a *app) thin(why string) {
	for _, fresh := range []bool{true, false} {
		for _, w := range a.members {
			rival := func(o *member) bool { return o != w && o.retiring == "" }
			if w.retiring == "" && w.fresh == fresh && slices.ContainsFunc(a.in(w.slot), rival) {
				w.retiring = why
			}
		}
	}
}

// finishRoll closes a rollout once nobody is on the way out and the drops are known.
func (l *Loop) finishRoll(a *app) {
	if len(a.roll.drops) < 2 {
		return
	}
	for _, w := range a.members {
		if w.retiring != "" && !w.remains {
			return
		}
	}
	l.closeRoll(a)
}

// closeRoll writes the receipt, lets go of what nobody needs, answers who waits.
func (l *Loop) closeRoll(a *app) {
	r := a.roll
	receipt := r.receipt(a, r.result(), l.now())
	a.roll = nil
	l.keep(a, receipt)
	a.untidy = true
	a.prune()
	a.answer(func(o *op) bool { return o.kind == opRoll }, func(*op) Outcome {
		out := Outcome{Receipt: receipt}
		if receipt.Result != state.Complete {
			out.Err = errNotComplete{verbs[r.rec.Kind], a.name, receipt.Result, receipt.Reason}
			out.Details = r.lines
		}
		return out
	})
}

// steady reports whether nobody of the cluster is on its way: a worker that waits
// for its restart finds its sockets as it left them.
func (a *app) steady() bool {
	return !slices.ContainsFunc(a.members, func(w *member) bool {
		return w.retiring == "" && w.up() && w.m.State != state.Online
	})
}

// retain closes the sockets that nobody declares or listens on, and forgets the
// generations that nobody needs.
func (l *Loop) retain(a *app) {
	a.prune()
	var ids []uint64
	declared := slices.Clone(a.spec.Listen)
	for _, w := range a.members {
		if w.m.State.Alive() {
			if _, ok := l.spawns[w.id]; ok {
				ids = append(ids, w.id)
			}
			declared = append(declared, w.gen.spec.Listen...)
		}
	}
	l.world.Retain(a.name, declared, ids, slices.Sorted(maps.Keys(a.gens)))
}

// keep has a finished receipt written to the history. It stays on record until that is
// done (Kept).
func (l *Loop) keep(a *app, receipt *state.Receipt) {
	a.lastReceipt = receipt
	l.unkept = append(l.unkept, unkept{receipt, l.book.ink.text(`,`, receipt)})
	l.world.Keep(*receipt)
	l.publish(state.Event{Kind: state.EventReload, App: a.name, What: receipt.Result, Text: receipt.Reason, Receipt: receipt})
}

// unkept is a finished receipt that isn't known to be in the history, and its text.
type unkept struct {
	receipt *state.Receipt
	text    []byte
}

func (l *Loop) learnKept(f Kept) {
	l.unkept = slices.DeleteFunc(l.unkept, func(u unkept) bool {
		return u.receipt.Name == f.App && u.receipt.StartedAt.Equal(f.StartedAt)
	})
}

// askDrops asks for the app's drops; the answers come in the order of the questions.
func (l *Loop) askDrops(a *app) {
	a.asked = append(a.asked, a.roll)
	l.world.Drops(a.name)
}

func (l *Loop) dropped(f Dropped) *app {
	a := l.find(f.App)
	if a == nil || len(a.asked) == 0 {
		return nil
	}
	r := a.asked[0]
	a.asked = a.asked[1:]
	r.drops = append(r.drops, f.Count)
	return a
}
