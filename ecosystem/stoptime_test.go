package ecosystem

import (
	"testing"
	"time"

	"supervisor/supervisor/state"
)

func TestStopTime(t *testing.T) {
	app := func(name string, kill time.Duration, needs ...string) state.Spec {
		return state.Spec{Name: name, KillTimeout: kill, DependsOn: needs}
	}
	drained := app("api", 2*time.Second, "db")
	drained.PreDrain = 500 * time.Millisecond
	for name, c := range map[string]struct {
		specs []state.Spec
		want  time.Duration
	}{
		"none":     {nil, 0},
		"alone":    {[]state.Spec{app("a", 3*time.Second), app("b", 7*time.Second)}, 7 * time.Second},
		"in turn":  {[]state.Spec{app("web", time.Second, "api", "db"), drained, app("db", 4*time.Second)}, 7500 * time.Millisecond},
		"a circle": {[]state.Spec{app("a", time.Second, "b"), app("b", time.Second, "a")}, 2 * time.Second},
	} {
		if got := StopTime(c.specs); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
