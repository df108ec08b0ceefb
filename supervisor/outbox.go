package supervisor

import "supervisor/supervisor/state"

// outbox gathers what the loop asks of the World while it handles one message: nothing
// is done before what led to it is on record.
type outbox struct {
	world World
	acts  []func()
}

// flush has the acts done in the order in which they were asked for.
func (o *outbox) flush() {
	for i, act := range o.acts {
		act()
		o.acts[i] = nil
	}
	o.acts = o.acts[:0]
}

func (o *outbox) later(act func()) { o.acts = append(o.acts, act) }

func (o *outbox) Prepare(order PrepareOrder) { o.later(func() { o.world.Prepare(order) }) }
func (o *outbox) Spawn(order SpawnOrder)     { o.later(func() { o.world.Spawn(order) }) }
func (o *outbox) Admit(id uint64)            { o.later(func() { o.world.Admit(id) }) }
func (o *outbox) Withdraw(id uint64)         { o.later(func() { o.world.Withdraw(id) }) }
func (o *outbox) Stop(order StopOrder)       { o.later(func() { o.world.Stop(order) }) }
func (o *outbox) Alone(id uint64)            { o.later(func() { o.world.Alone(id) }) }
func (o *outbox) Kill(id uint64)             { o.later(func() { o.world.Kill(id) }) }
func (o *outbox) Signal(id uint64, sig int)  { o.later(func() { o.world.Signal(id, sig) }) }
func (o *outbox) Forget(id uint64)           { o.later(func() { o.world.Forget(id) }) }
func (o *outbox) Release(app string)         { o.later(func() { o.world.Release(app) }) }
func (o *outbox) Drops(app string)           { o.later(func() { o.world.Drops(app) }) }
func (o *outbox) Keep(r state.Receipt)       { o.later(func() { o.world.Keep(r) }) }

func (o *outbox) Retain(app string, declared []state.Listen, ids []uint64, gens []int) {
	o.later(func() { o.world.Retain(app, declared, ids, gens) })
}

// answer is an Outcome on its way to whoever waits, who has to wait for kept too.
type answer struct {
	out  Outcome
	kept <-chan struct{}
}

// waiter is whoever waits for the outcome of a command; the zero value is nobody.
type waiter struct {
	l  *Loop
	to chan<- answer // has room for it
}

// tell gives the outcome when what it came of is on record.
func (w waiter) tell(out Outcome) {
	if w.to != nil {
		w.l.world.later(func() { w.to <- answer{out, w.l.book.kept} })
	}
}
