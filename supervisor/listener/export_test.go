package listener

import (
	"slices"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// RefuseTaking makes pidfd_getfd fail, as in some containers. It is called
// before the first Attach.
func (t *Table) RefuseTaking(errno unix.Errno) {
	t.do(func() { t.takeFD = func(int, int) (int, error) { return -1, errno } })
}

// Blind makes looking into other processes fail while it is switched on: for these
// entries of /proc/PID ("/mem", "/fd", "/fdinfo", "/ns", "/root"), and for
// pidfd_getfd if "take" is among them. It is called before the first Attach.
func (t *Table) Blind(errno unix.Errno, what ...string) (on *atomic.Bool) {
	on = &atomic.Bool{}
	t.do(func() {
		t.refused = func(path string) error {
			if on.Load() && slices.ContainsFunc(what, func(entry string) bool { return strings.HasSuffix(path, entry) }) {
				return errno
			}
			return nil
		}
		take := t.takeFD
		t.takeFD = func(pidfd, fd int) (int, error) {
			if on.Load() && slices.Contains(what, "take") {
				return -1, errno
			}
			return take(pidfd, fd)
		}
	})
	return on
}

// Counted is how many connections to a port were counted since its workers last changed;
// ok tells if they are counted at all.
func (t *Table) Counted(port uint16) (n int, ok bool) {
	t.do(func() {
		for _, s := range t.sockets {
			if s.key.isUnix() || s.key.port != port || s.busy || len(s.choice) < 2 || t.counter == nil {
				continue
			}
			ok = true
			for _, h := range s.shares {
				n += h.count
			}
		}
	})
	return n, ok
}

// HandMemory is what lies in a slot.
func (h *Hands) HandMemory(n int) *[handSize]byte { return h.hand(n).mem }

// AdornFile gives a file that is known by its number a mode.
func AdornFile(path string, dev, ino uint64, mode uint32) error {
	return adornFile(path, dev, ino, mode, -1, -1)
}
