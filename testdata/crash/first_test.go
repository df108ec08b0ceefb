package crash

import (
	"testing"

	"supervisor/testdata/lab"
	"supervisor/testdata/load"
)

// The supervisor dies in the very first bind and listen, when no socket is on record
// yet: what its worker listens on is held none the less, so that the next release gets it.
func TestSIGKILLInTheFirstListen(t *testing.T) {
	binary := built(t, buildFaults)
	for _, point := range []string{"notify.received", "notify.bound", "notify.listened", "notify.stored"} {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			a := web(t)
			a.instances = 1
			s := newSite(t, a)
			s.Binary = binary
			p := &pointed{site: s, point: point, token: s.Dir + "/token"}
			s.Env = append(s.Env, faultName+"="+point, faultToken+"="+p.token)
			p.lay()
			s.Run("start") // which may be cut short
			now := s.steady()
			if !p.used() {
				t.Errorf("nobody came to the point")
			}
			if app := s.App(a.name); len(app.Workers) != 1 || len(app.Workers[0].Listeners) != 1 {
				t.Errorf("held: %+v", app.Workers)
			}
			lab.Under(t, func([]*load.Load) { s.perform(reload(a), now) }, s.loads(a)...)
		})
	}
}
