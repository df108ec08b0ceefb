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
	a, victim, one, other := web(t), job(t), merged(t), objects(t)
	s := newSite(t, a, victim, one, other)
	for _, a := range s.apps {
		a.rate, a.rotate = "10/20ms", "32K" // so that files are rotated while the disk is full, too
	}
	s.ecosystem()
	s.mount("8M")
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
		for range 10 { // a few lines have room again, and are written as it dies
			s.dies()
			s.same("the death on a full disk", now, s.steady())
			shrink(t, filling, 16<<10)
		}
		now = s.perform(reload(a), now)
		if err := os.Remove(filling); err != nil {
			t.Fatal(err)
		}
		now = s.perform(reload(a), now)
		s.dies()
		s.same("the death after another", now, s.steady())
	}, s.loads(a)...)
}

// shrink gives so many bytes of a disk back.
func shrink(t *testing.T, path string, by int64) {
	t.Helper()
	st, err := os.Stat(path)
	if err == nil {
		err = os.Truncate(path, st.Size()-by)
	}
	if err != nil {
		t.Fatal(err)
	}
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
