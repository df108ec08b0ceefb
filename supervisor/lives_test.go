package supervisor

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"supervisor/supervisor/state"
)

// dies reports whether the supervisor is dead, or dies right now. The caller holds mu.
func (f *fake) dies() bool {
	if !f.dead && f.doom != nil && f.doom() {
		f.dead = true
		if f.onDeath != nil {
			f.onDeath()
		}
	}
	return f.dead
}

// Record keeps what the loop recorded, and holds it against the loop.
func (f *fake) Record(parts [][]byte) <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dies() {
		return make(chan struct{}) // whoever waits for it waits until the loop has ended
	}
	f.record = slices.Concat(parts...)
	for _, a := range f.loop.apps {
		if a.roll != nil {
			f.rollouts[a.name+a.roll.startedAt.String()] = true
		}
	}
	if f.records++; f.records < 10 || f.records%every == 0 || f.audit != nil && f.records%8 == 0 {
		f.proofread()
	}
	return f.slowly
}

// every so many records are held against the loop; all would take most of the time.
const every = 97

// proofread holds the last record against the loop, and against how it is read.
func (f *fake) proofread() {
	recorded := compact(f.t, f.record)
	if text := differ(recorded, afresh(f.loop)); text != "" {
		f.t.Errorf("it is recorded otherwise than it is: %s", text)
	}
	again, err := Restore(state.DaemonInfo{}, f.record, nil, RestoreOptions{})
	if err != nil {
		f.t.Errorf("%s: %v", f.record, err)
		return
	}
	if text := differ(recorded, afresh(again)); text != "" {
		f.t.Errorf("it is read otherwise than it is recorded: %s", text)
	}
	u := f.audit
	if u == nil {
		u = &audit{met: map[string]bool{}}
	}
	u.whole(f.loop, again)
	u.timers(f.loop)
	for _, fault := range u.faults {
		f.t.Error(fault)
	}
	u.faults = nil
}

// differ shows where two texts begin to differ, "" if they don't.
func differ(a, b []byte) string {
	if bytes.Equal(a, b) {
		return ""
	}
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	at := func(s []byte) []byte { return s[max(0, n-80):min(len(s), n+80)] }
	return fmt.Sprintf("%s\nis not\n%s", at(a), at(b))
}

func compact(t testing.TB, text []byte) []byte {
	var b bytes.Buffer
	if err := json.Compact(&b, text); err != nil {
		t.Fatal(err, string(text))
	}
	return b.Bytes()
}

// afresh is what a loop's record is to be: made as a whole, with nothing kept.
func afresh(l *Loop) []byte {
	r := record{Schema: Schema, LastID: l.lastID, LastKey: l.lastKey, Unkept: []*state.Receipt{}, Apps: []appRecord{}}
	for _, u := range l.unkept {
		r.Unkept = append(r.Unkept, u.receipt)
	}
	for _, a := range l.apps {
		app := appRecord{Head: a.head(), Env: a.env, LastReceipt: a.lastReceipt, Gens: []genRecord{}, Members: []memberRecord{}}
		if s := a.starting; s != nil {
			app.Starting = &startRecord{startHead{s.spec, s.count}, s.env}
		}
		if a.roll != nil {
			app.Roll = &rollRecord{Head: a.rollHead(), Env: a.roll.env, Rows: []*state.WorkerReceipt{}}
			for _, slot := range slices.Sorted(maps.Keys(a.roll.rows)) {
				app.Roll.Rows = append(app.Roll.Rows, &a.roll.rows[slot].WorkerReceipt)
			}
		}
		for _, n := range slices.Sorted(maps.Keys(a.gens)) {
			g := a.gens[n]
			app.Gens = append(app.Gens, genRecord{genHead{g.n, g.spec}, g.launch, g.servedBy()})
		}
		for _, w := range a.members {
			app.Members = append(app.Members, w.record())
		}
		r.Apps = append(r.Apps, app)
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(r)
	var small bytes.Buffer
	_ = json.Compact(&small, b.Bytes())
	return small.Bytes()
}

// adopt is what a new life of the supervisor finds, and the facts that its hands will
// tell of what happened while it was away. Of the processes that are gone it finds those
// that lucky says. The caller holds mu.
func (f *fake) adopt(lucky func() bool) (found map[uint64]Found, begun map[uint64]bool, facts []Fact) {
	found, begun = map[uint64]Found{}, map[uint64]bool{}
	for _, id := range slices.Sorted(maps.Keys(f.procs)) {
		p := f.procs[id]
		switch {
		case slices.Contains(f.forgotten, id) || p.missing:
			continue
		case !p.begun: // its shim waited for the go, and ends
			f.bury(p)
			p.missing = true
			continue
		}
		begun[id] = true
		if p.gone && (p.does.err != nil || !lucky()) {
			p.missing = true
			continue
		}
		found[id] = Found{PID: p.pid, App: p.order.App, Slot: p.order.Slot}
		if p.booted && !p.ended {
			facts = append(facts, f.signs(p)...)
		}
		if p.proven && !p.ended {
			facts = append(facts, Probed{ID: id})
		}
		if p.ended {
			facts = append(facts, f.ended(p))
		}
		if p.gone {
			facts = append(facts, Gone{ID: id})
		}
	}
	return found, begun, facts
}

// untold leaves what hands tell that go on with what is on record: a message that is
// known has been taken from its channel, and a probe that is answered is not asked again.
func untold(facts []Fact, known []Recorded) []Fact {
	return slices.DeleteFunc(facts, func(f Fact) bool {
		return slices.ContainsFunc(known, func(r Recorded) bool {
			switch f := f.(type) {
			case BecameReady:
				return r.Order.ID == f.ID && r.Ready
			case Probed:
				return r.Order.ID == f.ID && r.Proven
			}
			return false
		})
	})
}

// live begins the next life of the supervisor, with what the last one recorded. What is
// told by the hands comes a little later.
func (s *site) live(crash bool, clock Clock, lucky func() bool) {
	s.t.Helper()
	f := s.world
	f.mu.Lock()
	found, begun, facts := f.adopt(lucky)
	loop, err := Restore(state.DaemonInfo{PID: 2, Version: "test"}, f.record, found, RestoreOptions{Crash: crash, Begun: begun, Clock: clock})
	if err != nil {
		f.mu.Unlock()
		s.t.Fatal(err)
	}
	facts = untold(facts, loop.Recorded())
	f.loop, f.dead = loop, false
	f.life++
	f.mu.Unlock()
	ctx, cancel := context.WithCancel(context.Background())
	over := make(chan struct{})
	s.mu.Lock()
	s.loop, s.end, s.over = loop, cancel, over
	s.mu.Unlock()
	go func() { // ends with the context
		_ = loop.Run(ctx, s.world)
		close(over)
	}()
	s.telling.Add(1)
	go func() { // ends when all is told, or the loop has ended
		defer s.telling.Done()
		time.Sleep(s.slowly)
		for _, fact := range facts {
			loop.Tell(fact)
		}
	}()
}

// die lets the supervisor die between two messages.
func (s *site) die() {
	s.world.mu.Lock()
	s.world.dead = true
	s.world.mu.Unlock()
	s.end()
	<-s.over
}

// dieBefore lets the supervisor die before the n-th of its acts from now on, records
// counted with them.
func (s *site) dieBefore(n int) {
	s.world.mu.Lock()
	defer s.world.mu.Unlock()
	s.world.doom = func() bool { n--; return n < 0 }
	s.world.onDeath = func() { s.world.doom = nil; s.end() }
}

// revive begins a life after a crash in which nothing that ended is found.
func (s *site) revive() { s.live(true, s.clock, func() bool { return false }) }

// upgrade replaces the supervisor.
func (s *site) upgrade() {
	s.t.Helper()
	data, err := s.loop.Freeze(context.Background())
	if err != nil {
		s.t.Fatal(err)
	}
	s.world.mu.Lock()
	s.world.record = data
	s.world.mu.Unlock()
	s.die()
	s.live(false, s.clock, func() bool { return true })
}
