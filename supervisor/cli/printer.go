package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"supervisor/supervisor/state"
)

// printer writes text or JSON. On a terminal it may colour, and what workers
// wrote is made harmless.
type printer struct {
	out, err io.Writer
	terminal bool
	colour   bool
	columns  int
	rows     int
}

func newPrinter(e Env) *printer {
	p := &printer{out: e.Stdout, err: e.Stderr}
	p.columns, p.rows, p.terminal = e.Terminal()
	// https://no-color.org: any value that isn't empty
	p.colour = p.terminal && e.Getenv("NO_COLOR") == "" && e.Getenv("TERM") != "dumb"
	return p
}

// linef writes one line of our own to stdout.
func (p *printer) linef(format string, args ...any) {
	fmt.Fprintln(p.out, p.safe(fmt.Sprintf(format, args...)))
}

// json writes a value to stdout, on a terminal with indentation.
func (p *printer) json(v any) {
	e := json.NewEncoder(p.out)
	e.SetEscapeHTML(false)
	if p.terminal {
		e.SetIndent("", "  ")
	}
	if err := e.Encode(v); err != nil {
		fmt.Fprintf(p.err, "cannot write JSON: %v\n", err)
	}
}

// note is a warning for a person, beside what was asked for.
func (p *printer) note(text string) {
	fmt.Fprintln(p.err, p.safe(text))
}

// failure tells an error: what can't be done and why, then its details.
func (p *printer) failure(e *state.Error) {
	fmt.Fprintln(p.err, p.safe(e.Message))
	for _, d := range e.Details {
		for _, line := range strings.Split(strings.TrimRight(d, "\n"), "\n") {
			fmt.Fprintln(p.err, "  "+p.safe(line))
		}
	}
}

// Colours, as SGR parameters (ECMA-48 8.3.117).
const (
	red    = "31"
	green  = "32"
	yellow = "33"
	faint  = "2"
)

func (p *printer) paint(sgr, text string) string {
	if !p.colour || sgr == "" || text == "" {
		return text
	}
	return "\x1b[" + sgr + "m" + text + "\x1b[0m"
}

// stateColour is the colour of a worker's state or an app's status.
func stateColour(word string) string {
	switch word {
	case "online":
		return green
	case "errored", "degraded":
		return red
	case "launching", "stopping", "reloading", "waiting restart":
		return yellow
	}
	return faint
}

// safe makes text harmless for a terminal; elsewhere it is left as it is.
func (p *printer) safe(text string) string {
	if !p.terminal {
		return text
	}
	return sanitise(text, p.colour)
}

// sanitise spells out control characters (C0 but tab, DEL, C1) and bytes that
// are no UTF-8, so that a worker's line can't move the cursor, set the title or
// answer for the user. With colour, SGR sequences (ESC [ digits m) are kept and
// undone at the end.
func sanitise(text string, colour bool) string {
	if isPlain(text) {
		return text
	}
	var b strings.Builder
	painted := false
	for i := 0; i < len(text); {
		if n := sgrLength(text[i:]); n > 0 {
			if colour {
				b.WriteString(text[i : i+n])
				painted = true
			}
			i += n
			continue
		}
		r, size := utf8.DecodeRuneInString(text[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, text[i])
		case r == '\t' || r == '\r' && i+size == len(text):
			if r == '\t' {
				b.WriteByte('\t')
			}
		case r < 0x20 || r == 0x7f:
			fmt.Fprintf(&b, `\x%02x`, r)
		case r >= 0x80 && r < 0xa0, r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069:
			fmt.Fprintf(&b, `\u%04x`, r) // C1, and what turns the direction of text
		default:
			b.WriteString(text[i : i+size])
		}
		i += size
	}
	if painted {
		b.WriteString("\x1b[0m")
	}
	return b.String()
}

// isPlain is the fast path: printable ASCII and tabs.
func isPlain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < 0x20 && c != '\t' || c >= 0x7f {
			return false
		}
	}
	return true
}

// sgrLength is the length of the SGR sequence that text begins with, else 0.
func sgrLength(text string) int {
	if len(text) < 3 || text[0] != 0x1b || text[1] != '[' {
		return 0
	}
	for i := 2; i < len(text) && i < 40; i++ {
		switch c := text[i]; {
		case c == 'm':
			return i + 1
		case c != ';' && c != ':' && (c < '0' || c > '9'):
			return 0
		}
	}
	return 0
}
