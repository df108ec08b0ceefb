package cli

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"

	ucli "github.com/urfave/cli/v2"

	"supervisor/supervisor/state"
)

func unstartupCommand() *command {
	return &command{
		name: "unstartup", args: "[FILE|NAME]", max: 1,
		usage:  "stop and remove a systemd service that startup has installed",
		detail: "The argument is the file that startup was given, or the unit's name; none is needed where there is only one.",
		codes:  []int{state.ExitOK, state.ExitFailed, state.ExitUsage}, passive: true,
		flags: []ucli.Flag{userFlag(), jsonFlag()},
		run:   runUnstartup,
	}
}

func runUnstartup(s *session, c *ucli.Context) error {
	user := c.Bool("user")
	m, err := s.manager(user)
	if err != nil {
		return err
	}
	v, err := s.installed(m, c.Args().First(), user)
	if err != nil {
		return err
	}
	if _, err := v.systemctl("disable", v.name); err != nil {
		return failed("cannot disable %s: %v", v.name, err)
	}
	if _, err := v.systemctl("stop", v.name); err != nil {
		return failed("cannot stop %s: %v", v.name, err)
	}
	s.say("stopped and disabled %s", v.name)
	for _, path := range []string{v.path, v.program} {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return failed("cannot remove %s: %v", path, err)
		}
		s.say("removed %s", path)
	}
	if _, err := v.systemctl("daemon-reload"); err != nil {
		return failed("%s is removed, but systemd does not know it: %v", v.name, err)
	}
	v.systemctl("reset-failed", v.name) // an error: it has not failed
	if s.json {
		s.out.json(map[string]string{"unit": v.name})
	}
	return nil
}

// installed finds the unit that is meant among those that startup has made.
func (s *session) installed(m Systemd, typed string, user bool) (service, error) {
	all := m.made("", user)
	found := all
	switch {
	case isFile(typed):
		path, err := s.env.abs(typed) // it may be gone
		if err != nil {
			return service{}, usage("cannot find %s: %v", typed, err)
		}
		found = m.made(path, user)
	case typed != "":
		found = slices.DeleteFunc(slices.Clone(all), func(name string) bool {
			return typed != name && typed+".service" != name
		})
	}
	switch {
	case len(found) == 1:
		return m.service(found[0], user), nil
	case len(all) == 0:
		return service{}, failed("cannot remove a service: startup has installed none in %s", m.Dir)
	case len(found) == 0:
		return service{}, failed("cannot remove the service of %s: startup has installed %s", typed, strings.Join(all, ", "))
	}
	return service{}, usage("cannot tell which service to remove: name one of %s", strings.Join(found, ", "))
}
