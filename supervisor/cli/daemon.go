package cli

import (
	ucli "github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"
)

// daemonCommand is internal: what startBackground runs.
func daemonCommand() *command {
	return &command{
		name: "daemon", hidden: true, usage: "the background daemon (internal)",
		flags: []ucli.Flag{&ucli.IntFlag{Name: "ready-fd", Value: -1, Usage: "`FD`: where to say that the socket accepts"}},
		run: func(s *session, c *ucli.Context) error {
			home, err := s.home()
			if err != nil {
				return err
			}
			if fd := c.Int("ready-fd"); fd >= 0 {
				unix.CloseOnExec(fd) // no worker may hold it
			}
			code := s.env.Daemon(DaemonOptions{
				Home: home, ReadyFD: c.Int("ready-fd"), Version: s.env.Version,
				Stdout: s.env.Stdout, Stderr: s.env.Stderr,
			})
			if code != 0 {
				return exitCode(code)
			}
			return nil
		},
	}
}
