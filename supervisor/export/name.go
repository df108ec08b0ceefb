package export

import (
	"fmt"
	"strings"
)

// maxLabel is the longest name that both clusters take, in bytes (RFC 1123 label).
const maxLabel = 63

// label makes a text a label of RFC 1123: lower case letters, digits and - inside.
// What begins with a digit gets an x in front, since a Service (RFC 1035) wants a
// letter there.
func label(text string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(text) {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			b.WriteRune(r)
		} else {
			b.WriteByte('-')
		}
	}
	name := strings.Trim(b.String(), "-")
	if name == "" || name[0] <= '9' {
		name = "x" + name
	}
	return strings.TrimRight(name[:min(len(name), maxLabel)], "-")
}

// names gives every app a name of its own that is a label, and warns where it is not
// the one in the file.
func (r *report) names(apps []App) []string {
	taken := map[string]bool{}
	names := make([]string, len(apps))
	for i, a := range apps {
		name := label(a.Spec.Name)
		for n := 2; taken[name]; n++ {
			suffix := fmt.Sprintf("-%d", n)
			name = label(a.Spec.Name)
			name = name[:min(len(name), maxLabel-len(suffix))] + suffix
		}
		taken[name], names[i] = true, name
		if name != a.Spec.Name {
			r.app = i
			r.warn("name", "is %s there: a name has lower case letters, digits and - alone", name)
		}
	}
	return names
}

// base is the last element of a path.
func base(path string) string { return path[strings.LastIndexByte(path, '/')+1:] }
