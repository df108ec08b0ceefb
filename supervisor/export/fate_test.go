package export

import (
	"reflect"
	"testing"

	"supervisor/ecosystem"
	"supervisor/supervisor/state"
)

// Every key of an ecosystem file that works has a fate, and so has each that is to come.
func TestEveryKeyHasAFate(t *testing.T) {
	for _, k := range ecosystem.Keys() {
		_, known := fateOf(k.Name)
		switch k.Status {
		case ecosystem.Works, ecosystem.Later:
			if !known {
				t.Errorf("%s: what becomes of it in Kubernetes and Nomad?", k.Name)
			}
		default:
			if known {
				t.Errorf("%s is refused or ignored by the parser: it can have no fate", k.Name)
			}
		}
	}
	spec := reflect.TypeFor[state.Spec]()
	for i := range spec.NumField() {
		if key := spec.Field(i).Tag.Get("key"); key != "-" {
			if _, known := fateOf(key); !known {
				t.Errorf("%s: what becomes of it in Kubernetes and Nomad?", key)
			}
		}
	}
	if _, known := fateOf("nonsense"); known {
		t.Error("nonsense has a fate")
	}
}
