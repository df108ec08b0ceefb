package daemon

import (
	"slices"
	"testing"

	"supervisor/supervisor"
	"supervisor/supervisor/listener"
)

// However much the workers of an earlier daemon listen on, telling it keeps nobody waiting
// before the loop runs (a daemon with 300 of them hung for ever), and all of it comes.
func TestWhatIsToldBeforeTheLoopRunsIsKept(t *testing.T) {
	const many = 10000
	w := &world{}
	w.tell = w.early.tell
	for id := range uint64(many) {
		w.heard(listener.Listening{Worker: id})
	}
	var got []uint64
	w.early.pass(func(f supervisor.Fact) { got = append(got, f.(supervisor.Listening).ID) })
	if len(got) != many || !slices.IsSorted(got) {
		t.Errorf("%d of %d came, in order: %v", len(got), many, slices.IsSorted(got))
	}
	w.heard(listener.Listening{Worker: many})
	if len(got) != many+1 {
		t.Error("what came after that is not told")
	}
}
