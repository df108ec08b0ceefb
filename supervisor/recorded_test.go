package supervisor

import (
	"context"
	"testing"

	"supervisor/supervisor/state"
)

// A restored loop tells the spec of an app's generation, of the app where that is forgotten,
// and none where the app is.
func TestSpecOf(t *testing.T) {
	scene(t, func(s *site) {
		s.run(program{})
		spec := web(1)
		spec.OutFile = "/log/mine.log"
		s.start(spec)
		data, err := s.loop.Freeze(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		s.loop.Thaw()
		loop, err := Restore(state.DaemonInfo{}, data, nil, RestoreOptions{Clock: s.clock})
		if err != nil {
			t.Fatal(err)
		}
		for _, gen := range []int{1, 7} {
			if found, ok := loop.SpecOf("web", gen); !ok || found.OutFile != spec.OutFile {
				t.Errorf("generation %d: %v, %+v", gen, ok, found)
			}
		}
		if _, ok := loop.SpecOf("nobody", 1); ok {
			t.Error("an app that is not there has a spec")
		}
	})
}
