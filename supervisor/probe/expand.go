package probe

import "strings"

// expand replaces $NAME and ${NAME} by the variables of env; NAME is what POSIX
// calls a name (XBD 3.216). One that is not there stays as it is written, and the
// first such is returned. Every other $ is a $.
func expand(text string, env []string) (expanded, missing string) {
	var b strings.Builder
	for {
		i := strings.IndexByte(text, '$')
		if i < 0 {
			b.WriteString(text)
			return b.String(), missing
		}
		b.WriteString(text[:i])
		name, length := variable(text[i:])
		text, length = text[i:], max(length, 1)
		value, ok := lookup(env, name)
		if !ok {
			value = text[:length]
			if missing == "" {
				missing = name
			}
		}
		b.WriteString(value)
		text = text[length:]
	}
}

// variable reads the name at the start of text, which begins with $, and how much of
// text it takes; "" and 0 where there is none.
func variable(text string) (name string, length int) {
	rest := text[1:]
	braced := strings.HasPrefix(rest, "{")
	if braced {
		rest = rest[1:]
	}
	n := 0
	for n < len(rest) && (rest[n] == '_' || rest[n]|0x20 >= 'a' && rest[n]|0x20 <= 'z' || n > 0 && rest[n] >= '0' && rest[n] <= '9') {
		n++
	}
	switch {
	case n == 0, braced && (n == len(rest) || rest[n] != '}'):
		return "", 0
	case braced:
		return rest[:n], n + len("${}")
	}
	return rest[:n], n + len("$")
}

func lookup(env []string, name string) (string, bool) {
	if name == "" {
		return "", false
	}
	for _, e := range env {
		if value, ok := strings.CutPrefix(e, name+"="); ok {
			return value, true
		}
	}
	return "", false
}
