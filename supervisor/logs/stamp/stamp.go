// Package stamp writes times as pm2's log_date_format says: in the tokens of Day.js, which are those of Moment
// that matter.
//
// Invariants:
//   - it is pure, so that the same format and time are the same bytes always;
//   - what it can't write is an error of Parse and never a letter in the middle of a time.
package stamp

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Default is the format that pm2's `time: true` stands for.
const Default = "YYYY-MM-DDTHH:mm:ss"

// MaxFormat is the longest format in bytes.
const MaxFormat = 200

// Tokens lists what Parse knows, for messages and documentation.
const Tokens = "YYYY YY MMMM MMM MM M DD D dddd ddd dd d HH H hh h A a mm m ss s SSS S ZZ Z X x [text]"

// Format is a parsed format. The zero Format writes nothing.
type Format struct{ parts []part }

// part is a token (its letter and how often it is written), or text as it is.
type part struct {
	letter byte
	count  int
	text   string
}

// Parse takes a format apart. Letters are tokens, but for a T between others; text goes in [brackets]. The error
// names what is no token.
func Parse(format string) (Format, error) {
	if len(format) > MaxFormat {
		return Format{}, fmt.Errorf("is longer than %d bytes", MaxFormat)
	}
	for i, r := range format {
		if unicode.IsControl(r) || r == utf8.RuneError {
			return Format{}, fmt.Errorf("has a character that has no place in a line at byte %d", i)
		}
	}
	var f Format
	for rest := format; rest != ""; {
		p, n, err := first(rest)
		if err != nil {
			return Format{}, err
		}
		f.parts, rest = append(f.parts, p), rest[n:]
	}
	return f, nil
}

// first is the first part of a format and its length there.
func first(format string) (part, int, error) {
	c := format[0]
	switch {
	case c == '[':
		text, _, closed := strings.Cut(format[1:], "]")
		if !closed {
			return part{}, 0, errors.New("has a [ without its ]")
		}
		return part{text: text}, len(text) + 2, nil
	case c == 'T':
		return part{text: "T"}, 1, nil
	case !isLetter(c):
		_, n := utf8.DecodeRuneInString(format)
		return part{text: format[:n]}, n, nil
	}
	n := 1
	for n < len(format) && format[n] == c {
		n++
	}
	if !known(c, n) {
		return part{}, 0, fmt.Errorf("has %q, which is no token: write %s", format[:n], Tokens)
	}
	return part{letter: c, count: n}, n, nil
}

func isLetter(c byte) bool { return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' }

// known says whether a letter written n times is a token.
func known(letter byte, n int) bool {
	switch letter {
	case 'Y':
		return n == 2 || n == 4
	case 'M', 'd':
		return n <= 4
	case 'D', 'H', 'h', 'm', 's', 'Z':
		return n <= 2
	case 'S':
		return n <= 9
	case 'A', 'a', 'X', 'x':
		return n == 1
	}
	return false
}

// Append appends t, in t's own zone, to b.
func (f Format) Append(b []byte, t time.Time) []byte {
	for _, p := range f.parts {
		if p.letter == 0 {
			b = append(b, p.text...)
		} else {
			b = p.append(b, t)
		}
	}
	return b
}

func (p part) append(b []byte, t time.Time) []byte {
	switch p.letter {
	case 'Y':
		if p.count == 2 {
			return number(b, t.Year()%100, 2)
		}
		return number(b, t.Year(), 4)
	case 'M':
		if p.count > 2 {
			return name(b, t.Month().String(), p.count == 3, 3)
		}
		return number(b, int(t.Month()), p.count)
	case 'D':
		return number(b, t.Day(), p.count)
	case 'd':
		if p.count == 1 {
			return number(b, int(t.Weekday()), 1)
		}
		return name(b, t.Weekday().String(), p.count < 4, p.count)
	case 'H':
		return number(b, t.Hour(), p.count)
	case 'h':
		return number(b, (t.Hour()+11)%12+1, p.count)
	case 'm':
		return number(b, t.Minute(), p.count)
	case 's':
		return number(b, t.Second(), p.count)
	case 'S':
		return append(b, fmt.Sprintf("%09d", t.Nanosecond())[:p.count]...)
	case 'A', 'a':
		return append(b, t.Format(map[byte]string{'A': "PM", 'a': "pm"}[p.letter])...)
	case 'X':
		return strconv.AppendInt(b, t.Unix(), 10)
	case 'x':
		return strconv.AppendInt(b, t.UnixMilli(), 10)
	}
	return t.AppendFormat(b, map[int]string{1: "-07:00", 2: "-0700"}[p.count]) // Z
}

// number appends n with at least width digits.
func number(b []byte, n, width int) []byte {
	digits := strconv.Itoa(n)
	for range width - len(digits) {
		b = append(b, '0')
	}
	return append(b, digits...)
}

// name appends a name, or its first letters.
func name(b []byte, full string, short bool, letters int) []byte {
	if short {
		full = full[:letters]
	}
	return append(b, full...)
}
