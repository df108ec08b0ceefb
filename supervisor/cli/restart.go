package cli

import (
	ucli "github.com/urfave/cli/v2"

	"supervisor/supervisor/state"
)

func restartCommand() *command {
	return &command{
		name: "restart", args: "[NAME...]", max: -1,
		usage: "stop and start worker after worker, from the saved spec",
		codes: clientCodes,
		flags: []ucli.Flag{jsonFlag()},
		run: func(s *session, c *ucli.Context) error {
			req, err := s.request(state.VerbRestart, c.Args().Slice())
			if err != nil {
				return err
			}
			return s.act(req)
		},
	}
}
