package export

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// block is one block of HCL's native syntax: attributes and inner blocks in their order
// (github.com/hashicorp/hcl/blob/main/hclsyntax/spec.md).
type block struct {
	kind  string
	label string // "" for none
	items []item
}

// item is an attribute, or a block.
type item struct {
	name  string
	value string // as it is written
	inner *block
}

// attribute adds NAME = VALUE; an empty value adds nothing.
func (b *block) attribute(name, value string) {
	if value != "" {
		b.items = append(b.items, item{name: name, value: value})
	}
}

func (b *block) text(name, value string) {
	if value != "" {
		b.attribute(name, quoted(value))
	}
}

func (b *block) number(name string, n int) { b.attribute(name, strconv.Itoa(n)) }

func (b *block) flag(name string, on bool) { b.attribute(name, strconv.FormatBool(on)) }

// duration adds one of Go's notation, which Nomad reads.
func (b *block) duration(name string, d time.Duration) { b.text(name, d.String()) }

func (b *block) list(name string, texts []string) {
	if len(texts) == 0 {
		return
	}
	words := make([]string, len(texts))
	for i, t := range texts {
		words[i] = quoted(t)
	}
	b.attribute(name, "["+strings.Join(words, ", ")+"]")
}

// texts adds a map whose values are written already, by an attribute: the names of a
// block's attributes would have to be identifiers.
func (b *block) texts(name string, values map[string]string) {
	if len(values) == 0 {
		return
	}
	width := 0
	for key := range values {
		width = max(width, len(quoted(key)))
	}
	var text strings.Builder
	text.WriteString("{\n")
	for _, key := range slices.Sorted(maps.Keys(values)) {
		fmt.Fprintf(&text, "  %-*s = %s\n", width, quoted(key), values[key])
	}
	b.attribute(name, text.String()+"}")
}

// block adds an inner block, which is returned to be filled.
func (b *block) block(kind, label string) *block {
	inner := &block{kind: kind, label: label}
	b.items = append(b.items, item{inner: inner})
	return inner
}

// write writes a block as `nomad fmt` would: an indentation of two spaces, the = of
// neighbours in one column, an empty line around inner blocks.
func (b *block) write(out *strings.Builder, indent string) {
	out.WriteString(indent + b.kind)
	if b.label != "" {
		out.WriteString(" " + quoted(b.label))
	}
	if len(b.items) == 0 {
		out.WriteString(" {}\n")
		return
	}
	out.WriteString(" {\n")
	deeper := indent + "  "
	for i, it := range b.items {
		if i > 0 && (it.inner != nil || b.items[i-1].inner != nil) {
			out.WriteByte('\n')
		}
		if it.inner != nil {
			it.inner.write(out, deeper)
			continue
		}
		value := strings.ReplaceAll(it.value, "\n", "\n"+deeper)
		fmt.Fprintf(out, "%s%-*s = %s\n", deeper, b.width(i), it.name, value)
	}
	out.WriteString(indent + "}\n")
}

// width is that of the longest name among an attribute's neighbours of one line; one
// of several lines stands for itself.
func (b *block) width(at int) int {
	beside := func(i int) bool {
		return b.items[i].inner == nil && !strings.Contains(b.items[i].value, "\n")
	}
	width := len(b.items[at].name)
	if !beside(at) {
		return width
	}
	for i := at; i >= 0 && beside(i); i-- {
		width = max(width, len(b.items[i].name))
	}
	for i := at; i < len(b.items) && beside(i); i++ {
		width = max(width, len(b.items[i].name))
	}
	return width
}

// quoted writes a text that HCL reads as it is: no interpolation (${), no directive
// (%{), no line break. Bytes that are no UTF-8 become U+FFFD, as they would in JSON.
func quoted(text string) string {
	var b strings.Builder
	b.WriteByte('"')
	rest := []rune(text)
	for i, r := range rest {
		switch {
		case r == '"' || r == '\\':
			b.WriteRune('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case (r == '$' || r == '%') && i+1 < len(rest) && rest[i+1] == '{':
			b.WriteRune(r)
			b.WriteRune(r)
		case r < 0x20 || r >= 0x7f && r < 0xa0 || r == 0xfeff || r == 0x2028 || r == 0x2029:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// runtime refers to a variable that Nomad's client fills in.
func runtime(name string) string { return `"${` + name + `}"` }
