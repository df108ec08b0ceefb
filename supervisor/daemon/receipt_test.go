package daemon

import (
	"testing"
	"time"

	"supervisor/supervisor"
	"supervisor/supervisor/history"
	"supervisor/supervisor/state"
)

// After a crash the loop asks again for what it doesn't know to be kept.
func TestAReceiptIsKeptOnceAndItsWriterSaysSo(t *testing.T) {
	facts := make(chan supervisor.Fact, 3)
	w := &world{history: history.Dir(t.TempDir()), apps: map[string]*lane{}, tell: func(f supervisor.Fact) { facts <- f }}
	first := state.Receipt{Name: "web", StartedAt: time.Unix(5, 7).UTC()}
	second := state.Receipt{Name: "web", StartedAt: time.Unix(5, 8).UTC()}
	for _, r := range []state.Receipt{first, second, first} {
		w.Keep(r)
		if f := <-facts; f != (supervisor.Kept{App: "web", StartedAt: r.StartedAt}) {
			t.Errorf("%+v", f)
		}
	}
	w.working.Wait()
	if kept, err := w.history.Read("web", 0); err != nil || len(kept) != 2 {
		t.Errorf("%d receipts, %v", len(kept), err)
	}
}
