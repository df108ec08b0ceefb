package logs

import (
	"bytes"
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"

	"supervisor/supervisor/logs/stamp"
)

// Format is how the lines of a stream are written to its file; the zero Format is as the worker wrote them. Without
// a file lines are shown as they are written, whatever their format.
type Format struct {
	// DateFormat is pm2's log_date_format, in the tokens of package stamp: the time, ": " and the line. In JSON it is
	// the form of the timestamp. "" is no time; in JSON, UTC in ISO 8601 with milliseconds.
	DateFormat string
	// JSON is pm2's log_type: json: each line is an object {message, timestamp, type, process_id, app_name}, where
	// message has no newline and process_id is the slot. Bytes that are not UTF-8 become U+FFFD.
	JSON bool
}

// isoLayout is JavaScript's Date.toISOString.
const isoLayout = "2006-01-02T15:04:05.000Z"

// formatter writes the lines of one stream. The same bytes and time give the same output always: what a crash cut
// short is written again by another process.
type formatter struct {
	date   stamp.Format
	dated  bool
	json   bool
	suffix []byte // of a JSON line
}

func newFormatter(f Format, w Worker, kind Stream) (*formatter, error) {
	date, err := stamp.Parse(f.DateFormat)
	if err != nil {
		return nil, fmt.Errorf("date format %q %w", f.DateFormat, err)
	}
	r := &formatter{date: date, dated: f.DateFormat != "", json: f.JSON}
	if f.JSON {
		r.suffix = fmt.Appendf(nil, `","type":"%s","process_id":%d,"app_name":"`, kind, w.Slot)
		r.suffix = append(appendJSON(r.suffix, []byte(w.App)), "\"}\n"...)
	}
	return r, nil
}

// lines appends to out as many lines of raw as fit into budget bytes, but at least one, and says how many bytes of
// raw these are. goesOn says that raw begins in the middle of a line whose beginning is written.
func (r *formatter) lines(out, raw []byte, at time.Time, goesOn bool, budget int) ([]byte, int) {
	when := r.time(at)
	n := 0
	for n < len(raw) {
		line := raw[n:]
		if i := bytes.IndexByte(line, '\n'); i >= 0 {
			line = line[:i+1]
		}
		mark := len(out)
		if r.json {
			out = r.object(out, line, when)
		} else {
			if r.dated && !(goesOn && n == 0) {
				out = append(append(out, when...), ": "...)
			}
			out = append(out, line...)
		}
		if n > 0 && len(out) > budget {
			return out[:mark], n
		}
		n += len(line)
	}
	return out, n
}

func (r *formatter) time(at time.Time) []byte {
	switch {
	case r.dated:
		return r.date.Append(nil, at)
	case r.json:
		return at.UTC().AppendFormat(nil, isoLayout)
	}
	return nil
}

func (r *formatter) object(out, line, when []byte) []byte {
	out = append(out, `{"message":"`...)
	out = appendJSON(out, bytes.TrimSuffix(line, []byte{'\n'}))
	out = append(out, `","timestamp":"`...)
	out = appendJSON(out, when)
	return append(out, r.suffix...)
}

// appendJSON appends text as what stands between the quotes of a JSON string.
func appendJSON(out, text []byte) []byte {
	for len(text) > 0 {
		n := 0
		for n < len(text) && text[n] >= ' ' && text[n] < utf8.RuneSelf && text[n] != '"' && text[n] != '\\' {
			n++
		}
		out = append(out, text[:n]...)
		text = text[n:]
		if len(text) == 0 {
			break
		}
		c := text[0]
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRune(text) // RuneError is U+FFFD itself
			out = utf8.AppendRune(out, r)
			text = text[size:]
			continue
		}
		switch c {
		case '"', '\\':
			out = append(out, '\\', c)
		case '\t':
			out = append(out, `\t`...)
		case '\r':
			out = append(out, `\r`...)
		case '\n':
			out = append(out, `\n`...)
		default:
			out = append(out, `\u00`...)
			if c < 0x10 {
				out = append(out, '0')
			}
			out = strconv.AppendUint(out, uint64(c), 16)
		}
		text = text[1:]
	}
	return out
}

// wholeRunes is b without a character whose end is not there yet.
func wholeRunes(b []byte) []byte {
	for i := 1; i < utf8.UTFMax && i < len(b); i++ {
		if utf8.RuneStart(b[len(b)-i]) {
			if !utf8.FullRune(b[len(b)-i:]) {
				return b[:len(b)-i]
			}
			break
		}
	}
	return b
}
