package cli

import (
	"path/filepath"

	ucli "github.com/urfave/cli/v2"

	"supervisor/supervisor/systemd"
)

// sweepCommand is internal: what a unit runs after a stop (ExecStopPost=).
func sweepCommand() *command {
	return &command{
		name: "sweep", hidden: true, passive: true, usage: "what is left in the unit's cgroup after a stop that took too long is killed (internal)",
		run: func(s *session, c *ucli.Context) error {
			home, err := s.home()
			if err != nil {
				return err
			}
			killed, err := systemd.Sweep(s.env.Getenv("SERVICE_RESULT"), filepath.Join(home, stateName, daemonStateName))
			if killed > 0 {
				s.out.linef("the stop took too long: SIGKILL for %s that it has left", plural(killed, "pid"))
			}
			if err != nil {
				return failed("%v", err)
			}
			return nil
		},
	}
}
