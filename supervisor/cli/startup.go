package cli

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"

	ucli "github.com/urfave/cli/v2"

	"supervisor/supervisor/control"
	"supervisor/supervisor/state"
	"supervisor/supervisor/systemd"
)

func startupCommand() *command {
	return &command{
		name: "startup", args: "[FILE]", max: 1,
		usage: "install a file as a systemd service, now and at each boot",
		detail: "A copy of this program is installed, a unit written, enabled and started; it returns when every app has been\n" +
			"online, or has failed its first start, which `systemctl status` names.\n" +
			"A unit that was made for the same file is written anew.",
		codes: []int{state.ExitOK, state.ExitFailed, state.ExitUsage}, passive: true,
		flags: []ucli.Flag{
			envFlag(), userFlag(),
			&ucli.StringFlag{Name: "name", Usage: "`NAME`: the unit's, instead of supervisor-FOLDER"},
			jsonFlag(),
		},
		run: runStartup,
	}
}

// startupJSON is startup's answer.
type startupJSON struct {
	Unit    string `json:"unit"`
	Path    string `json:"path"`
	Program string `json:"program"`
	Running bool   `json:"running"` // it ran before, and goes on with what it had
}

func runStartup(s *session, c *ucli.Context) error {
	o, err := s.unitOptions("install", c)
	if err != nil {
		return err
	}
	m, err := s.manager(o.User)
	if err != nil {
		return err
	}
	name := systemd.Name(o.File)
	if c.IsSet("name") {
		ok := false
		if name, ok = systemd.GivenName(c.String("name")); !ok {
			return usage("--name %s: a unit's name has letters, digits and : - _ .", c.String("name"))
		}
	}
	v := m.service(name, o.User)
	if err := s.mayInstall(v, o.File); err != nil {
		return err
	}
	if v.user { // the program is installed in it
		if err := ensureHome(s.path); err != nil {
			return err
		}
	}
	o.Binary, o.Installed = v.program, true
	running, err := s.install(v, o)
	if err != nil {
		return err
	}
	if s.json {
		s.out.json(startupJSON{v.name, v.path, v.program, running})
		return nil
	}
	if running {
		s.out.linef("%s runs already and goes on; what has changed in the unit counts from: %s", v.name, v.command("restart"))
	} else {
		s.out.linef("%s runs, and starts at each %s", v.name, map[bool]string{true: "login", false: "boot"}[v.user])
	}
	if v.user {
		s.out.linef("without a login too, after: loginctl enable-linger")
	}
	return nil
}

// mayInstall reports what is in the way: another's unit of that name, or a supervisor that
// has the home already.
func (s *session) mayInstall(v service, file string) error {
	text, err := os.ReadFile(v.path)
	if err == nil && !systemd.MadeFor(string(text), file) {
		return failed("cannot install %s: %s is there, and was not made for %s (--name takes another)", v.name, v.path, file)
	}
	client, err := s.client()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), shortCall)
	defer cancel()
	pong, err := client.Ping(ctx)
	if err == nil && pong.Unit != v.name {
		end := "supervisor kill"
		if pong.Unit != "" {
			end = "systemctl stop " + pong.Unit
		}
		return failed("cannot install %s: another supervisor (pid %d) has %s (%s, or choose another SUPERVISOR_HOME)", v.name, pong.PID, s.path, end)
	}
	if err != nil && !errors.Is(err, control.ErrNoDaemon) {
		return err
	}
	return nil
}

// install puts the service in its place and starts it.
func (s *session) install(v service, o systemd.Options) (running bool, err error) {
	text, err := systemd.Unit(o)
	if err != nil {
		return false, failed("%v", err)
	}
	if _, err := v.systemctl("show", "--property=Version"); err != nil { // nobody is there: nothing is left behind
		return false, failed("cannot install %s: %v", v.name, err)
	}
	if err := systemd.InstallSelf(v.program); err != nil {
		return false, failed("%v", err)
	}
	s.say("installed %s", v.program)
	err = os.MkdirAll(filepath.Dir(v.path), 0o755)
	if err == nil {
		err = systemd.WriteFile(v.path, strings.NewReader(text), 0o644)
	}
	if err != nil {
		return false, failed("cannot write %s: %v", v.path, err)
	}
	s.say("wrote %s", v.path)
	if _, err := v.systemctl("daemon-reload"); err != nil {
		return false, failed("cannot install %s: %v", v.name, err)
	}
	if _, err := v.systemctl("enable", v.name); err != nil {
		return false, failed("cannot enable %s: %v", v.name, err)
	}
	s.say("enabled %s", v.name)
	if _, err := v.systemctl("is-active", v.name); err == nil {
		return true, nil
	}
	if _, err := v.systemctl("start", v.name); err != nil {
		said := v.journal()
		v.systemctl("stop", v.name) // or it would be tried again ten times a second
		return false, withDetails(failed("%s is installed and enabled, but did not start: %v", v.name, err), said)
	}
	return false, nil
}

// say tells a step to a person.
func (s *session) say(format string, args ...any) {
	if !s.json {
		s.out.linef(format, args...)
	}
}
