// Package systemd is what the supervisor is to systemd: the text of its unit, the words
// that it says upward while it runs (sd_notify(3)), and what is done when a stop took too
// long.
//
// Invariants:
//   - a unit's text is a function of its Options alone, and every byte of a path or a
//     value arrives in the service as it was given, or Unit refuses it;
//   - no key is newer than systemd 245, no shell is run, every path is absolute;
//   - nothing in the unit changes what a worker may do;
//   - only the main process speaks (NotifyAccess=main), and nothing is said that was not
//     so at some instant: READY once all has been tried, WATCHDOG only by a loop that
//     answers;
//   - while nothing happens nothing is said, but for the watchdog.
package systemd

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"text/template"
	"time"
	"unicode/utf8"
)

// Options is what a unit is made of. Paths are absolute.
type Options struct {
	File    string // the ecosystem
	EnvName string // start --env; "": none
	Binary  string // the supervisor's program
	// Installed says that Binary is a copy for this unit alone, which an upgrade of the
	// service replaces.
	Installed bool
	User      bool // for a user's manager (systemctl --user), which can do less

	Env []string // NAME=value of whoever asked, in order

	Workers  int           // that the file asks for
	StopTime time.Duration // that the workers may take to end (kill_timeout, along depends_on)
}

// Limits of a unit.
const (
	perWorker = 10   // descriptors of a worker in the store, at most
	growth    = 4    // times the file's workers: old beside new in a reload, and scale
	minStore  = 8192 // descriptors in the store, at least

	// stopMargin is what the daemon may take to end beside its workers: answers to
	// those who wait, logs that are written out.
	stopMargin = 15 * time.Second
)

// ExitConfig is the exit code of a service whose file can't be used, and of nothing else: its
// unit is not started again for that (EX_CONFIG of sysexits.h, which systemd shows as CONFIG).
// No worker lives by then. The command line's own code for it is a Go program's for a panic
// too, after which workers wait for the next supervisor.
const ExitConfig = 78

// Marker is in the first line of each unit that Unit has made, before the path of its
// ecosystem.
const Marker = "# Made by `supervisor startup` for "

//go:embed unit.tmpl
var text string

// Unit is the text of a service. The error names what can't be written in a unit.
func Unit(o Options) (string, error) {
	program, err := program(o.Binary)
	if err != nil {
		return "", err
	}
	start := []string{"start", "--no-daemon"}
	if o.EnvName != "" {
		start = append(start, "--env="+o.EnvName)
	}
	command, err := words(append(start, o.File)...)
	if err != nil {
		return "", err
	}
	view := struct {
		Options
		Marker, Description, Program, Start string

		Environment []string
		Store       int
		Stop        int64 // seconds
		Config      int   // the exit code that ends it
	}{
		Options: o, Marker: Marker + printable(o.File), Program: program, Start: command,
		Description: strings.ReplaceAll(printable(o.File), "%", "%%"),
		Store:       storeMax(o.Workers), Stop: int64((o.StopTime + stopMargin + time.Second - 1) / time.Second),
		Config: ExitConfig,
	}
	env := append([]string{}, o.Env...)
	if o.Installed {
		env = append(env, InstalledVariable+"="+o.Binary)
	}
	for _, e := range env {
		line, err := assignment(e)
		if err != nil {
			return "", err
		}
		view.Environment = append(view.Environment, line)
	}
	parsed, err := template.New("unit").Parse(text)
	if err != nil {
		return "", err
	}
	var b bytes.Buffer
	err = parsed.Execute(&b, view)
	return b.String(), err
}

// InstalledVariable names, in the service's environment, the program's copy that belongs to
// the unit: an upgrade replaces it, or a crash would bring the former program back.
const InstalledVariable = "SUPERVISOR_INSTALLED"

// storeMax is FileDescriptorStoreMax: what exceeds it systemd drops in silence.
func storeMax(workers int) int { return max(minStore, growth*perWorker*workers) }

// errText is why something can't be written in a unit.
var errText = errors.New("a unit takes UTF-8 without NUL bytes only")

// quoted writes s as one word of a unit's line (systemd.syntax(7)): in quotes, with C's
// escapes, and a doubled % since specifiers are expanded.
func quoted(s string) (string, error) {
	if !utf8.ValidString(s) || strings.IndexByte(s, 0) >= 0 {
		return "", fmt.Errorf("cannot write %q into a unit: %w", s, errText)
	}
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '%':
			b.WriteString("%%")
		case c == '"', c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c == '\n':
			b.WriteString(`\n`)
		case c == '\t':
			b.WriteString(`\t`)
		case c < ' ' || c == 0x7f:
			fmt.Fprintf(&b, `\x%02x`, c)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String(), nil
}

// plain reports whether s means itself without quotes.
func plain(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune("/._-=,+:@", rune(c)) {
			return false
		}
	}
	return s != ""
}

// assignment is a variable for Environment=. A $ means nothing there.
func assignment(e string) (string, error) {
	if name, _, ok := strings.Cut(e, "="); !ok || name == "" {
		return "", fmt.Errorf("cannot write %q into a unit: no NAME=value", e)
	}
	if plain(e) {
		return e, nil
	}
	return quoted(e)
}

// words are the arguments of a command line, where $ begins a variable.
func words(args ...string) (string, error) {
	all := make([]string, len(args))
	for i, arg := range args {
		all[i] = arg
		if plain(arg) {
			continue
		}
		word, err := quoted(strings.ReplaceAll(arg, "$", "$$"))
		if err != nil {
			return "", err
		}
		all[i] = word
	}
	return strings.Join(all, " "), nil
}

// errUnsafe is why a path can't be that of a unit's program (string_is_safe of systemd).
var errUnsafe = errors.New("a unit's program has neither quotes nor backslashes nor control characters in its path")

// program is the first word of a command line. It is no place for variables, so a $ is
// one; a prefix of - @ : + ! would have a meaning, and an absolute path has none.
func program(path string) (string, error) {
	if !filepath.IsAbs(path) {
		return "", fmt.Errorf("cannot write %q into a unit: it is no absolute path", path)
	}
	if strings.ContainsFunc(path, func(r rune) bool { return r < ' ' || r == 0x7f || strings.ContainsRune(`"'\`, r) }) {
		return "", fmt.Errorf("cannot write %q into a unit: %w", path, errUnsafe)
	}
	if plain(path) {
		return path, nil
	}
	return quoted(path)
}

// printable is a path for a comment, which has no escapes.
func printable(path string) string {
	if plain(path) {
		return path
	}
	return fmt.Sprintf("%q", path)
}

// MadeFor reports whether a unit's text was made by Unit for an ecosystem; "" is for any.
func MadeFor(unit, file string) bool {
	first, _, _ := strings.Cut(unit, "\n")
	made, ok := strings.CutPrefix(first, Marker)
	return ok && (file == "" || made == printable(file))
}
