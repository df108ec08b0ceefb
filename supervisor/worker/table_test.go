package worker

import (
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"supervisor/supervisor/state"
)

// isIgnored reports whether a cell does nothing; functions can only be compared by
// their address.
func isIgnored(c cell) bool {
	return reflect.ValueOf(c.do).Pointer() == reflect.ValueOf(ignored).Pointer()
}

func TestEveryPairOfStateAndEventIsInTheTable(t *testing.T) {
	for _, s := range state.States {
		for _, k := range Kinds {
			c := table[s][k]
			if c.do == nil {
				t.Errorf("%s x %s is not in the table", s, k)
			}
			if c.do != nil && isIgnored(c) && len(c.to) > 0 {
				t.Errorf("%s x %s is ignored and leads to %v", s, k, c.to)
			}
		}
	}
	if cells := len(state.States) * len(Kinds); cells != 9*14 {
		t.Errorf("the table has %d cells: is DESIGN section 3 still true?", cells)
	}
}

func TestIgnoredPairsChangeNothing(t *testing.T) {
	for _, s := range state.States {
		for _, want := range []state.Want{state.Down, state.Up} {
			for _, k := range Kinds {
				if !isIgnored(table[s][k]) {
					continue
				}
				m := Machine{Policy: policy(), State: s, Want: want, Inc: 3, Unstable: 2, Restarts: 5}
				after, acts := m.Step(Event{Kind: k, Inc: 3, Code: 1, Left: 1})
				if !reflect.DeepEqual(after, m) || len(acts) > 0 {
					t.Errorf("%s x %s is ignored, yet it did %v and left %+v", s, k, acts, after)
				}
			}
		}
	}
}

func TestNothingOfAnotherIncarnationIsHeard(t *testing.T) {
	for _, s := range state.States {
		for _, k := range Kinds {
			if k == Start || k == Stop {
				continue
			}
			for _, inc := range []int{0, 2, 4} {
				m := Machine{Policy: policy(), State: s, Want: state.Up, Inc: 3}
				after, acts := m.Step(Event{Kind: k, Inc: inc})
				if !reflect.DeepEqual(after, m) || len(acts) > 0 {
					t.Errorf("%s heard %s of incarnation %d, it is 3: %v", s, k, inc, acts)
				}
			}
		}
	}
}

var update = flag.Bool("update", false, "write testdata anew")

func TestDiagramIsDrawnFromTheTable(t *testing.T) {
	file := filepath.Join("testdata", "diagram.mmd")
	got := Diagram()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("the diagram changed (go test -update, and the README):\n%s", got)
	}
}
