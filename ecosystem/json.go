package ecosystem

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// yamlEscapes rewrites the two escapes of JSON (RFC 8259, section 7) that
// yaml.v3 does not know, \/ and pairs of surrogates. Lines stay where they
// are; text that is not JSON is returned as it is.
func yamlEscapes(src []byte) []byte {
	lower := bytes.ToLower(src)
	if !bytes.Contains(src, []byte(`\/`)) && !bytes.Contains(lower, []byte(`\ud`)) || !json.Valid(src) {
		return src
	}
	out := make([]byte, 0, len(src))
	for len(src) > 0 {
		// In valid JSON a backslash is inside a string, and begins an escape.
		i := bytes.IndexByte(src, '\\')
		if i < 0 {
			break
		}
		out, src = append(out, src[:i]...), src[i:]
		high, low := surrogate(src), rune(0)
		if high > 0 {
			low = surrogate(src[len(`\uXXXX`):])
		}
		switch r := utf16.DecodeRune(high, low); {
		case src[1] == '/':
			out, src = append(out, '/'), src[2:]
		case r != utf8.RuneError:
			out, src = fmt.Appendf(out, `\U%08X`, r), src[2*len(`\uXXXX`):]
		default:
			out, src = append(out, src[:2]...), src[2:]
		}
	}
	return append(out, src...)
}

// surrogate reads \uXXXX at the start of text if it is half of a pair, else 0.
func surrogate(text []byte) rune {
	if len(text) < len(`\uXXXX`) || text[0] != '\\' || text[1] != 'u' {
		return 0
	}
	n, err := strconv.ParseUint(string(text[2:6]), 16, 16)
	if err != nil || !utf16.IsSurrogate(rune(n)) {
		return 0
	}
	return rune(n)
}
