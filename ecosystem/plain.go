package ecosystem

import (
	"slices"
	"strings"
)

// command is one plain command: words and the variables set for it.
type command struct {
	env   map[string]string
	words []string // at least one
}

// word is a word of a command line without its quotes. assigned is the length of
// NAME if it is an assignment's, 0 if not.
type word struct {
	text     string
	assigned int
}

// special are the characters that mean something to a shell outside of quotes, but
// for quotes and blanks (POSIX XCU 2.2, 2.6, 2.10, and the braces of bash).
const special = ";&|<>()$`\\*?[]{}~!#\n"

// plain reads a line as sh would, false where it needs one: anything but words,
// quotes and assignments in front. A leading exec, and env or cross-env with
// nothing but assignments, say nothing that is not in the command.
func plain(line string) (command, bool) {
	all, ok := words(strings.Trim(line, " \t\n"))
	if !ok {
		return command{}, false
	}
	c := command{env: map[string]string{}}
	for len(all) > 0 && all[0].assigned > 0 {
		c.set(all[0].text)
		all = all[1:]
	}
	for _, w := range all {
		c.words = append(c.words, w.text)
	}
	if len(c.words) > 1 && c.words[0] == "exec" && !strings.HasPrefix(c.words[1], "-") {
		c.words = c.words[1:]
	}
	for c.prefixed() {
	}
	return c, len(c.words) > 0 && c.words[0] != "" && !builtin(c.words[0])
}

func (c *command) set(assignment string) {
	name, value, _ := strings.Cut(assignment, "=")
	c.env[name] = value
}

// prefixed takes env A=b or cross-env A=b off the command, where nothing else is
// asked of them.
func (c *command) prefixed() bool {
	if len(c.words) == 0 || c.words[0] != "env" && c.words[0] != "cross-env" {
		return false
	}
	n := 1
	for n < len(c.words) && assigned(c.words[n]) > 0 {
		if c.words[0] == "cross-env" && strings.ContainsAny(c.words[n], `$\`) {
			return false // it expands variables by itself
		}
		n++
	}
	if n == len(c.words) || strings.HasPrefix(c.words[n], "-") {
		return false
	}
	for _, w := range c.words[1:n] {
		c.set(w)
	}
	c.words = c.words[n:]
	return true
}

// words splits a line; false for one that is not plain.
func words(line string) (all []word, ok bool) {
	var text strings.Builder
	begun, quoted := false, false // quoted: before any =
	var w word
	end := func() {
		if begun {
			w.text = text.String()
			all = append(all, w)
		}
		text.Reset()
		begun, quoted, w = false, false, word{}
	}
	for i := 0; i < len(line); i++ {
		c := line[i]
		switch {
		case c == ' ' || c == '\t':
			end()
			continue
		case c == '\'':
			n := strings.IndexByte(line[i+1:], '\'')
			if n < 0 {
				return nil, false
			}
			text.WriteString(line[i+1 : i+1+n])
			i += n + 1
			quoted = true
		case c == '"':
			n, ok := double(line[i+1:], &text)
			if !ok {
				return nil, false
			}
			i += n
			quoted = true
		case strings.IndexByte(special, c) >= 0:
			return nil, false
		default:
			if c == '=' && !quoted && w.assigned == 0 && assigned(text.String()+"=") > 0 {
				w.assigned = text.Len()
			}
			text.WriteByte(c)
		}
		begun = true
	}
	end()
	return all, true
}

// double reads what stands after a double quote, up to and with the one that
// closes it, and returns how long that is.
func double(rest string, into *strings.Builder) (length int, ok bool) {
	for i := 0; i < len(rest); i++ {
		switch c := rest[i]; c {
		case '"':
			return i + 1, true
		case '$', '`':
			return 0, false
		case '\\':
			i++
			if i == len(rest) || rest[i] != '"' && rest[i] != '\\' {
				return 0, false
			}
			into.WriteByte(rest[i])
		default:
			into.WriteByte(c)
		}
	}
	return 0, false
}

// assigned returns how long NAME is in NAME=value, 0 if text is none.
func assigned(text string) int {
	name, _, ok := strings.Cut(text, "=")
	if !ok || name == "" || name[0] >= '0' && name[0] <= '9' {
		return 0
	}
	if strings.ContainsFunc(name, func(r rune) bool {
		return r != '_' && !(r|0x20 >= 'a' && r|0x20 <= 'z') && !(r >= '0' && r <= '9')
	}) {
		return 0
	}
	return len(name)
}

// builtin tells whether a word is the shell's own, where a program of that name
// could not do the same.
func builtin(name string) bool {
	return slices.Contains([]string{
		"!", ".", ":", "alias", "bg", "break", "builtin", "case", "cd", "command", "continue", "coproc", "declare", "do", "done",
		"elif", "else", "esac", "eval", "exec", "exit", "export", "fc", "fg", "fi", "for", "function", "getopts", "hash", "if", "jobs",
		"let", "local", "mapfile", "popd", "pushd", "read", "readonly", "return", "select", "set", "shift", "shopt", "source",
		"then", "time", "times", "trap", "type", "typeset", "ulimit", "umask", "unalias", "unset", "until", "wait", "while",
	}, name)
}
