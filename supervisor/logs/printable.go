package logs

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Printable returns line fit to be shown on a terminal or in JSON: colours and other escape sequences (ECMA-48 CSI
// and OSC) are removed, control characters that are left become \xNN, and so do bytes that are not UTF-8; tabs stay.
func Printable(line string) string {
	line = strings.TrimSuffix(line, "\r")
	if isPrintable(line) {
		return line
	}
	var b strings.Builder
	for i := 0; i < len(line); {
		if n := escapeLen(line[i:]); n > 0 {
			i += n
			continue
		}
		r, n := utf8.DecodeRuneInString(line[i:])
		if bad := r == utf8.RuneError && n <= 1 || r != '\t' && !unicode.IsPrint(r) && r != ' '; bad {
			for _, c := range []byte(line[i : i+n]) {
				const hex = "0123456789abcdef"
				b.WriteString(`\x`)
				b.WriteByte(hex[c>>4])
				b.WriteByte(hex[c&15])
			}
		} else {
			b.WriteString(line[i : i+n])
		}
		i += n
	}
	return b.String()
}

func isPrintable(s string) bool {
	for i := range len(s) {
		if c := s[i]; c >= utf8.RuneSelf || c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

// escapeLen is the length of the escape sequence that s begins with; 0 if there is none, or not all of it.
func escapeLen(s string) int {
	if len(s) < 2 || s[0] != 0x1b {
		return 0
	}
	switch s[1] {
	case '[': // CSI: parameters, then one final byte
		for i := 2; i < len(s); i++ {
			if s[i] >= 0x40 && s[i] <= 0x7e {
				return i + 1
			}
			if s[i] < 0x20 || s[i] > 0x3f {
				return 0
			}
		}
	case ']': // OSC: until BEL or ESC \
		for i := 2; i < len(s); i++ {
			if s[i] == 0x07 {
				return i + 1
			}
			if s[i] == 0x1b && i+1 < len(s) && s[i+1] == '\\' {
				return i + 2
			}
		}
	}
	return 0
}
