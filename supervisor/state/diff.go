package state

import "reflect"

// Diff returns the keys of the ecosystem file in which two specs differ, in the
// file's order; none when they are the same app.
func Diff(a, b Spec) []string {
	var keys []string
	va, vb := reflect.ValueOf(a), reflect.ValueOf(b)
	for i := range va.NumField() {
		key := va.Type().Field(i).Tag.Get("key")
		if key == "-" {
			continue
		}
		if !same(va.Field(i), vb.Field(i)) {
			keys = append(keys, key)
		}
	}
	return keys
}

// same is DeepEqual for which an empty list or map is none: a spec that was written
// down and read again has none where it had an empty one.
func same(a, b reflect.Value) bool {
	switch a.Kind() {
	case reflect.Slice, reflect.Map:
		if a.Len() == 0 && b.Len() == 0 {
			return true
		}
	case reflect.Struct:
		for i := range a.NumField() {
			if !same(a.Field(i), b.Field(i)) {
				return false
			}
		}
		return true
	}
	return reflect.DeepEqual(a.Interface(), b.Interface())
}

// SameProgram reports whether two specs run the same program in the same world,
// so that a successor is expected to serve the addresses of its predecessor
// (DESIGN section 5, wait_ready).
func SameProgram(a, b Spec) bool {
	for _, key := range Diff(a, b) {
		switch key {
		case "env", "args", "script", "interpreter", "interpreter_args", "cwd", "listen":
			return false
		}
	}
	return true
}
