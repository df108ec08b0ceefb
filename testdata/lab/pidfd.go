package lab

import (
	"testing"

	"golang.org/x/sys/unix"
)

// Handle is a process that is no child of ours, by a descriptor, so that it is this one
// and no other.
type Handle struct {
	PID int
	t   testing.TB
	fd  int
}

// Hold returns a handle of a process that exists; nil if there is none of that pid.
// The test closes it.
func Hold(t testing.TB, pid int) *Handle {
	t.Helper()
	fd, err := unix.PidfdOpen(pid, 0)
	if err == unix.ESRCH {
		return nil
	}
	if err != nil {
		t.Fatalf("cannot hold pid %d: %v", pid, err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return &Handle{pid, t, fd}
}

// Signal sends a signal; nothing is said if the process has ended.
func (h *Handle) Signal(sig unix.Signal) {
	h.t.Helper()
	if err := unix.PidfdSendSignal(h.fd, sig, nil, 0); err != nil && err != unix.ESRCH {
		h.t.Fatalf("cannot signal pid %d: %v", h.PID, err)
	}
}

// Ended reports whether the process has ended, reaped or not.
func (h *Handle) Ended() bool { return h.poll(0) }

// Wait waits for the end of the process.
func (h *Handle) Wait() {
	h.t.Helper()
	if !h.poll(int(Guard.Milliseconds())) {
		h.t.Fatalf("pid %d does not end", h.PID)
	}
}

// Kill ends the process by SIGKILL and returns when it has ended.
func (h *Handle) Kill() {
	h.t.Helper()
	h.Signal(unix.SIGKILL)
	h.Wait()
}

func (h *Handle) poll(milliseconds int) bool {
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(h.fd), Events: unix.POLLIN}}, milliseconds)
		if err == unix.EINTR {
			continue
		}
		return n == 1
	}
}
