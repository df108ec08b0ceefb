package ecosystem

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/shlex"
)

// maxShown is how many characters of a text a message quotes.
const maxShown = 60

// short cuts a long text for a message.
func short(text string) string {
	if utf8.RuneCountInString(text) <= maxShown {
		return text
	}
	return string([]rune(text)[:maxShown]) + "..."
}

func quote(text string) string { return strconv.Quote(short(text)) }

// show describes what was found, for a message.
func (n *node) show() string {
	switch {
	case n.kind == list:
		return "a list"
	case n.kind == mapping:
		return "a map"
	case n.null():
		return "nothing"
	case n.tag == "!!str":
		return quote(n.text)
	}
	return short(n.text)
}

// value is what stands behind one key, on its way into a Spec. Its readers
// complain about what they can't take and then leave their target as it was.
type value struct {
	a    *app
	n    *node
	path string // from the top of the file
	def  string // the key's default, for messages
}

func (v value) fail(format string, args ...any) {
	v.a.complain(v.n, v.path, fmt.Sprintf(format, args...))
}

// item returns the i-th value of a list.
func (v value) item(i int) value {
	return value{v.a, v.n.items[i], fmt.Sprintf("%s[%d]", v.path, i), ""}
}

// expects complains that something else was found.
func (v value) expects(what string) {
	if v.n.null() {
		if v.def == "" {
			v.fail("has no value: write %s, or remove the key", what)
			return
		}
		v.fail("has no value: write %s, or remove the key (default: %s)", what, v.def)
		return
	}
	v.fail("expected %s, found %s", what, v.n.show())
}

func (v value) bool(into *bool) {
	if v.n.kind != scalar || v.n.tag != "!!bool" {
		if v.n.tag == "!!str" && v.n.kind == scalar && slices.Contains([]string{"true", "false"}, strings.ToLower(v.n.text)) {
			v.fail("expected true or false, found the text %s: remove the quotes", v.n.show())
			return
		}
		v.expects("true or false")
		return
	}
	*into = strings.EqualFold(v.n.text, "true")
}

// text reads a string; a number or a date is taken as it is written.
func (v value) text(into *string) bool {
	if v.n.kind != scalar || v.n.null() || v.n.tag == "!!bool" {
		v.expects("a text")
		return false
	}
	if v.n.text == "" {
		v.fail("is an empty text")
		return false
	}
	*into = v.n.text
	return true
}

// parseInt reads YAML's ways to write a number: 10, 0x1f, 0o17, 1_000.
func (n *node) parseInt() (int64, bool) {
	if !n.integer() {
		return 0, false
	}
	i, err := strconv.ParseInt(strings.ReplaceAll(n.text, "_", ""), 0, 64)
	return i, err == nil
}

func (v value) int(into *int, lowest, highest int) {
	i, ok := v.n.parseInt()
	if !ok {
		v.expects(fmt.Sprintf("a number from %d to %d", lowest, highest))
		return
	}
	if i < int64(lowest) || i > int64(highest) {
		v.fail("%s is out of range: a number from %d to %d", v.n.show(), lowest, highest)
		return
	}
	*into = int(i)
}

// duration reads a duration of at least lowest and at most highest.
func (v value) duration(into *time.Duration, lowest, highest time.Duration) {
	if v.n.kind != scalar || !v.n.integer() && v.n.tag != "!!str" {
		v.expects("milliseconds (8000) or a duration with a unit (8s, 1m)")
		return
	}
	text := v.n.text
	if i, ok := v.n.parseInt(); ok {
		text = strconv.FormatInt(i, 10)
	}
	d, err := parseDuration(text)
	switch {
	case err != nil:
		v.fail("%v", err)
	case d < lowest:
		v.fail("%s is too short: at least %s", v.n.show(), showDuration(lowest))
	case d > highest:
		v.fail("%s is too long: at most %s", v.n.show(), showDuration(highest))
	default:
		*into = d
	}
}

// size reads a size in bytes.
func (v value) size(into *int64) bool {
	if v.n.kind != scalar || !v.n.integer() && v.n.tag != "!!str" {
		v.expects("a size (300M, 1G, 512K or bytes)")
		return false
	}
	text := v.n.text
	if i, ok := v.n.parseInt(); ok {
		text = strconv.FormatInt(i, 10)
	}
	n, err := parseSize(text)
	if err != nil {
		v.fail("%v", err)
		return false
	}
	*into = n
	return true
}

// word reads one of a few words, and returns "" after a complaint.
func (v value) word(words ...string) string {
	if v.n.kind == scalar && !v.n.null() && slices.Contains(words, v.n.text) {
		return v.n.text
	}
	v.expects(or(words))
	return ""
}

// or joins words as a sentence does: a, b or c.
func or(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
}

// words reads a list of texts, or one text split like a shell would.
func (v value) words(into *[]string) {
	switch {
	case v.n.null():
		*into = nil
	case v.n.kind == list:
		words := make([]string, 0, len(v.n.items))
		for i, n := range v.n.items {
			if n.kind != scalar || n.null() {
				v.item(i).expects("a text")
				continue
			}
			words = append(words, n.text)
		}
		*into = words
	case v.n.kind == scalar:
		words, err := shlex.Split(v.n.text)
		if err != nil {
			v.fail("cannot split %s like a shell would: a quote or a backslash is not closed", v.n.show())
			return
		}
		*into = words
	default:
		v.expects("a list of texts, or one text")
	}
	if len(*into) == 0 {
		*into = nil
	}
}

// fields walks the keys of a mapping, each of which must be among known, and
// reports whether v is one (nothing written counts as an empty one).
func (v value) fields(known []string, read func(key string, v value)) bool {
	if v.n.null() {
		return true
	}
	if v.n.kind != mapping {
		v.expects("a map of " + or(known))
		return false
	}
	for _, f := range v.n.fields {
		path := join(v.path, f.key.text)
		if slices.Contains(known, f.key.text) {
			read(f.key.text, value{v.a, f.value, path, ""})
			continue
		}
		v.a.complain(f.key, path, unknown(f.key.text, known))
	}
	return true
}
