package handover

import (
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// daemonLog is the background daemon's log in HOME.
const daemonLog = "supervisor.log"

// maxLine is the longest line of the keeper in bytes.
const maxLine = 4000

// keeperLog is the keeper's stderr. In the background it is the daemon's log, which may
// be rotated: then the keeper, and through it the next daemon, goes on in the new one.
type keeperLog struct {
	path string
	own  bool // stderr is, or was, the log in HOME
}

func newKeeperLog(home string) keeperLog {
	l := keeperLog{path: filepath.Join(home, daemonLog)}
	l.own = l.current()
	return l
}

// current tells whether stderr is the file at path.
func (l keeperLog) current() bool {
	var at, is unix.Stat_t
	return unix.Stat(l.path, &at) == nil && unix.Fstat(2, &is) == nil && at.Dev == is.Dev && at.Ino == is.Ino
}

// reopen makes stdout and stderr the file at path again, if they are not.
func (l keeperLog) reopen() {
	if l.current() {
		return
	}
	fd, err := openRetry(l.path, unix.O_WRONLY|unix.O_CREAT|unix.O_APPEND|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return
	}
	unix.Dup3(fd, 1, 0)
	unix.Dup3(fd, 2, 0)
	unix.Close(fd)
}

// say writes one line, as the daemon writes its own: with the time where it is a log,
// and with the program's name elsewhere. It does not wait for a reader that has stopped:
// the line is lost, and not the daemon.
func (l keeperLog) say(line string) {
	begin := "supervisor: "
	if l.own {
		l.reopen()
		begin = time.Now().UTC().Format("2006/01/02 15:04:05 ")
	}
	// A pipe that is writable takes as many bytes (PIPE_BUF, pipe(7)).
	text := begin + "keeper: " + line
	text = text[:min(len(text), maxLine)] + "\n"
	stderr := []unix.PollFd{{Fd: 2, Events: unix.POLLOUT}}
	if n, err := unix.Poll(stderr, 0); n == 1 && err == nil {
		unix.Write(2, []byte(text))
	}
}
