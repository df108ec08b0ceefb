package listener_test

import (
	"fmt"
	"strconv"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"supervisor/supervisor/listener"
)

// holder starts a process for each socket that is stored, which has it and is not our
// parent.
type holder struct {
	forked bool // it has all that we have, as if it had not executed its program yet
	pids   []int
}

func (h *holder) Push(_ string, fd int) error {
	files := []uintptr{0, 1, 2, uintptr(fd)}
	if h.forked {
		for i := range fd {
			if _, err := inodeOf(i); i > 2 && err == nil {
				files = append(files, uintptr(i))
			}
		}
	}
	pid, err := syscall.ForkExec("/bin/sleep", []string{"sleep", "1000"}, &syscall.ProcAttr{Files: files})
	if err == nil {
		h.pids = append(h.pids, pid)
	}
	return err
}

func (h *holder) Remove(string) error { return nil }

func (h *holder) end() {
	for _, pid := range h.pids {
		syscall.Kill(pid, syscall.SIGKILL)
		syscall.Wait4(pid, nil, 0, nil)
	}
}

func inodeOf(fd int) (uint64, error) {
	var st unix.Stat_t
	err := unix.Fstat(fd, &st)
	return st.Ino, err
}

// What a program has closed is nobody's, though the holder of what is stored has it, and
// what we are about to start.
func TestOursAreNoWorkers(t *testing.T) {
	for _, forked := range []bool{false, true} {
		t.Run(fmt.Sprintf("forked=%v", forked), func(t *testing.T) {
			h := &holder{forked: forked}
			t.Cleanup(h.end)
			cfg := listener.Config{Store: h}
			if !forked {
				cfg.Holder = func() int { return h.pids[0] }
			}
			r := newRigWith(t, cfg)
			addr := fmt.Sprintf("127.0.0.1:%d", freePort(t))
			w := r.start(spec{app: "web", role: "let-go", env: []string{"ADDR=" + addr}})
			want(r, func(f listener.Closed) bool { return f.Addr == "tcp://"+addr })
			w.stop(syscall.SIGKILL)
		})
	}
}

// The address of what was closed is free at once, though what we are about to start has
// a copy of it for a moment.
func TestWhatIsClosedIsFree(t *testing.T) {
	h := &holder{forked: true}
	t.Cleanup(h.end)
	r := newRigWith(t, listener.Config{Store: h})
	port := freePort(t)
	w := r.start(spec{app: "web", args: []string{has(t, "node"), "testdata/server.js"},
		env: []string{"PORT=" + strconv.Itoa(port), "PROBE=127.0.0.1"}})
	addr := fmt.Sprintf("tcp://[::]:%d", port)
	want(r, func(f listener.Listening) bool { return f.Addr == addr })
	w.stop(syscall.SIGKILL)
}
