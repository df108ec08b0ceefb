package listener

import "golang.org/x/sys/unix"

// Deserted tells that no process of a worker is left, neither of its group nor any
// that has left it; false says that one lives or that it is not known. The filter
// goes with every fork and exec and can't be taken off, so the hang-up of its
// descriptor (seccomp_unotify(2), POLLHUP) is the end of the last. Linux before 6.11
// counts zombies in, so there a worker whose main process is not reaped is never
// known to be deserted.
func (t *Table) Deserted(worker uint64) (sure bool) {
	t.do(func() {
		if m := t.members[worker]; m != nil {
			sure = m.pump.hungUp()
		}
	})
	return sure
}

// hungUp looks at the descriptor, or remembers what the pump saw before it closed it.
func (p *pump) hungUp() bool {
	_ = p.raw.Control(func(fd uintptr) { // fails when it is closed
		fds := []unix.PollFd{{Fd: int32(fd)}}
		if _, err := unix.Poll(fds, 0); err == nil {
			p.sawHangup(fds[0].Revents)
		}
	})
	return p.hangup.Load()
}

// sawHangup notes whether a poll found nobody at the other end.
func (p *pump) sawHangup(revents int16) {
	if revents&unix.POLLHUP != 0 {
		p.hangup.Store(true)
	}
}
