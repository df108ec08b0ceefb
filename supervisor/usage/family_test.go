package usage

import (
	"slices"
	"testing"
)

// Both ways to find the processes of a worker find the same.
func TestFamilyIsTheTree(t *testing.T) {
	w := start(t, "family", nil)
	pid := w.cmd.Process.Pid
	pids := func(ps []*process, err error) (list []int) {
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
	table, err := readProcesses()
	tree := pids(table.tree(pid), err)
	if family := pids(readFamily(pid)); len(family) != 3 || !slices.Equal(family, tree) {
		t.Errorf("family %v, tree %v; want the worker, a child of its group, one of another", family, tree)
	}
	if nobody := pids(readFamily(1 << 30)); len(nobody) != 0 {
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
