package supervisor

import (
	"slices"
	"time"

	"supervisor/supervisor/state"
)

// What the fake world is asked beside spawns; each is checked.

func (f *fake) Prepare(o PrepareOrder) {
	f.mu.Lock()
	if f.dies() {
		f.mu.Unlock()
		return
	}
	f.prepared = append(f.prepared, o)
	answer, slow := f.prepares(o), f.slow
	answer.App, answer.Gen, answer.Token = o.App, o.Gen, o.Token
	if answer.Launch.Path == "" {
		answer.Launch.Path = "/srv/" + o.Spec.Script
	}
	loop := f.loop
	f.mu.Unlock()
	f.lane <- func() { time.Sleep(slow); loop.Tell(answer) }
}

func (f *fake) Drops(app string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dies() {
		return
	}
	loop := f.loop
	f.lane <- func() {
		f.mu.Lock()
		n := f.drops
		f.mu.Unlock()
		loop.Tell(Dropped{App: app, Count: &n})
	}
}

func (f *fake) Admit(id uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dies() {
		return
	}
	if p := f.known(id, "admit"); p != nil {
		p.admitted = true
	}
}

func (f *fake) Withdraw(id uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dies() {
		return
	}
	if p := f.known(id, "withdraw"); p != nil {
		defer func() { p.admitted, p.withdrawn = false, true }()
		if p.told && !p.withdrawn && !p.ended {
			f.t.Errorf("%d is withdrawn after its stop signal", id)
		}
	}
}

// admitted counts the workers of an app that get new connections. The caller holds mu,
// or nothing runs.
func (f *fake) admitted(app string) int {
	return f.count(func(p *process) bool { return p.order.App == app && p.admitted && !p.gone })
}

func (f *fake) Stop(o StopOrder) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dies() {
		return
	}
	p := f.known(o.ID, "stop")
	if p == nil || p.gone {
		return
	}
	if !p.told {
		p.toldAt = time.Now()
		f.after(p, 0, func() []Fact { return []Fact{Cut{ID: o.ID, Open: p.does.open}} })
	}
	if p.order.Spec.Balance == state.Even && !p.withdrawn && !p.ended {
		f.t.Errorf("%d gets its stop signal while it is in accept", o.ID)
	}
	before := f.serving(p.order.App)
	p.told = true
	if f.onStop != nil {
		f.onStop(before - f.serving(p.order.App))
	}
	if p.ended { // what is left of the group
		if p.does.leftFor >= 0 {
			f.after(p, p.does.leftFor, func() []Fact { f.bury(p); return []Fact{Gone{ID: o.ID}} })
		}
		return
	}
	if !p.does.deaf {
		f.after(p, time.Millisecond+p.does.drain, func() []Fact { return f.end(p, p.does.code, p.does.signal, 0) })
	}
}

func (f *fake) Alone(id uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dies() {
		return
	}
	p := f.known(id, "tell of being alone")
	if p == nil || p.gone {
		return
	}
	if p.alone == f.life {
		f.t.Errorf("%d is told twice that it is alone", id)
	}
	again := p.alone > 0 // by another life; a successor may have come since
	p.alone = f.life
	if again {
		return
	}
	if n := f.count(func(x *process) bool {
		return x != p && x.order.App == p.order.App && x.order.Slot == p.order.Slot && !x.gone
	}); n > 0 {
		f.t.Errorf("%d is told that it is alone, and %d others of its slot live", id, n)
	}
}

func (f *fake) Kill(id uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dies() {
		return
	}
	p := f.known(id, "kill")
	if p == nil || p.gone {
		return
	}
	if p.killed && p.killedIn == f.life {
		f.t.Errorf("SIGKILL to %d twice", id)
	}
	if !p.told {
		f.t.Errorf("SIGKILL to %d, which has had no stop signal", id)
	}
	if p.killed {
		return
	}
	p.killed, p.killedAt, p.killedIn = true, time.Now(), f.life
	f.after(p, 0, func() []Fact { return []Fact{Cut{ID: id, Open: p.does.open, Killed: true}} })
	f.after(p, time.Millisecond, func() []Fact {
		if !p.ended {
			return f.end(p, 0, 9, 0)
		}
		f.bury(p)
		return []Fact{Gone{ID: id}}
	})
}

func (f *fake) Signal(id uint64, signal int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dies() {
		return
	}
	if f.known(id, "signal") != nil {
		f.signals = append(f.signals, signal)
	}
}

func (f *fake) Forget(id uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dies() {
		return
	}
	if p := f.known(id, "forget"); p != nil && !p.gone {
		f.t.Errorf("forget %d, which is alive", id)
	}
	if slices.Contains(f.forgotten, id) {
		f.t.Errorf("forget %d twice", id)
	}
	f.forgotten = append(f.forgotten, id)
}

func (f *fake) Retain(app string, declared []state.Listen, ids []uint64, _ []int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dies() {
		return
	}
	for _, id := range ids {
		f.known(id, "retain the sockets of")
	}
	f.retained = append(f.retained, retain{app, declared, ids, len(f.spawned)})
}

func (f *fake) Release(app string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dies() {
		return
	}
	if n := f.count(func(p *process) bool { return p.order.App == app && !p.gone }); n > 0 {
		f.t.Errorf("the sockets of %s are released while %d processes are alive", app, n)
	}
	f.released = append(f.released, app)
}

func (f *fake) Keep(r state.Receipt) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dies() {
		return
	}
	loop := f.loop
	f.lane <- func() {
		f.mu.Lock()
		if !slices.ContainsFunc(f.kept, func(k state.Receipt) bool { return k.Name == r.Name && k.StartedAt.Equal(r.StartedAt) }) {
			f.kept = append(f.kept, r)
		}
		f.mu.Unlock()
		loop.Tell(Kept{App: r.Name, StartedAt: r.StartedAt})
	}
}
