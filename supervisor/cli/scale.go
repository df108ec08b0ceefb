package cli

import (
	ucli "github.com/urfave/cli/v2"

	"supervisor/supervisor/state"
)

func scaleCommand() *command {
	return &command{
		name: "scale", args: "NAME N|+N|-N|max", min: 2, max: 2, signed: true,
		usage: "set, raise or lower an app's number of workers",
		codes: clientCodes,
		flags: []ucli.Flag{jsonFlag()},
		run: func(s *session, c *ucli.Context) error {
			name, count := c.Args().Get(0), c.Args().Get(1)
			if why := countForm(count, true); why != "" {
				return usage("cannot scale %s to %q: %s", name, count, why)
			}
			if _, err := s.home(); err != nil {
				return err
			}
			return s.act(state.Request{Verb: state.VerbScale, Names: []string{name}, Count: count})
		},
	}
}
