package usage

import (
	"slices"
	"testing"
)

// All ways to find the processes of workers find the same: a whole pass, and groups and
// children, asked for by themselves or because the workers are few.
func TestFamilyIsTheTree(t *testing.T) {
	one, two := start(t, "family", nil).cmd.Process.Pid, start(t, "idle", nil).cmd.Process.Pid
	sorted := func(ps []*process, err error) (list []int) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range ps {
			list = append(list, p.pid)
		}
		slices.Sort(list)
		return list
	}
	whole, err := readProcesses()
	tree := sorted(whole.tree(one), err)
	if family := sorted(readFamily(one)); len(family) != 3 || !slices.Equal(family, tree) {
		t.Errorf("family %v, tree %v; want the worker, a child of its group, one of another", family, tree)
	}
	wanted := map[int]bool{one: true, two: true, 1 << 30: true}
	for _, cost := range []int{0, 1, passCost, 1 << 20} {
		table, err := readFamilies(wanted, cost)
		for _, pid := range []int{one, two, 1 << 30} {
			if got, want := sorted(table.tree(pid), err), sorted(whole.tree(pid), nil); !slices.Equal(got, want) {
				t.Errorf("cost %d: the tree of %d is %v, want %v", cost, pid, got, want)
			}
		}
		if cost == 0 && len(table.byPID) != 4 {
			t.Errorf("%d processes were read for 4", len(table.byPID))
		}
	}
	if nobody := sorted(readFamily(1 << 30)); len(nobody) != 0 {
		t.Errorf("%v of a pid that does not exist", nobody)
	}
}

func BenchmarkFamily(b *testing.B) {
	for b.Loop() {
		if _, err := readFamily(1); err != nil {
			b.Fatal(err)
		}
	}
}
