package daemon

import (
	"errors"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

func TestOpenDescriptorsAreCounted(t *testing.T) {
	before := openDescriptors()
	fd, err := unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if after := openDescriptors(); after <= before {
		t.Errorf("%d, then one more: %d", before, after)
	}
}

// Who finds no room because of others waits for them; the first of whom nobody is in
// the way is refused, and so are all behind.
func TestRoom(t *testing.T) {
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	r := newRoom()
	if err := r.take(); err != nil {
		t.Fatal(err)
	}
	r.giveBack()
	used := openDescriptors()
	limit := was
	limit.Cur = uint64(used+2*perSpawn) * 8 / 7 // for two, and an eighth
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	defer unix.Setrlimit(unix.RLIMIT_NOFILE, &was)
	if err := r.take(); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if err := r.take(); err != nil {
				t.Error(err)
			} else {
				r.giveBack()
			}
		})
	}
	r.giveBack()
	all.Wait()

	if err := r.take(); err != nil {
		t.Fatal(err)
	}
	var held []int
	for range perSpawn + perSpawn/2 {
		fd, err := unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, fd)
	}
	for range 5 {
		all.Go(func() {
			if err := r.take(); !errors.Is(err, unix.EMFILE) || !strings.Contains(err.Error(), "too many open files") {
				t.Errorf("%v, want too many open files", err)
			}
		})
	}
	r.giveBack()
	all.Wait()
	for _, fd := range held {
		unix.Close(fd)
	}
	if err := r.take(); err != nil {
		t.Errorf("with room again: %v", err)
	}
}
