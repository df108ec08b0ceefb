package cli

import (
	"context"

	ucli "github.com/urfave/cli/v2"

	"supervisor/supervisor/control"
	"supervisor/supervisor/state"
)

func versionCommand() *command {
	return &command{
		name:  "version",
		usage: "print the version, and the daemon's if one runs",
		codes: []int{state.ExitOK, state.ExitUsage}, passive: true,
		flags: []ucli.Flag{jsonFlag()},
		run:   runVersion,
	}
}

// versionJSON is version's answer.
type versionJSON struct {
	Version string        `json:"version"`
	Daemon  *control.Pong `json:"daemon"` // null: none runs
}

func runVersion(s *session, c *ucli.Context) error {
	v := versionJSON{Version: s.env.Version}
	if client, err := s.client(); err == nil {
		ctx, cancel := context.WithTimeout(context.Background(), shortCall)
		defer cancel()
		if pong, err := client.Ping(ctx); err == nil {
			v.Daemon = &pong
		}
	}
	if s.json {
		s.out.json(v)
		return nil
	}
	s.out.linef("supervisor %s", v.Version)
	if v.Daemon != nil {
		s.out.linef("daemon %s, pid %d", v.Daemon.Version, v.Daemon.PID)
	}
	return nil
}
