package cli

import (
	"fmt"

	ucli "github.com/urfave/cli/v2"
)

func listCommand() *command {
	return &command{
		name: "list", aliases: []string{"ls", "status"},
		usage: "show every worker, retiring ones included",
		codes: clientCodes,
		flags: []ucli.Flag{jsonFlag()},
		run: func(s *session, c *ucli.Context) error {
			ctx, cancel := s.context()
			defer cancel()
			snap, err := s.snapshot(ctx)
			if err != nil {
				return err
			}
			if s.json {
				s.out.json(snap)
				return nil
			}
			s.out.printList(snap)
			return nil
		},
	}
}

// namesCommand is what shell completion asks; it is silent without a daemon.
func namesCommand() *command {
	return &command{
		name: "names", hidden: true, passive: true, usage: "the apps' names, for completion",
		run: func(s *session, c *ucli.Context) error {
			ctx, cancel := s.context()
			defer cancel()
			names, _, _ := s.known(ctx)
			for _, n := range names {
				fmt.Fprintln(s.env.Stdout, n)
			}
			return nil
		},
	}
}
