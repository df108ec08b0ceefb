package process

import (
	"testing"

	"golang.org/x/sys/unix"
)

// Who knows that nobody is left spares the look at every process.
func TestDeserted(t *testing.T) {
	for _, c := range []struct {
		sure bool
		left int
	}{
		{false, 1}, // no answer: the group is looked at
		{true, 0},
	} {
		asked := 0
		s := spec("orphan", "ignore")
		s.Deserted = func() bool { asked++; return c.sure }
		w := start(t, s)
		child := w.childPID()
		if e := w.awaitExit(); e.Left != c.left {
			t.Errorf("with %v %d are left, want %d", c.sure, e.Left, c.left)
		}
		if c.sure {
			w.awaitGone() // we have said so, and the child lives
			if !alive(child) {
				t.Error("the child is dead")
			}
		}
		unix.Kill(child, unix.SIGKILL)
		w.Kill()
		w.awaitGone()
		if asked == 0 {
			t.Error("nobody asked")
		}
	}
}
