package handover

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// newcomer is the new process, by its pidfd: tableflip tells nobody its pid, and
// may reap it at any time.
type newcomer struct {
	pid int
	fd  int
}

func openNewcomer(pid int) (*newcomer, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot open process %d: %w", pid, err)
	}
	return &newcomer{pid: pid, fd: fd}, nil
}

// killHolders ends every other process that has a socket, by its inode: a new
// process that has not said hello, and what it may have started. One that was left
// would keep the lock.
func killHolders(socket uint64) {
	want := "socket:[" + strconv.FormatUint(socket, 10) + "]"
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil || pid == os.Getpid() {
			continue
		}
		n, err := openNewcomer(pid) // before the look, so that it is the same process
		if err != nil {
			continue
		}
		if holds(dir+"/fd", want) {
			n.kill()
		}
		n.close()
	}
}

// holds tells whether a process's folder of descriptors has a link to want.
func holds(dir, want string) bool {
	links, _ := os.ReadDir(dir)
	return slices.ContainsFunc(links, func(link os.DirEntry) bool {
		to, _ := os.Readlink(filepath.Join(dir, link.Name()))
		return to == want
	})
}

// kill ends the new process at once; one that has ended is no error.
func (n *newcomer) kill() {
	if n != nil {
		unix.PidfdSendSignal(n.fd, unix.SIGKILL, nil, 0)
	}
}

// ended waits up to patience for the end of the new process.
func (n *newcomer) ended(patience time.Duration) bool {
	deadline := time.Now().Add(patience)
	for {
		fds := []unix.PollFd{{Fd: int32(n.fd), Events: unix.POLLIN}}
		ready, err := unix.Poll(fds, int(max(0, time.Until(deadline)).Milliseconds()))
		if err != unix.EINTR {
			return ready > 0
		}
	}
}

func (n *newcomer) close() {
	if n != nil {
		unix.Close(n.fd)
	}
}
