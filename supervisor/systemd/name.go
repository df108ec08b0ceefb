package systemd

import (
	"path/filepath"
	"strings"
)

// suffix is that of a service's unit.
const suffix = ".service"

// maxName is how long a unit's name may be, in bytes (UNIT_NAME_MAX of systemd), its
// suffix included.
const maxName = 255

// Name is the name of the unit of an ecosystem, with its suffix: supervisor-shop.service
// for /srv/shop/ecosystem.yaml and for /srv/shop.yaml.
func Name(file string) string {
	base := filepath.Base(file)
	name := strings.TrimSuffix(base, filepath.Ext(base))
	if name == "ecosystem" {
		name = filepath.Base(filepath.Dir(file))
	}
	var b strings.Builder
	b.WriteString("supervisor-")
	for i := range len(name) {
		if c := name[i]; nameByte(c) {
			b.WriteByte(c)
		} else {
			b.WriteByte('-')
		}
	}
	return b.String()[:min(b.Len(), maxName-len(suffix))] + suffix
}

// GivenName is the name of a unit as somebody has typed it, with its suffix; ok is false
// when it is none (systemd.unit(5)).
func GivenName(typed string) (name string, ok bool) {
	name = strings.TrimSuffix(typed, suffix)
	for i := range len(name) {
		if !nameByte(name[i]) {
			return "", false
		}
	}
	return name + suffix, name != "" && name[0] != '.' && len(name)+len(suffix) <= maxName
}

// nameByte reports whether a unit's name may have c; one with an @ would be a template's.
func nameByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte(":-_.", c) >= 0
}
