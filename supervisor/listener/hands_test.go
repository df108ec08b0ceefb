package listener_test

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"supervisor/supervisor/listener"
)

func newHands(t *testing.T, fd int) *listener.Hands {
	t.Helper()
	h, err := listener.NewHands(fd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	return h
}

// What is in a slot is there for whoever maps the memory again, and for nobody who
// gets the slot anew.
func TestHandsOutlive(t *testing.T) {
	one := newHands(t, -1)
	var slots []int
	for range 200 { // more than one page
		slots = append(slots, one.Take())
	}
	for i, n := range slots {
		if n != i {
			t.Fatalf("slot %d is number %d", n, i)
		}
		one.HandMemory(n)[0] = byte(n + 1)
	}
	fd, err := unix.FcntlInt(uintptr(one.FD()), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	two := newHands(t, fd)
	if err := two.Use(7); err != nil {
		t.Fatal(err)
	}
	if got := two.HandMemory(7)[0]; got != 8 {
		t.Errorf("slot 7 has %d", got)
	}
	for _, n := range []int{7, -1, 1 << 20} {
		if two.Use(n) == nil {
			t.Errorf("slot %d can be used", n)
		}
	}
	if n := two.Take(); n != 0 || *two.HandMemory(n) != [128]byte{} {
		t.Errorf("slot %d is not empty: %v", n, two.HandMemory(n))
	}
	two.Free(7)
	two.Free(7)
	two.Free(-1)
	if err := two.Use(7); err != nil {
		t.Error(err)
	}
	// What the first process adds is there for the second.
	more := 0
	for range 100 {
		more = one.Take()
	}
	if err := two.Use(more); err != nil {
		t.Error(err)
	}
}

func TestHandsAreLimited(t *testing.T) {
	h := newHands(t, -1)
	for range 1 << 16 {
		if h.Take() < 0 {
			t.Fatal("no slot")
		}
	}
	if n := h.Take(); n != -1 {
		t.Errorf("slot %d", n)
	}
	h.Free(5)
	if n := h.Take(); n != 5 {
		t.Errorf("slot %d, not the free one", n)
	}
}

// Memory that others may shorten is refused: it would be our SIGBUS.
func TestHandsMustBeSealed(t *testing.T) {
	plain, err := os.Create(filepath.Join(t.TempDir(), "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	unsealed, err := unix.MemfdCreate("m", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(unsealed)
	for _, fd := range []int{int(plain.Fd()), unsealed, 1 << 20} {
		if h, err := listener.NewHands(fd); err == nil {
			h.Close()
			t.Errorf("descriptor %d is taken for notification memory", fd)
		}
	}
	h := newHands(t, -1)
	h.Take()
	if err := unix.Ftruncate(h.FD(), 0); err == nil {
		t.Error("it can be shortened")
	}
}

// A slot is not given to another while its reader works, and only to its worker.
func TestHandsHaveOneReader(t *testing.T) {
	h := newHands(t, -1)
	r := newRigWith(t, listener.Config{Hands: h})
	attach := func(id uint64, hand int) error {
		fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC) // never readable
		if err != nil {
			t.Fatal(err)
		}
		return r.Attach(listener.Worker{ID: id, App: "web", Hand: hand}, fd)
	}
	if attach(1, 0) == nil {
		t.Error("a slot that was not taken")
	}
	n := h.Take()
	if err := attach(1, n); err != nil {
		t.Fatal(err)
	}
	if attach(2, n) == nil {
		t.Error("a slot with a reader")
	}
	if err := attach(3, -1); err != nil {
		t.Errorf("private memory: %v", err)
	}
	h.Free(n)
	if again := h.Take(); again == n {
		t.Error("the slot was given away under its reader")
	}
	r.Detach(1)
	await(t, "the slot to be free", func() bool { return h.Take() == n })
	r.Detach(3)
}
