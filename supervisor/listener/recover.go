package listener

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// Recover gets the descriptor of a recorded socket out of a process that has it
// open, for a store that was lost together with the daemon (pidfd_getfd(2)): one that
// has called listen on it (behind npm or a shell the worker's main process hasn't got
// it), or one of pids. It is close-on-exec and the caller's, who also stores it anew
// under r.Name(). The error says that none of them has it, or why it can't be
// taken: without CAP_SYS_PTRACE the kernel may refuse to take from a process that
// is no child (Yama).
func Recover(r Record, pids []int) (fd int, err error) {
	err = errors.New("no process has it open")
	var all []int
	for _, o := range r.Owners {
		all = append(all, o.Listens...)
	}
	for _, pid := range append(all, pids...) {
		taken, reason := takeFrom(pid, r.Inode)
		if taken >= 0 {
			return taken, nil
		}
		if reason != nil {
			err = reason
		}
	}
	return -1, fmt.Errorf("cannot recover %s: %w", r.Addr, err)
}

// takeFrom takes the socket with that inode; -1 without an error if the process
// doesn't have it, or is gone.
func takeFrom(pid int, inode uint64) (fd int, err error) {
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return -1, nil
	}
	defer unix.Close(pidfd)
	dir := "/proc/" + strconv.Itoa(pid) + "/fd"
	for _, name := range names(dir) {
		link, _ := os.Readlink(dir + "/" + name)
		if n, ok := socketInode(link); !ok || n != inode {
			continue
		}
		number, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		taken, err := unix.PidfdGetfd(pidfd, number, 0)
		if err != nil {
			return -1, fmt.Errorf("pidfd_getfd from process %d: %w", pid, err)
		}
		if n, err := inodeOf(taken); err == nil && n == inode {
			return taken, nil
		}
		unix.Close(taken) // the number was another's by then
	}
	return -1, nil
}
