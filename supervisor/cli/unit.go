package cli

import (
	"os"
	"path/filepath"
	"strings"

	ucli "github.com/urfave/cli/v2"

	"supervisor/ecosystem"
	"supervisor/supervisor/state"
	"supervisor/supervisor/systemd"
)

func userFlag() ucli.Flag {
	return &ucli.BoolFlag{Name: "user", Usage: "a service of your own (systemctl --user); needs no root"}
}

func unitCommand() *command {
	return &command{
		name: "unit", args: "[FILE]", max: 1,
		usage: "print a systemd unit that runs a file",
		detail: "The unit names this very program, with the SUPERVISOR_HOME, PATH and HOME of this shell.\n" +
			"`supervisor startup` installs one, with a copy of the program that `supervisor upgrade` replaces.",
		codes: []int{state.ExitOK, state.ExitFailed, state.ExitUsage}, passive: true,
		flags: []ucli.Flag{envFlag(), userFlag(), jsonFlag()},
		run:   runUnit,
	}
}

// unitJSON is unit's answer.
type unitJSON struct {
	Name string `json:"name"` // that startup would give it
	Text string `json:"text"`
}

func runUnit(s *session, c *ucli.Context) error {
	o, err := s.unitOptions("make a unit of", c)
	if err != nil {
		return err
	}
	if o.Binary, err = s.program(); err != nil {
		return err
	}
	text, err := systemd.Unit(o)
	if err != nil {
		return failed("%v", err)
	}
	if s.json {
		s.out.json(unitJSON{systemd.Name(o.File), text})
		return nil
	}
	for line := range strings.Lines(text) { // a terminal is shown no other control characters
		s.out.linef("%s", strings.TrimSuffix(line, "\n"))
	}
	return nil
}

// unitOptions is what a unit is made of, but for its program: what was typed, and where.
func (s *session) unitOptions(verb string, c *ucli.Context) (o systemd.Options, err error) {
	home, err := s.home()
	if err != nil {
		return o, err
	}
	typed := c.Args().First()
	if typed == "" {
		o.File, err = s.ecosystemHere(verb)
		typed = o.File
	} else {
		o.File, err = s.file(verb, typed)
	}
	if err != nil {
		return o, err
	}
	if !isFile(o.File) { // the service would take it for a script
		return o, usage("cannot %s %s: the name of its file has to end in .yaml, .yml or .json", verb, typed)
	}
	req := state.Request{}
	if c.IsSet("env") {
		o.EnvName = c.String("env")
		req.EnvName = &o.EnvName
	}
	valid, err := s.checkFile(verb, typed, o.File, req)
	if err != nil {
		return o, err
	}
	o.User, o.StopTime = c.Bool("user"), ecosystem.StopTime(valid.Specs)
	for _, a := range valid.Specs {
		o.Workers += a.Instances
	}
	o.Env = []string{"SUPERVISOR_HOME=" + home}
	for _, name := range []string{"PATH", "HOME"} { // a service has a bare one, and none
		if v := s.env.Getenv(name); v != "" {
			o.Env = append(o.Env, name+"="+v)
		}
	}
	return o, nil
}

// program is the real path of this program.
func (s *session) program() (string, error) {
	path, err := filepath.EvalSymlinks(s.env.Executable)
	if err == nil {
		_, err = os.Stat(path)
	}
	if err != nil {
		return "", failed("cannot tell which program this is: %v", err)
	}
	return path, nil
}
