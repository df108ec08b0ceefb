package cli

import (
	"errors"
	"os"

	ucli "github.com/urfave/cli/v2"

	"supervisor/supervisor/state"
)

func initCommand() *command {
	return &command{
		name:  "init",
		usage: "write an example ecosystem.yaml into the current folder",
		codes: []int{state.ExitOK, state.ExitFailed, state.ExitUsage},
		flags: []ucli.Flag{jsonFlag()},
		run:   runInit,
	}
}

func runInit(s *session, c *ucli.Context) error {
	path, err := s.env.abs(ecosystemNames[0])
	if err != nil {
		return failed("cannot write %s: %v", ecosystemNames[0], err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, os.ErrExist) {
		return failed("cannot write %s: there is one already; it is left as it is", ecosystemNames[0])
	}
	if err == nil {
		_, err = f.Write(sample())
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		return failed("cannot write %s: %v", path, err)
	}
	if s.json {
		s.out.json(map[string]string{"file": path})
		return nil
	}
	s.out.linef("wrote %s; edit it, then: supervisor start", ecosystemNames[0])
	return nil
}
