package crash

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"supervisor/testdata/lab"
	"supervisor/testdata/load"
)

// A full disk: everything goes on, deaths of the supervisor included; what is lost is
// said; and when there is room again, all is as ever.
func TestFullDisk(t *testing.T) {
	a, victim := web(t), job(t)
	a.rate, victim.rate = "10/20ms", "10/20ms"
	s := newSite(t, a, victim)
	s.mount("4M")
	t.Cleanup(func() { unix.Unmount(s.Home, unix.MNT_DETACH) })
	s.lossy = true
	t.Cleanup(func() { // while there is a disk
		s.Must("kill")
		s.checkLines()
	})
	s.Must("start")
	now := s.steady()
	lab.Under(t, func([]*load.Load) {
		filling := filepath.Join(s.Home, "filling")
		fill(t, filling)
		now = s.perform(reload(a), now)
		now = s.perform(s.crash(victim, 0, now), now)
		now = s.perform(scale(a, 3), now)
		watch := lab.NewWatch(t, s.Home)
		if err := os.Remove(filling); err != nil {
			t.Fatal(err)
		}
		said := func() bool {
			text, err := os.ReadFile(s.Log())
			return err == nil && strings.Contains(string(text), "lines) lost") && strings.Contains(string(text), "written again")
		}
		if !watch.Until(said) {
			t.Error("nobody says what was lost")
		}
		now = s.perform(scale(a, 2), now) // from here on it is on record again
		s.dies()
		s.same("the death after a full disk", now, s.steady())
		fill(t, filling)
		s.dies()
		s.same("the death on a full disk", now, s.steady())
		now = s.perform(reload(a), now)
		if err := os.Remove(filling); err != nil {
			t.Fatal(err)
		}
		now = s.perform(reload(a), now)
		s.dies()
		s.same("the death after another", now, s.steady())
	}, s.loads(a)...)
}

// fill takes all the room of a disk, to its last byte.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 1 << 20; size > 0; {
		if _, err := f.Write(make([]byte, size)); errors.Is(err, unix.ENOSPC) {
			size /= 2
		} else if err != nil {
			t.Fatal(err)
		}
	}
}
