package cli

import ucli "github.com/urfave/cli/v2"

// laterCommands are known, and refused until they work.
func laterCommands() []*command {
	var list []*command
	for _, name := range []string{"save", "resurrect"} {
		list = append(list, &command{
			name: name, hidden: true, max: -1, after: true, usage: "not supported yet",
			flags: []ucli.Flag{jsonFlag()},
			run: func(*session, *ucli.Context) error {
				return usage("%s is not supported yet", name)
			},
		})
	}
	return list
}
