package cli

import (
	"fmt"
	"strings"

	ucli "github.com/urfave/cli/v2"

	"supervisor/supervisor/state"
)

func completionCommand() *command {
	return &command{
		name: "completion", args: "bash|zsh|fish", min: 1, max: 1,
		usage:  "print a completion script for a shell",
		detail: "bash: source <(supervisor completion bash)    fish: supervisor completion fish | source\nzsh: source <(supervisor completion zsh)",
		codes:  []int{state.ExitOK, state.ExitUsage},
		run: func(s *session, c *ucli.Context) error {
			var script string
			switch shell := c.Args().First(); shell {
			case "bash":
				script = bashCompletion(commands())
			case "zsh":
				script = zshCompletion(commands())
			case "fish":
				script = fishCompletion(commands())
			default:
				return usage("cannot complete for %q: want bash, zsh or fish", shell)
			}
			fmt.Fprint(s.env.Stdout, script)
			return nil
		},
	}
}

// argument is what follows a command, for completion: app names, files, both or
// neither.
func (c *command) argument() (names, files bool) {
	return strings.Contains(c.args, "NAME"), strings.Contains(c.args, "FILE")
}

func (c *command) flagWords() []string {
	words := []string{"--help"}
	for _, f := range c.flags {
		for _, n := range f.Names() {
			if len(n) == 1 {
				words = append(words, "-"+n)
			} else {
				words = append(words, "--"+n)
			}
		}
	}
	return words
}

func shownCommands(list []*command) []*command {
	var shown []*command
	for _, c := range list {
		if !c.hidden {
			shown = append(shown, c)
		}
	}
	return shown
}

func bashCompletion(list []*command) string {
	var b strings.Builder
	b.WriteString("# bash completion for supervisor\n_supervisor() {\n" +
		"  local cur=${COMP_WORDS[COMP_CWORD]} names='' files=''\n  COMPREPLY=()\n" +
		"  if [ \"$COMP_CWORD\" -eq 1 ]; then\n    COMPREPLY=($(compgen -W \"")
	for i, c := range shownCommands(list) {
		if i > 0 {
			b.WriteString(" ")
		}
		b.WriteString(c.name)
	}
	b.WriteString("\" -- \"$cur\"))\n    return\n  fi\n  case ${COMP_WORDS[1]} in\n")
	for _, c := range shownCommands(list) {
		names, files := c.argument()
		fmt.Fprintf(&b, "  %s)\n    case $cur in -*) COMPREPLY=($(compgen -W \"%s\" -- \"$cur\")); return ;; esac\n",
			strings.Join(append([]string{c.name}, c.aliases...), "|"), strings.Join(c.flagWords(), " "))
		if c.name == "completion" {
			b.WriteString("    COMPREPLY=($(compgen -W \"bash zsh fish\" -- \"$cur\"))\n")
		}
		if names {
			b.WriteString("    names=$(\"${COMP_WORDS[0]}\" names 2>/dev/null)\n")
		}
		if files {
			b.WriteString("    files=1\n")
		}
		b.WriteString("    ;;\n")
	}
	b.WriteString("  esac\n  [ -n \"$names\" ] && COMPREPLY=($(compgen -W \"$names\" -- \"$cur\"))\n" +
		"  [ -n \"$files\" ] && COMPREPLY+=($(compgen -f -- \"$cur\"))\n  return 0\n}\n" +
		"complete -o filenames -F _supervisor supervisor\n")
	return b.String()
}

func zshCompletion(list []*command) string {
	var b strings.Builder
	b.WriteString("#compdef supervisor\n_supervisor() {\n  local -a cmds names flags\n  if (( CURRENT == 2 )); then\n    cmds=(\n")
	for _, c := range shownCommands(list) {
		fmt.Fprintf(&b, "      '%s:%s'\n", c.name, strings.ReplaceAll(c.usage, "'", ""))
	}
	b.WriteString("    )\n    _describe command cmds\n    return\n  fi\n  case ${words[2]} in\n")
	for _, c := range shownCommands(list) {
		names, files := c.argument()
		fmt.Fprintf(&b, "  %s)\n    flags=(%s)\n    if [[ $PREFIX == -* ]]; then compadd -- $flags; return; fi\n",
			strings.Join(append([]string{c.name}, c.aliases...), "|"), strings.Join(c.flagWords(), " "))
		if c.name == "completion" {
			b.WriteString("    compadd bash zsh fish\n")
		}
		if names {
			b.WriteString("    names=(${(f)\"$(${words[1]} names 2>/dev/null)\"})\n    compadd -a names\n")
		}
		if files {
			b.WriteString("    _files\n")
		}
		b.WriteString("    ;;\n")
	}
	b.WriteString("  esac\n}\nif [ \"$funcstack[1]\" = \"_supervisor\" ]; then _supervisor \"$@\"; else compdef _supervisor supervisor; fi\n")
	return b.String()
}

func fishCompletion(list []*command) string {
	var b strings.Builder
	b.WriteString("# fish completion for supervisor\ncomplete -c supervisor -f\n")
	for _, c := range shownCommands(list) {
		words := strings.Join(append([]string{c.name}, c.aliases...), " ")
		fmt.Fprintf(&b, "complete -c supervisor -n __fish_use_subcommand -a %s -d '%s'\n", c.name, strings.ReplaceAll(c.usage, "'", ""))
		on := fmt.Sprintf("complete -c supervisor -n '__fish_seen_subcommand_from %s'", words)
		names, files := c.argument()
		if names {
			fmt.Fprintf(&b, "%s -a '(supervisor names 2>/dev/null)'\n", on)
		}
		if files {
			fmt.Fprintf(&b, "%s -F\n", on)
		}
		if c.name == "completion" {
			fmt.Fprintf(&b, "%s -a 'bash zsh fish'\n", on)
		}
		for _, f := range c.flags {
			for _, n := range f.Names() {
				opt := "-l"
				if len(n) == 1 {
					opt = "-s"
				}
				fmt.Fprintf(&b, "%s %s %s\n", on, opt, n)
			}
		}
	}
	return b.String()
}
