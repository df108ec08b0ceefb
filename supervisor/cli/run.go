package cli

import (
	"context"
	"errors"
	"fmt"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	ucli "github.com/urfave/cli/v2"

	"supervisor/supervisor/control"
	"supervisor/supervisor/state"
)

// exitInterrupted is a shell's code for SIGINT.
const exitInterrupted = 130

// errInterrupted is a Ctrl-C while the daemon works.
var errInterrupted = errors.New("interrupted: the work goes on; look with `supervisor list`")

// Run carries one command line out (args[0] is the program) and returns the
// exit code.
func Run(args []string, env Env) int {
	s := &session{env: env.withDefaults(), args: args}
	ours, after := splitAfter(args)
	s.after = after
	s.json = slices.Contains(ours, "--json")
	s.out = newPrinter(s.env)

	list := commands()
	app := s.app(list)
	return s.finish(app.Run(arrange(ours, func(name string) *command { return find(list, name) })))
}

// app builds urfave's view of the commands.
func (s *session) app(list []*command) *ucli.App {
	app := &ucli.App{
		Name:            "supervisor",
		HelpName:        "supervisor",
		Usage:           "run servers as clusters of workers, and reload them without losing a connection",
		UsageText:       "supervisor COMMAND [ARGUMENTS]",
		HideVersion:     true,
		HideHelpCommand: true,
		Writer:          s.env.Stdout,
		ErrWriter:       s.env.Stderr,
		Reader:          s.env.Stdin,
		ExitErrHandler:  func(*ucli.Context, error) {}, // the default calls os.Exit
		OnUsageError:    func(_ *ucli.Context, err error, _ bool) error { return usage("%v", err) },
		CustomAppHelpTemplate: `NAME:
   supervisor - {{.Usage}}

USAGE:
   {{.UsageText}}

COMMANDS:{{template "visibleCommandTemplate" .}}

Exit codes: 0 done, 1 the operation failed, 2 usage or ecosystem error, 3 no daemon.
supervisor COMMAND --help tells more.
`,
		Flags: []ucli.Flag{&ucli.BoolFlag{Name: "version", Aliases: []string{"v"}, Usage: "print the version"}},
	}
	app.Action = func(c *ucli.Context) error {
		if c.Bool("version") {
			return versionCommand().run(s, c)
		}
		if c.NArg() == 0 {
			return ucli.ShowAppHelp(c)
		}
		return unknownCommand(c.Args().First(), list)
	}
	for _, cmd := range list {
		app.Commands = append(app.Commands, s.urfave(cmd))
	}
	return app
}

func (s *session) urfave(cmd *command) *ucli.Command {
	return &ucli.Command{
		Name: cmd.name, Aliases: cmd.aliases, Usage: cmd.usage, Description: cmd.detail,
		UsageText: strings.TrimSpace("supervisor " + cmd.name + " " + cmd.synopsis()),
		Flags:     cmd.flags, Hidden: cmd.hidden, HideHelpCommand: true,
		OnUsageError: func(_ *ucli.Context, err error, _ bool) error {
			return usage("%v (see `supervisor %s --help`)", err, cmd.name)
		},
		Action: func(c *ucli.Context) error {
			if err := cmd.checkArgs(c, s.after); err != nil {
				return err
			}
			s.passive = cmd.passive
			return cmd.run(s, c)
		},
	}
}

// checkArgs counts the arguments.
func (c *command) checkArgs(ctx *ucli.Context, after []string) error {
	n := ctx.NArg()
	switch {
	case n < c.min:
		return usage("%s wants %s: supervisor %s %s", c.name, c.args, c.name, c.synopsis())
	case c.max >= 0 && n > c.max:
		hint := ""
		if c.after {
			hint = "; the script's own arguments come after --"
		}
		return usage("%s does not know what to do with %q%s", c.name, ctx.Args().Get(c.max), hint)
	case len(after) > 0 && !c.after:
		return usage("%s takes nothing after --", c.name)
	}
	return nil
}

func unknownCommand(name string, list []*command) error {
	best, distance := "", 3
	for _, c := range list {
		if c.hidden {
			continue
		}
		for _, n := range append([]string{c.name}, c.aliases...) {
			if d := editDistance(name, n); d < distance {
				best, distance = n, d
			}
		}
	}
	if best != "" {
		return usage("unknown command %q, did you mean %s?", name, best)
	}
	return usage("unknown command %q (see `supervisor --help`)", name)
}

// editDistance is Levenshtein's.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}

// usage is an error of what was typed: exit 2.
func usage(format string, args ...any) error {
	return &state.Error{Code: state.ExitUsage, Message: fmt.Sprintf(format, args...)}
}

// failed is an operation that failed: exit 1.
func failed(format string, args ...any) error {
	return &state.Error{Code: state.ExitFailed, Message: fmt.Sprintf(format, args...)}
}

// exitCode is an error that was told already.
type exitCode int

func (e exitCode) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// finish tells an error in the form that was asked for, and returns its code.
func (s *session) finish(err error) int {
	if err == nil {
		return state.ExitOK
	}
	var code exitCode
	if errors.As(err, &code) {
		return int(code)
	}
	e := s.explain(err)
	if s.json {
		s.out.json(errorJSON{e})
	} else {
		s.out.failure(e)
	}
	return e.Code
}

// errorJSON is a failed command under --json.
type errorJSON struct {
	Error *state.Error `json:"error"`
}

// explain gives every error its exit code.
func (s *session) explain(err error) *state.Error {
	e := &state.Error{Code: state.ExitFailed, Message: err.Error()}
	var se *state.Error
	switch {
	case errors.As(err, &se):
		*e = *se
	case errors.Is(err, control.ErrNoDaemon):
		e.Code = state.ExitNoDaemon
		e.Message = s.noDaemon()
	case errors.Is(err, errInterrupted), errors.Is(err, context.Canceled):
		e.Code = exitInterrupted
	}
	if e.Code == 0 {
		e.Code = state.ExitFailed
	}
	if e.Details == nil {
		e.Details = []string{}
	}
	return e
}

// context returns the context of a client command; its end is a Ctrl-C.
func (s *session) context() (context.Context, context.CancelFunc) {
	parent := s.env.Context
	if parent != nil {
		return context.WithCancel(parent)
	}
	return signal.NotifyContext(context.Background(), syscall.SIGINT)
}

// withDetails adds the lines that belong to an error.
func withDetails(err error, details []string) error {
	var e *state.Error
	if errors.As(err, &e) {
		e.Details = details
	}
	return err
}
