package cli

import (
	"context"

	ucli "github.com/urfave/cli/v2"
)

func pingCommand() *command {
	return &command{
		name:  "ping",
		usage: "ask whether a daemon runs (exit 3 if none does)",
		codes: clientCodes, passive: true,
		flags: []ucli.Flag{jsonFlag()},
		run: func(s *session, c *ucli.Context) error {
			client, err := s.client()
			if err != nil {
				return err
			}
			ctx, cancel := s.context()
			defer cancel()
			ctx, stop := context.WithTimeout(ctx, shortCall)
			defer stop()
			pong, err := client.Ping(ctx)
			if err != nil {
				return err
			}
			if s.json {
				s.out.json(pong)
				return nil
			}
			s.out.linef("pid %d, version %s", pong.PID, pong.Version)
			return nil
		},
	}
}
