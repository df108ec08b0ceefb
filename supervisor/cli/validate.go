package cli

import (
	"strings"

	ucli "github.com/urfave/cli/v2"

	"supervisor/supervisor/state"
)

func validateCommand() *command {
	return &command{
		name: "validate", args: "FILE", min: 1, max: 1,
		usage: "check an ecosystem file, with every complaint at once",
		codes: []int{state.ExitOK, state.ExitUsage},
		flags: []ucli.Flag{envFlag(), jsonFlag()},
		run:   runValidate,
	}
}

// validJSON is validate's answer.
type validJSON struct {
	File     string   `json:"file"`
	Apps     []string `json:"apps"`
	Warnings []string `json:"warnings"`
}

func runValidate(s *session, c *ucli.Context) error {
	typed := c.Args().First()
	path, err := s.file("validate", typed)
	if err != nil {
		return err
	}
	var req state.Request
	if c.IsSet("env") {
		v := c.String("env")
		req.EnvName = &v
	}
	ok, err := s.checkFile("validate", typed, path, req)
	if err != nil {
		return err
	}
	if s.json {
		s.out.json(validJSON{path, ok.Apps, list(ok.Warnings)})
		return nil
	}
	for _, w := range ok.Warnings {
		s.out.note("warning: " + w)
	}
	s.out.linef("%s is valid: %s (%s)", typed, plural(len(ok.Apps), "app"), strings.Join(ok.Apps, ", "))
	return nil
}
