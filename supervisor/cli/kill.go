package cli

import (
	"context"
	"errors"
	"path/filepath"
	"time"

	ucli "github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"supervisor/supervisor/control"
	"supervisor/supervisor/state"
)

// daemonEnd is how long a daemon may take to end after all its workers did.
const daemonEnd = 30 * time.Second

func killCommand() *command {
	return &command{
		name:  "kill",
		usage: "stop every app and end the daemon (done already: exit 0)",
		codes: []int{state.ExitOK, state.ExitFailed, state.ExitUsage}, passive: true,
		flags: []ucli.Flag{jsonFlag()},
		run:   runKill,
	}
}

// killedJSON is kill's answer.
type killedJSON struct {
	Killed   bool     `json:"killed"` // false: no daemon ran
	Messages []string `json:"messages"`
}

func runKill(s *session, c *ucli.Context) error {
	client, err := s.client()
	if err != nil {
		return err
	}
	pong, err := client.Ping(context.Background())
	if errors.Is(err, control.ErrNoDaemon) && (s.orphans() || s.leftOpen()) {
		// A daemon was killed and its workers live: the next one ends them.
		if err := s.startBackground(context.Background(), s.path); err != nil {
			return err
		}
		pong, err = client.Ping(context.Background())
	}
	if errors.Is(err, control.ErrNoDaemon) {
		return s.killed(false, nil)
	}
	if err != nil {
		return err
	}
	if pong.Unit != "" {
		return failed("cannot kill: systemd runs this supervisor and would start it again: systemctl stop %s", pong.Unit)
	}
	ends := watchEnds(pong.PID, pong.KeeperPID)
	defer ends.close()
	res, err := s.do(state.Request{Verb: state.VerbKill})
	var broken *control.BrokenError
	switch {
	case errors.As(err, &broken) && len(ends) > 0 && ends.await() && !s.leftOpen():
		return s.killed(true, nil) // it ended before its answer was out
	case err != nil:
		return err
	case !ends.await():
		return failed("every app is stopped, but the daemon (pid %d) has not ended within %v", pong.PID, daemonEnd)
	}
	return s.killed(true, res.Messages)
}

// orphans reports whether a daemon has left records of workers behind.
func (s *session) orphans() bool {
	left, err := filepath.Glob(filepath.Join(s.path, stateName, "w*.json"))
	return err == nil && len(left) > 0
}

// ends are the pidfds of processes that are to end.
type ends []int

// watchEnds is called before they are told, so that their pids are theirs still. One
// that is 0, gone or can't be watched is left out.
func watchEnds(pids ...int) ends {
	var e ends
	for _, pid := range pids {
		if pid == 0 {
			continue
		}
		if fd, err := unix.PidfdOpen(pid, 0); err == nil {
			e = append(e, fd)
		}
	}
	return e
}

func (e ends) close() {
	for _, fd := range e {
		unix.Close(fd)
	}
}

// await waits until all have ended, so that a start right after kill finds the lock
// free and no keeper; false after daemonEnd.
func (e ends) await() bool {
	deadline := time.Now().Add(daemonEnd)
	for _, fd := range e {
		if !awaitEnd(fd, deadline) {
			return false
		}
	}
	return true
}

func awaitEnd(pidfd int, deadline time.Time) bool {
	for {
		left := time.Until(deadline)
		if left <= 0 {
			return false
		}
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, int(left.Milliseconds())+1)
		if err != nil && err != unix.EINTR {
			return false
		}
		if n > 0 {
			return true
		}
	}
}

func (s *session) killed(yes bool, messages []string) error {
	switch {
	case s.json:
		s.out.json(killedJSON{yes, list(messages)})
	case yes:
		s.out.linef("the daemon has ended, and every app with it")
	default:
		s.out.linef("%s", s.noDaemon())
	}
	return nil
}
