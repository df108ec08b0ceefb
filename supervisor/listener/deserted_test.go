package listener_test

import (
	"fmt"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// A worker is deserted when the last process of it has ended, also one that has
// outlived the main process.
func TestDeserted(t *testing.T) {
	r := newRig(t)
	w := r.start(spec{app: "a", args: []string{"/bin/sh", "-c", "sleep 1000 >/dev/null 2>&1 & echo child $!."}})
	w.wait()
	var child int
	if _, err := fmt.Sscanf(w.out.String(), "child %d.", &child); err != nil {
		t.Fatalf("%v: %q", err, w.out)
	}
	pidfd, err := unix.PidfdOpen(child, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pidfd)
	if r.Deserted(w.id) {
		t.Error("deserted, though a process lives")
	}
	syscall.Kill(child, syscall.SIGKILL)
	unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, int(patience.Milliseconds()))
	if !r.Deserted(w.id) && !zombiesCount(t) {
		t.Error("not deserted, though nobody is left")
	}
	r.Detach(w.id)
	if r.Deserted(w.id) {
		t.Error("a worker that is not known can't be known to be deserted")
	}
}

// zombiesCount tells whether the kernel counts a zombie in (Linux before 6.11).
func zombiesCount(t *testing.T) bool {
	t.Helper()
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		t.Fatal(err)
	}
	var major, minor int
	if _, err := fmt.Sscanf(strings.TrimRight(string(name.Release[:]), "\x00"), "%d.%d", &major, &minor); err != nil {
		t.Fatal(err)
	}
	return major < 6 || major == 6 && minor < 11
}
