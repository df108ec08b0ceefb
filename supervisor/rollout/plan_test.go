package rollout

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// A story is a view, what happens in it one by one, and the orders that follow each
// time. Workers are written SLOT/GENERATION; "+" is a spawn on trial, "back" one to
// roll back. Every order is held to the invariants as well.
type story struct {
	name    string
	view    View
	running string // workers at the start, with a state other than online after "="
	steps   []step
	result  Result // Running: it hasn't ended
	reason  string
	phase   Phase // if Running
}

type step struct {
	event  string // VERB SLOT/GENERATION, scale N, budget SURGE,UNAVAILABLE, supersede, or nothing
	orders string
}

func rolling(n int) View {
	return View{Record: Record{From: 1, To: 2, Phase: Progressing}, Instances: n, MaxSurge: 1}
}

// with changes a view in place, for a table.
func (v View) with(change func(*View)) View {
	change(&v)
	return v
}

func fork(v *View)      { v.MaxSurge, v.MaxUnavailable = 0, 1 }
func canReturn(v *View) { v.CanRollback = true }
func blueGreen(v *View) { v.BlueGreen, v.MaxSurge = true, v.Instances }
func restart(v *View) {
	fork(v)
	v.Record.Kind, v.Record.To = Restart, v.Record.From
}

func (w *world) find(name string, is func(*body) bool) *body {
	for i := len(w.bodies) - 1; i >= 0; i-- { // the latest of a name
		if w.bodies[i].String() == name && is(w.bodies[i]) {
			return w.bodies[i]
		}
	}
	return nil
}

func (w *world) happen(t *testing.T, s string) {
	t.Helper()
	verb, name, _ := strings.Cut(s, " ")
	stays := func(b *body) bool { return !b.Going }
	b := w.find(name, stays)
	if verb == "gone" {
		b = w.find(name, func(b *body) bool { return b.Going })
	}
	if b == nil && !strings.Contains("scale supersede budget died", verb) {
		t.Fatalf("%q: nobody", s)
	}
	switch verb {
	case "":
	case "ready":
		w.ready(b)
	case "soak": // and ready, if it isn't
		w.soak(b)
	case "crash":
		w.fail(b)
	case "timeout": // it still runs while it is told to stop
		b.Online, b.Soaked, b.Failed, b.Reason = false, false, true, "not ready"
	case "giveup":
		w.giveUp(b)
	case "exit": // and the policy leaves it
		b.Online, b.Soaked, b.Seat = false, false, false
	case "gone":
		w.remove(b)
	case "scale":
		n := 0
		_, _ = fmt.Sscan(name, &n)
		w.scale(n)
	case "budget":
		_, _ = fmt.Sscanf(name, "%d,%d", &w.view.MaxSurge, &w.view.MaxUnavailable)
	case "died":
		w.view.Record = w.view.Record.Interrupt()
	case "supersede":
		rec := w.view.Record
		w.begin(Record{From: rec.From, To: rec.To + 1})
	default:
		t.Fatalf("unknown event %q", s)
	}
}

func (w *world) start(t *testing.T, running string) {
	t.Helper()
	for _, word := range strings.Fields(running) {
		name, state, _ := strings.Cut(word, "=")
		worker := Worker{Seat: true, Online: true}
		if _, err := fmt.Sscanf(name, "%d/%d", &worker.Slot, &worker.Gen); err != nil {
			t.Fatal(err)
		}
		switch state {
		case "backoff":
			worker.Online = false
		case "errored":
			worker.Online, worker.Seat = false, false
		}
		w.add(worker)
	}
}

// settleText is settle, in the stories' words.
func (w *world) settleText(t *testing.T) string {
	t.Helper()
	names := map[uint64]string{}
	for _, b := range w.bodies {
		names[b.Key] = b.String()
	}
	orders, err := w.settle()
	if err != nil {
		t.Fatal(err)
	}
	var words []string
	for _, o := range orders {
		switch o := o.(type) {
		case Spawn:
			word := fmt.Sprintf("+%d/%d", o.Slot, o.Gen)
			if o.Back {
				word = fmt.Sprintf("back %d/%d", o.Slot, o.Gen)
			}
			words = append(words, word)
		case Retire:
			words = append(words, o.Why+" "+names[o.Key])
		}
	}
	return strings.Join(words, ", ")
}

func TestStories(t *testing.T) {
	for _, s := range slices.Concat(forwardStories(), backStories(), interruptedStories()) {
		t.Run(s.name, func(t *testing.T) {
			w := &world{view: s.view, trace: t.Logf}
			w.start(t, s.running)
			for _, st := range s.steps {
				t.Logf("-- %s", st.event)
				w.happen(t, st.event)
				if got := w.settleText(t); got != st.orders {
					t.Fatalf("after %q: ordered %q, want %q", st.event, got, st.orders)
				}
			}
			rec := w.view.Record
			if rec.Result != s.result || !strings.Contains(rec.Reason, s.reason) {
				t.Errorf("ends with result %v, reason %q, want %v, %q", rec.Result, rec.Reason, s.result, s.reason)
			}
			if s.result == Running && rec.Phase != s.phase {
				t.Errorf("ends in phase %v, want %v", rec.Phase, s.phase)
			}
		})
	}
}

func TestRecordIsTruthful(t *testing.T) {
	w := &world{view: rolling(3).with(canReturn)}
	w.start(t, "0/1 1/1")
	for _, e := range []string{"", "soak 2/2", "soak 0/2", "gone 0/1"} {
		w.happen(t, e)
		w.settleText(t)
	}
	if got := fmt.Sprint(w.view.Record.Replaced); got != "[0 2]" {
		t.Errorf("replaced %s: slot 0 was, slot 2 was found empty", got)
	}
	w.happen(t, "crash 1/2")
	w.settleText(t)
	if got := fmt.Sprint(w.view.Record.Back); got != "[0]" {
		t.Errorf("back %s: there is one seat to begin with", got)
	}
	w.happen(t, "scale 1")
	w.settleText(t)
	if got := fmt.Sprint(w.view.Record.Replaced, w.view.Record.Back); got != "[0] [0]" {
		t.Errorf("%s: the scale gave the others up", got)
	}
}

func TestAnEndedRecordOrdersNothing(t *testing.T) {
	for _, rec := range []Record{{}, {From: 1, To: 2, Result: Failed}, {From: 1, To: 2, Result: Complete}} {
		v := rolling(2)
		v.Record = rec
		if _, orders := Plan(v); len(orders) > 0 {
			t.Errorf("%+v: %v", rec, orders)
		}
	}
	v := rolling(1)
	v.Record.Phase = Idle
	if rec, orders := Plan(v); len(orders) != 1 || rec.Phase != Progressing {
		t.Errorf("a record that hasn't begun: %+v, %v", rec, orders)
	}
}

func TestAnAbortRemovesBeforeItSpawns(t *testing.T) {
	v := rolling(3).with(canReturn)
	v.Workers = []Worker{
		{Key: 1, Slot: 0, Gen: 1, Online: true, Seat: true},
		{Key: 2, Slot: 1, Gen: 2, New: true, Failed: true},
	}
	rec, orders := Plan(v)
	if len(orders) != 1 || orders[0] != (Retire{Key: 2, Why: whyRollback}) || rec.Phase != RollingBack {
		t.Errorf("%+v, %v: slots 1 and 2 may be about to be given up", rec, orders)
	}
}
