package ecosystem

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// lineReader hands out a text line by line and counts the lines. A YAML parser
// reads no further than it has to, so at an error the count is the line it is
// at, which is where people look; yaml.v3's own number is often that of the
// enclosing value's first line, or missing.
type lineReader struct {
	text  []byte
	lines int
}

func (r *lineReader) Read(p []byte) (int, error) {
	if len(r.text) == 0 {
		return 0, io.EOF
	}
	n := bytes.IndexByte(r.text, '\n') + 1
	if n == 0 {
		n = len(r.text)
	}
	n = copy(p, r.text[:n])
	if r.text[n-1] == '\n' || n == len(r.text) {
		r.lines++
	}
	r.text = r.text[n:]
	return n, nil
}

// decode returns the one YAML document of src, nil if there is none, or the
// complaint about its syntax.
func decode(src []byte) (*yaml.Node, *Complaint) {
	if len(src) > MaxFile {
		return nil, &Complaint{Line: 1, Col: 1, Message: fmt.Sprintf("the file has %d bytes, the limit is %d", len(src), MaxFile)}
	}
	src = yamlEscapes(src)
	reader := &lineReader{text: src}
	decoder := yaml.NewDecoder(reader)
	first, err := next(decoder)
	if err == io.EOF {
		return nil, nil
	}
	if err != nil {
		return nil, syntaxComplaint(src, reader.lines, err)
	}
	second, err := next(decoder)
	switch {
	case err == io.EOF:
		return first, nil
	case err != nil:
		return nil, syntaxComplaint(src, reader.lines, err)
	}
	return nil, &Complaint{Line: second.Line, Col: second.Column, Message: "a second YAML document begins here: a file has one (remove the ---)"}
}

// next decodes one document; a panic of the library over strange input is an
// error like any other.
func next(decoder *yaml.Decoder) (doc *yaml.Node, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("cannot parse: %v", r)
		}
	}()
	doc = new(yaml.Node)
	return doc, decoder.Decode(doc)
}

// syntaxComplaint places an error of yaml.v3 that came after it had read so
// many lines.
func syntaxComplaint(src []byte, lines int, err error) *Complaint {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	line := max(lines, 1)
	if rest, ok := strings.CutPrefix(text, "line "); ok {
		number, message, _ := strings.Cut(rest, ": ")
		if n, err := strconv.Atoi(number); err == nil {
			text = message
			// These two are about where something began, not about where the parser is.
			if strings.Contains(text, "end of stream") || strings.Contains(text, "could not find expected ':'") {
				line = n
			}
		}
	}
	var typed *yaml.TypeError
	if errors.As(err, &typed) {
		text = strings.Join(typed.Errors, "; ")
	}
	content := lineOf(src, line)
	indent := len(content) - len(strings.TrimLeft(content, " \t"))
	switch {
	case strings.Contains(text, "tab character"), strings.Contains(text, "cannot start any token") && strings.Contains(content[:indent], "\t"):
		text = "a tab: YAML is indented with spaces"
	case strings.Contains(text, "cannot start any token"):
		text += `: a text that begins with @ % or a back-quote needs quotes`
	case strings.Contains(text, "mapping values are not allowed"):
		text = `a ": " inside a text, or a wrong indent: put the text in quotes, or line it up with the keys above`
	}
	return &Complaint{Line: line, Col: utf8.RuneCountInString(content[:indent]) + 1, Message: "broken YAML: " + text}
}

// lineOf returns a line of src, counted from 1, without its end.
func lineOf(src []byte, line int) string {
	for range line - 1 {
		_, rest, ok := bytes.Cut(src, []byte("\n"))
		if !ok {
			return ""
		}
		src = rest
	}
	text, _, _ := bytes.Cut(src, []byte("\n"))
	return strings.TrimSuffix(string(text), "\r")
}
