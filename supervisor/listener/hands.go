package listener

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// maxHands is how many slots a Hands may have: 8 MiB of address space, of which
// only what is used is memory.
const maxHands = 1 << 16

// Hands is memory for the notifications in hand, one slot for each worker. It is a
// memfd, so that it can be with whoever holds what outlives this process, and
// sealed against shrinking, so that no slot ever vanishes under its reader.
//
// A slot belongs to the worker that it was given to from Take or Use to Free. Its
// methods may be called from any goroutine.
type Hands struct {
	fd  int
	mem []byte // room for all; the file is as long as its slots

	mu    sync.Mutex
	slots []slot // as many as the file has
	full  int    // the slots before it are somebody's
}

// slot tells who has a slot: both may, or either alone, or nobody.
type slot struct {
	taken bool // Take or Use, and not Free yet
	read  bool // a reader's goroutine uses it
}

// NewHands maps the notification memory behind fd, which is the Hands' from then
// on, or makes a new one if fd is -1. The error says why neither is possible; fd
// is still the caller's then.
func NewHands(fd int) (h *Hands, err error) {
	if fd < 0 {
		made, err := makeHands()
		if err != nil {
			return nil, fmt.Errorf("cannot make the notification memory: %w", err)
		}
		if h, err = NewHands(made); err != nil {
			unix.Close(made)
		}
		return h, err
	}
	n, err := slotsOf(fd)
	if err == nil {
		h = &Hands{fd: fd, slots: make([]slot, n)}
		h.mem, err = unix.Mmap(fd, 0, maxHands*handSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot map the notification memory: %w", err)
	}
	return h, nil
}

func makeHands() (fd int, err error) {
	fd, err = unix.MemfdCreate("supervisor-notifications", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return -1, os.NewSyscallError("memfd_create", err)
	}
	if _, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK); err != nil {
		unix.Close(fd)
		return -1, os.NewSyscallError("fcntl", err)
	}
	return fd, nil
}

// slotsOf is how many slots a file has for good, since it can't get shorter.
func slotsOf(fd int) (n int, err error) {
	seals, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0)
	if err != nil {
		return 0, os.NewSyscallError("fcntl", err)
	}
	if seals&unix.F_SEAL_SHRINK == 0 {
		return 0, errors.New("it is not sealed against shrinking")
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return 0, os.NewSyscallError("fstat", err)
	}
	return int(min(st.Size/handSize, maxHands)), nil
}

// FD is the memfd, for the store. It stays the Hands' and open until Close.
func (h *Hands) FD() int { return h.fd }

// Take gives an empty slot to a new worker; -1 if there is no memory for one more,
// which means private memory as Worker.Hand.
func (h *Hands) Take() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := h.full; i < len(h.slots); i++ {
		if h.full = i + 1; h.slots[i] == (slot{}) {
			h.slots[i].taken = true
			h.hand(i).clear()
			return i
		}
	}
	n := len(h.slots)
	more := min(n+os.Getpagesize()/handSize, maxHands)
	if more == n || unix.Ftruncate(h.fd, int64(more)*handSize) != nil {
		return -1
	}
	h.slots = append(h.slots, make([]slot, more-n)...)
	h.slots[n].taken = true
	h.full = n + 1
	return n
}

// Use gives a slot to the worker of an earlier daemon that had it, with the
// notification that may be in it. The error says that there is no such slot, or
// that another worker has it.
func (h *Hands) Use(n int) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if n >= len(h.slots) { // it has grown since it was mapped
		if now, err := slotsOf(h.fd); err == nil && now > len(h.slots) {
			h.slots = append(h.slots, make([]slot, now-len(h.slots))...)
		}
	}
	switch {
	case n < 0 || n >= len(h.slots):
		return fmt.Errorf("cannot use slot %d of the notification memory: it has %d", n, len(h.slots))
	case h.slots[n] != slot{}:
		return fmt.Errorf("cannot use slot %d of the notification memory: another worker has it", n)
	}
	h.slots[n].taken = true
	return nil
}

// Free takes a slot back from a worker that is gone. Nobody gets it while its
// reader is still at work. A slot that is nobody's is left alone.
func (h *Hands) Free(n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if n >= 0 && n < len(h.slots) {
		h.slots[n].taken = false
		h.full = min(h.full, n)
	}
}

// Close unmaps and closes the memory; the Table that was given it is closed before.
func (h *Hands) Close() {
	_ = unix.Munmap(h.mem) // fails for no mapping of ours
	unix.Close(h.fd)
}

// hand is a slot as memory for a notification.
func (h *Hands) hand(n int) hand {
	return hand{(*[handSize]byte)(h.mem[n*handSize : (n+1)*handSize])}
}

// open gives a worker's slot to its reader, until release.
func (h *Hands) open(n int) (hand, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if n >= len(h.slots) || h.slots[n] != (slot{taken: true}) {
		return hand{}, fmt.Errorf("slot %d of the notification memory is not the worker's", n)
	}
	h.slots[n].read = true
	return h.hand(n), nil
}

// release says that the reader of a slot has ended.
func (h *Hands) release(n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.slots[n].read = false
	h.full = min(h.full, n)
}
