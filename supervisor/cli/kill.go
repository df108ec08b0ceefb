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
		codes: []int{state.ExitOK, state.ExitFailed, state.ExitUsage},
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
	if errors.Is(err, control.ErrNoDaemon) && s.orphans() {
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
	fd, fdErr := unix.PidfdOpen(pong.PID, 0) // held before the request, so that it names this daemon
	if fdErr == nil {
		defer unix.Close(fd)
	}
	res, err := s.do(state.Request{Verb: state.VerbKill})
	var broken *control.BrokenError
	switch {
	case errors.As(err, &broken) && fdErr == nil && awaitEnd(fd):
		return s.killed(true, nil) // it ended before its answer was out
	case err != nil:
		return err
	case fdErr == nil && !awaitEnd(fd):
		return failed("every app is stopped, but the daemon (pid %d) has not ended within %v", pong.PID, daemonEnd)
	}
	return s.killed(true, res.Messages)
}

// orphans reports whether a daemon has left records of workers behind.
func (s *session) orphans() bool {
	left, err := filepath.Glob(filepath.Join(s.path, stateName, "w*.json"))
	return err == nil && len(left) > 0
}

// awaitEnd waits until the process of a pidfd has ended, so that a start right
// after kill finds the lock free.
func awaitEnd(pidfd int) bool {
	deadline := time.Now().Add(daemonEnd)
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
