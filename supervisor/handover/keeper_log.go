package handover

import (
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// daemonLog is the background daemon's log in HOME.
const daemonLog = "supervisor.log"

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
// and with the program's name elsewhere.
func (l keeperLog) say(line string) {
	if l.own {
		l.reopen()
		os.Stderr.WriteString(time.Now().UTC().Format("2006/01/02 15:04:05 ") + "keeper: " + line + "\n")
		return
	}
	os.Stderr.WriteString("supervisor: keeper: " + line + "\n")
}
