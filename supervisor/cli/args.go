package cli

import (
	"strings"

	ucli "github.com/urfave/cli/v2"
)

// splitAfter cuts the arguments at the first `--`: what follows belongs to the
// script, whatever it looks like.
func splitAfter(args []string) (ours, after []string) {
	for i, a := range args {
		if a == "--" {
			return args[:i], args[i+1:]
		}
	}
	return args, nil
}

// arrange brings a command's flags before its arguments, which is the order
// that the flag parser wants, since users type `reload web --json`. args begins
// with the program's name.
func arrange(args []string, lookup func(name string) *command) []string {
	if len(args) == 0 {
		return args
	}
	out := []string{args[0]}
	rest := args[1:]
	json := false
	for len(rest) > 0 && strings.HasPrefix(rest[0], "-") {
		if rest[0] == "--json" { // belongs to whatever command follows
			json = true
		} else {
			out = append(out, rest[0])
		}
		rest = rest[1:]
	}
	if len(rest) == 0 {
		return out
	}
	cmd := lookup(rest[0])
	out = append(out, rest[0])
	if cmd == nil {
		return append(out, rest[1:]...)
	}
	if json {
		out = append(out, "--json")
	}
	flags, words := sift(rest[1:], cmd)
	out = append(out, flags...)
	if len(words) > 0 {
		out = append(out, "--")
		out = append(out, words...)
	}
	return out
}

// sift tells a command's flags (with their values) from its arguments.
func sift(args []string, cmd *command) (flags, words []string) {
	for i := 0; i < len(args); i++ {
		a := args[i]
		if len(a) < 2 || a[0] != '-' || cmd.signed && isSigned(a) {
			words = append(words, a)
			continue
		}
		name, _, joined := strings.Cut(strings.TrimLeft(a, "-"), "=")
		takes, known := cmd.flag(name)
		if !known && a[1] != '-' {
			// -n5: a short flag with its value
			if t, ok := cmd.flag(a[1:2]); ok && t && len(a) > 2 {
				flags = append(flags, a[:2], a[2:])
				continue
			}
		}
		flags = append(flags, a)
		if takes && !joined && i+1 < len(args) {
			i++
			flags = append(flags, args[i])
		}
	}
	return flags, words
}

// isSigned reports whether an argument is a number with a sign: `scale web -1`.
func isSigned(a string) bool {
	return len(a) > 1 && (a[0] == '-' || a[0] == '+') && isDigits(a[1:])
}

func isDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

// flag tells whether a command has a flag of that name, and whether it takes a
// value.
func (c *command) flag(name string) (takes, known bool) {
	for _, f := range c.flags {
		for _, n := range f.Names() {
			if n == name {
				_, isBool := f.(*ucli.BoolFlag)
				return !isBool, true
			}
		}
	}
	return false, false
}

// countForm returns why a text is no count for -i (n, max, -n) or, with plus,
// for scale (n, +n, -n, max); "" when it is one.
func countForm(s string, plus bool) string {
	digits := strings.TrimPrefix(s, "-")
	if plus && strings.HasPrefix(s, "+") {
		digits = s[1:]
	}
	if s == "max" || isDigits(digits) && len(digits) <= 6 {
		return ""
	}
	if plus {
		return "want a number, +number, -number or max"
	}
	return "want a number, -number (the cpus less that many) or max"
}
