package ecosystem

import (
	"fmt"
	"strings"

	"gopkg.in/yaml.v3"
)

// Limits of one file. They are far above what a person writes, and keep a
// file with nested aliases ("alias bomb") from costing memory or time.
const (
	MaxFile  = 1 << 20 // bytes of an ecosystem file or env_file
	MaxNodes = 200_000 // values after aliases and merge keys are expanded
	MaxDepth = 32      // values inside values
)

type kind int

const (
	scalar kind = iota
	list
	mapping
)

// node is a YAML value with its aliases and merge keys expanded. Its position
// is where its text stands, which for an alias is at the anchor.
type node struct {
	kind   kind
	tag    string // of a scalar: !!str, !!int, !!float, !!bool, !!null or !!timestamp
	text   string // a scalar as written, without its quotes
	line   int
	col    int
	items  []*node
	fields []field
	broken bool // complained about already: what it would draw next is noise
}

// field is one key of a mapping with its value.
type field struct {
	key   *node
	value *node
}

// null tells whether nothing was written, or null or ~.
func (n *node) null() bool { return n.kind == scalar && n.tag == "!!null" }

// integer tells whether n is a number without a fraction, not in quotes.
func (n *node) integer() bool { return n.kind == scalar && n.tag == "!!int" }

// get returns the value of a key, or nil.
func (n *node) get(key string) *node {
	for _, f := range n.fields {
		if f.key.text == key {
			return f.value
		}
	}
	return nil
}

// place is where in the file a builder is, for the path in complaints.
type place struct {
	up    *place
	key   string
	index int
}

func (p *place) String() string {
	if p == nil {
		return ""
	}
	if p.key == "" {
		return fmt.Sprintf("%s[%d]", p.up, p.index)
	}
	return join(p.up.String(), p.key)
}

// join appends a key to a path.
func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// builder turns yaml's nodes into ours. It complains about what is wrong
// whatever the keys mean: keys given twice, tags, limits.
type builder struct {
	complain func(line, col int, path, message string)
	nodes    int
	stopped  bool // a limit was passed: nothing more is built
}

func (b *builder) fail(y *yaml.Node, at *place, format string, args ...any) {
	b.complain(y.Line, y.Column, at.String(), fmt.Sprintf(format, args...))
}

// spend counts one value, and reports whether the limits allow it.
func (b *builder) spend(y *yaml.Node, at *place, depth int) bool {
	if b.stopped {
		return false
	}
	b.nodes++
	switch {
	case depth > MaxDepth:
		b.stopped = true
		b.fail(y, nil, "values are nested deeper than %d", MaxDepth)
	case b.nodes > MaxNodes:
		b.stopped = true
		b.fail(y, nil, "the file has more than %d values after its aliases are expanded", MaxNodes)
	}
	return !b.stopped
}

// build returns y as a node; a value that can't be used becomes null, after a
// complaint.
func (b *builder) build(y *yaml.Node, at *place, depth int) *node {
	for y.Kind == yaml.AliasNode { // an alias of an alias can't be written; the parser resolves it
		y = y.Alias
	}
	n := &node{line: y.Line, col: y.Column, tag: "!!null"}
	if !b.spend(y, at, depth) {
		return n
	}
	switch y.Kind {
	case yaml.ScalarNode:
		b.scalar(n, y, at)
	case yaml.SequenceNode:
		if y.Tag != "!!seq" {
			b.fail(y, at, "the tag %s is not known here", y.Tag)
		}
		n.kind = list
		for i, item := range y.Content {
			n.items = append(n.items, b.build(item, &place{up: at, index: i}, depth+1))
		}
	case yaml.MappingNode:
		if y.Tag != "!!map" {
			b.fail(y, at, "the tag %s is not known here", y.Tag)
		}
		n.kind = mapping
		b.mapping(n, y, at, depth)
	}
	return n
}

func (b *builder) scalar(n *node, y *yaml.Node, at *place) {
	switch y.Tag {
	case "!!str", "!!int", "!!float", "!!bool", "!!null", "!!timestamp":
	case "!!merge": // << as a value is a word like any other
		y.Tag = "!!str"
	default:
		b.fail(y, at, "the tag %s is not known here", y.Tag)
		n.broken = true
		return
	}
	if strings.ContainsRune(y.Value, 0) {
		b.fail(y, at, "the text has a NUL in it, which no program can be given")
		n.broken = true
		return
	}
	n.tag, n.text = y.Tag, y.Value
}

// mapping fills n with y's own keys and then with those it merges (`<<`,
// yaml.org/type/merge.html), where a key that is there already wins.
func (b *builder) mapping(n *node, y *yaml.Node, at *place, depth int) {
	seen := make(map[string]int, len(y.Content)/2)
	var merged *yaml.Node
	for i := 0; i+1 < len(y.Content); i += 2 {
		key, value := y.Content[i], y.Content[i+1]
		if key.Kind == yaml.AliasNode {
			key = key.Alias
		}
		if key.Kind != yaml.ScalarNode {
			b.fail(key, at, "a key must be a word, not a list or a map: a text that has { } in it needs quotes")
			n.broken = true
			continue
		}
		if first, ok := seen[key.Value]; ok {
			b.fail(key, &place{up: at, key: key.Value}, "the key is given twice, first at line %d", first)
			continue
		}
		seen[key.Value] = key.Line
		if key.Tag == "!!merge" {
			merged = value
			continue
		}
		here := &place{up: at, key: key.Value}
		k := &node{line: key.Line, col: key.Column, tag: "!!str", text: key.Value}
		if strings.ContainsRune(key.Value, 0) || key.Value == "" {
			b.fail(key, at, "an empty key")
			continue
		}
		n.fields = append(n.fields, field{k, b.build(value, here, depth+1)})
	}
	if merged != nil {
		b.merge(n, merged, at, depth, seen)
	}
}

// merge adds the keys of one mapping, or of a list of them.
func (b *builder) merge(n *node, y *yaml.Node, at *place, depth int, seen map[string]int) {
	from := b.build(y, at, depth+1)
	if b.stopped {
		return
	}
	sources := []*node{from}
	if from.kind == list {
		sources = from.items
	}
	for _, source := range sources {
		if source.kind != mapping {
			b.fail(y, at, "<< merges a map (*anchor) or a list of maps, not %s", source.show())
			return
		}
		for _, f := range source.fields {
			if _, ok := seen[f.key.text]; !ok {
				seen[f.key.text] = f.key.line
				n.fields = append(n.fields, f)
			}
		}
	}
}
