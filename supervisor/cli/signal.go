package cli

import (
	"strings"

	ucli "github.com/urfave/cli/v2"

	"supervisor/supervisor/state"
)

func signalCommand() *command {
	return &command{
		name: "signal", args: "SIG NAME...", min: 2, max: -1,
		usage: "send a signal to the main process of each worker",
		codes: clientCodes,
		flags: []ucli.Flag{jsonFlag()},
		run: func(s *session, c *ucli.Context) error {
			sig := c.Args().First()
			if err := checkSignal(sig); err != nil {
				return err
			}
			req, err := s.request(state.VerbSignal, c.Args().Tail())
			if err != nil {
				return err
			}
			req.Signal = sig
			return s.simple(req, strings.ToUpper(sig)+" sent")
		},
	}
}
