package daemon

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// home is SUPERVISOR_HOME: everything of one daemon is in it (DESIGN section 9).
type home string

func (h home) path(names ...string) string {
	return filepath.Join(append([]string{string(h)}, names...)...)
}

func (h home) socket() string  { return h.path("supervisor.sock") }
func (h home) pidFile() string { return h.path("supervisor.pid") }
func (h home) log() string     { return h.path("supervisor.log") }

// errHeld is another daemon on the same home.
type errHeld struct {
	home string
	pid  int
}

func (e errHeld) Error() string {
	if e.pid == 0 {
		return fmt.Sprintf("cannot start a supervisor on %s: another one has it", e.home)
	}
	return fmt.Sprintf("cannot start a supervisor on %s: pid %d has it", e.home, e.pid)
}

// prepare makes the folders and takes the lock, which is held until the returned
// file is closed or the process ends. errHeld when another process has it; with wait, if
// it still has it lockWait later.
func (h home) prepare(wait bool) (*os.File, error) {
	for _, dir := range []string{"", "state", "history", "run", "logs"} {
		if err := os.MkdirAll(h.path(dir), 0o700); err != nil {
			return nil, fmt.Errorf("cannot use SUPERVISOR_HOME %s: %w", h, err)
		}
	}
	if err := unix.Access(string(h), unix.W_OK|unix.X_OK); err != nil {
		return nil, fmt.Errorf("cannot use SUPERVISOR_HOME %s: it is not writable: %w: set it to a folder that is", h, err)
	}
	lock, err := os.OpenFile(h.path("lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot use SUPERVISOR_HOME %s: %w", h, err)
	}
	err = flock(lock, unix.LOCK_NB)
	if wait && errors.Is(err, unix.EWOULDBLOCK) {
		err = flockWithin(lock, lockWait)
	}
	if err != nil {
		lock.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, errHeld{string(h), h.pid()}
		}
		return nil, fmt.Errorf("cannot lock %s: %w", h.path("lock"), err)
	}
	return lock, nil
}

// flock takes the lock on a file; how is LOCK_NB, or 0 to wait for it.
func flock(f *os.File, how int) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var locked error
	if err := raw.Control(func(fd uintptr) {
		for {
			if locked = unix.Flock(int(fd), unix.LOCK_EX|how); locked != unix.EINTR {
				return
			}
		}
	}); err != nil {
		return err
	}
	return locked
}

// flockWithin waits for a lock. Whoever has it is about to leave.
func flockWithin(f *os.File, patience time.Duration) error {
	got := make(chan error, 1)
	go func() { got <- flock(f, 0) }() // ends with the lock, or with this process
	t := time.NewTimer(patience)
	defer t.Stop()
	select {
	case err := <-got:
		return err
	case <-t.C:
		return unix.EWOULDBLOCK
	}
}

// pid is the daemon's as it wrote it, 0 if that can't be read.
func (h home) pid() int {
	data, err := os.ReadFile(h.pidFile())
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		return 0
	}
	return pid
}

// inheritedListener is the control socket as whoever held it for us gives it back. fd
// stays the caller's.
func inheritedListener(fd int) (*net.UnixListener, error) {
	own, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err == nil {
		err = unix.SetNonblock(own, true)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot take over the control socket: %w", err)
	}
	f := os.NewFile(uintptr(own), "control socket")
	defer f.Close()
	ln, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("cannot take over the control socket: %w", err)
	}
	return ln.(*net.UnixListener), nil
}

// listen opens the control socket, 0600 from its first moment. Whoever holds the
// lock owns the path: what lies there is a dead daemon's.
func (h home) listen() (*net.UnixListener, error) {
	path := h.socket()
	if len(path) >= len(unix.RawSockaddrUnix{}.Path) {
		return nil, fmt.Errorf("cannot listen on %s: the path is longer than a unix socket's may be (%d bytes): choose a shorter SUPERVISOR_HOME",
			path, len(unix.RawSockaddrUnix{}.Path)-1)
	}
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() != os.ModeSocket {
		return nil, fmt.Errorf("cannot listen on %s: it is there and is no socket", path)
	}
	os.Remove(path)
	old := unix.Umask(0o177)
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	unix.Umask(old)
	if err != nil {
		return nil, fmt.Errorf("cannot listen on %s: %w", path, err)
	}
	ln.SetUnlinkOnClose(false) // it may be another process's by then
	return ln, nil
}

// writePID leaves the daemon's pid for people and scripts.
func (h home) writePID() error {
	tmp := h.pidFile() + ".tmp"
	err := os.WriteFile(tmp, []byte(strconv.Itoa(os.Getpid())+"\n"), 0o600)
	if err == nil {
		err = os.Rename(tmp, h.pidFile())
	}
	if err == nil {
		return nil
	}
	os.Remove(tmp)
	if errors.Is(err, unix.ENOSPC) && h.overwritePID() == nil {
		return nil
	}
	return fmt.Errorf("cannot write %s: %w", h.pidFile(), err)
}

// overwritePID writes over the pid of the daemon before us, where a disk has no room for
// another file.
func (h home) overwritePID() error {
	f, err := os.OpenFile(h.pidFile(), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	text := []byte(strconv.Itoa(os.Getpid()) + "\n")
	if _, err := f.WriteAt(text, 0); err != nil {
		return err
	}
	return f.Truncate(int64(len(text)))
}
