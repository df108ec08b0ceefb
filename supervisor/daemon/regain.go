package daemon

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"supervisor/supervisor/listener"
)

// regainPipe opens our end of a worker's pipe anew, by an end that the worker has, where
// whoever held it for us has died with the daemon; -1 where the worker has it nowhere.
// The worker's end is read-write, so it is a way to both (proc_pid_fd(5)).
func regainPipe(pid int, inode uint64) int {
	name := fmt.Sprintf("pipe:[%d]", inode)
	links, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	for _, link := range links {
		if to, err := os.Readlink(link); err != nil || to != name {
			continue
		}
		fd, err := unix.Open(link, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			continue
		}
		if got, err := inodeOf(fd); err == nil && got == inode {
			return fd
		}
		unix.Close(fd)
	}
	return -1
}

// regainSocket takes a socket from one of its workers, where whoever held it for us has
// died with the daemon.
func (w *world) regainSocket(l leftovers, r listener.Record) (fd int, ok bool) {
	var pids []int
	for _, worker := range l.records {
		pids = append(pids, worker.PID)
	}
	fd, err := listener.Recover(r, pids)
	if err != nil {
		return -1, false
	}
	if err := w.store.Push(r.Name(), fd); err != nil {
		w.say("%v", err)
	}
	return fd, true
}

// inodeOf is the inode of what a descriptor is open on.
func inodeOf(fd int) (uint64, error) {
	var st unix.Stat_t
	err := unix.Fstat(fd, &st)
	return st.Ino, err
}
