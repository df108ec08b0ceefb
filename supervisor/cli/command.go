package cli

import (
	"strconv"
	"strings"

	ucli "github.com/urfave/cli/v2"

	"supervisor/supervisor/state"
)

// Command is one command as --help and the README show it.
type Command struct {
	Name      string
	Aliases   []string
	Args      string // what follows the name: arguments and flags
	Usage     string // one line, no full stop
	ExitCodes []int  // that it can end with, beside 130 for Ctrl-C
}

// Commands lists every command a user may type, in the order of --help.
func Commands() []Command {
	var list []Command
	for _, c := range commands() {
		if !c.hidden {
			list = append(list, Command{Name: c.name, Aliases: c.aliases, Args: c.synopsis(), Usage: c.usage, ExitCodes: c.codes})
		}
	}
	return list
}

// CommandTable is the README's table of commands, in Markdown.
func CommandTable() string {
	var b strings.Builder
	b.WriteString("| command | what it does | exit codes |\n|---|---|---|\n")
	for _, c := range Commands() {
		names := "`" + strings.TrimSpace(c.Name+" "+c.Args) + "`"
		if len(c.Aliases) > 0 {
			names += " (also `" + strings.Join(c.Aliases, "`, `") + "`)"
		}
		codes := make([]string, len(c.ExitCodes))
		for i, n := range c.ExitCodes {
			codes[i] = strconv.Itoa(n)
		}
		b.WriteString("| " + strings.ReplaceAll(names, "|", `\|`) + " | " + c.Usage + " | " + strings.Join(codes, ", ") + " |\n")
	}
	return b.String()
}

// command is a Command and what it does.
type command struct {
	name    string
	aliases []string
	args    string
	usage   string
	detail  string
	codes   []int
	flags   []ucli.Flag
	min     int  // arguments
	max     int  // -1: any number
	after   bool // takes `-- ARGS`
	signed  bool // -1 and +1 are arguments
	hidden  bool
	passive bool // starts no daemon, not even one that died (session.revive)
	run     func(*session, *ucli.Context) error
}

// commands builds the list anew, since urfave's flags carry state.
func commands() []*command {
	list := []*command{
		startCommand(), reloadCommand(), restartCommand(), stopCommand(), deleteCommand(), scaleCommand(),
		listCommand(), describeCommand(), logsCommand(), historyCommand(),
		validateCommand(), exportCommand(), initCommand(), signalCommand(), resetCommand(), flushCommand(),
		pingCommand(), upgradeCommand(), killCommand(),
		startupCommand(), unstartupCommand(), unitCommand(), versionCommand(), completionCommand(),
		daemonCommand(), namesCommand(), sweepCommand(),
	}
	return append(list, laterCommands()...)
}

func find(list []*command, name string) *command {
	for _, c := range list {
		if c.name == name {
			return c
		}
		for _, a := range c.aliases {
			if a == name {
				return c
			}
		}
	}
	return nil
}

// synopsis is a command's arguments and flags: `NAME [-n N] [-f]`.
func (c *command) synopsis() string {
	parts := []string{}
	if c.args != "" {
		parts = append(parts, c.args)
	}
	for _, f := range c.flags {
		name := f.Names()[0]
		if len(name) == 1 {
			name = "-" + name
		} else {
			name = "--" + name
		}
		if g, ok := f.(ucli.DocGenerationFlag); ok && g.TakesValue() {
			value, _, _ := strings.Cut(strings.TrimPrefix(g.GetUsage(), "`"), "`")
			name += " " + value
		}
		parts = append(parts, "["+name+"]")
	}
	if c.after {
		parts = append(parts, "[-- ARGS]")
	}
	return strings.Join(parts, " ")
}

// Exit codes of most commands.
var clientCodes = []int{state.ExitOK, state.ExitFailed, state.ExitUsage, state.ExitNoDaemon}

// Flags that several commands have.

func jsonFlag() ucli.Flag {
	return &ucli.BoolFlag{Name: "json", Usage: "print JSON and nothing else on stdout"}
}

func onlyFlag() ucli.Flag {
	return &ucli.StringFlag{Name: "only", Usage: "`a,b`: these apps of the file and no others"}
}

func envFlag() ucli.Flag {
	return &ucli.StringFlag{Name: "env", Usage: "`NAME`: merge env_NAME over env, from now on"}
}

func updateEnvFlag() ucli.Flag {
	return &ucli.BoolFlag{Name: "update-env", Usage: "take this shell's environment as the apps' base anew"}
}

func dryRunFlag() ucli.Flag {
	return &ucli.BoolFlag{Name: "dry-run", Usage: "print what would be done, and do nothing"}
}
