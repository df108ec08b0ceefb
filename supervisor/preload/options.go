package preload

import (
	"path/filepath"
	"strings"
)

// option is one word of NODE_OPTIONS: its text, and where it was written.
type option struct {
	text     string
	from, to int
}

// options splits NODE_OPTIONS as node does (ParseNodeOptionsEnvVar in src/node.cc):
// only spaces separate, double quotes hold words together, and a backslash escapes
// only within them. False: node refuses to start with it.
func options(s string) (words []option, ok bool) {
	var text strings.Builder
	quoted, inWord := false, false
	from := 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == ' ' && !quoted {
			if inWord {
				words = append(words, option{text.String(), from, i})
				text.Reset()
				inWord = false
			}
			continue
		}
		if !inWord {
			from, inWord = i, true
		}
		switch {
		case c == '"':
			quoted = !quoted
			continue
		case c == '\\' && quoted:
			if i++; i == len(s) {
				return nil, false
			}
			c = s[i]
		}
		text.WriteByte(c)
	}
	if inWord {
		words = append(words, option{text.String(), from, len(s)})
	}
	return words, !quoted
}

// quote writes a path as one word of NODE_OPTIONS.
func quote(path string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(path) + `"`
}

// Strip returns NODE_OPTIONS without what Env has put into it, in this release or
// another, and otherwise as it was. It is for workers of which node_drain is false.
func Strip(nodeOptions string) string {
	words, ok := options(nodeOptions)
	if !ok {
		return nodeOptions
	}
	kept := nodeOptions
	for i := len(words) - 1; i > 0; i-- {
		if words[i-1].text != "--require" || !isName(filepath.Base(words[i].text)) {
			continue
		}
		before, after := kept[:words[i-1].from], kept[words[i].to:]
		if before == "" {
			kept = strings.TrimPrefix(after, " ")
		} else {
			kept = strings.TrimSuffix(before, " ") + after
		}
		i--
	}
	return kept
}
