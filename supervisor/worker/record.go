package worker

import (
	"fmt"

	"supervisor/supervisor/state"
)

// Record is a machine as it is written down for another life of its owner. The policy
// is no part of it: it follows from the spec.
type Record struct {
	State state.State `json:"state"`
	Want  state.Want  `json:"want"`
	Inc   int         `json:"inc"`
	Cause Cause       `json:"cause,omitzero"`

	Trial    bool `json:"trial,omitzero"`
	Failed   bool `json:"failed,omitzero"`
	Soaked   bool `json:"soaked,omitzero"`
	Stable   bool `json:"stable,omitzero"`
	Unstable int  `json:"unstable,omitzero"`
	Restarts int  `json:"restarts,omitzero"`

	EndCode   int  `json:"end_code,omitzero"` // of the last end, if HasEnd
	EndSignal int  `json:"end_signal,omitzero"`
	HasEnd    bool `json:"has_end,omitzero"`
}

// Record returns the machine without its policy.
func (m Machine) Record() Record {
	return Record{
		State: m.State, Want: m.Want, Inc: m.Inc, Cause: m.Cause,
		Trial: m.Trial, Failed: m.Failed, Soaked: m.Soaked,
		Stable: m.Stable, Unstable: m.Unstable, Restarts: m.Restarts,
		EndCode: m.endCode, EndSignal: m.endSignal, HasEnd: m.hasEnd,
	}
}

// Machine returns the machine that was recorded, with a policy. An error names what no
// machine can have been.
func (r Record) Machine(p Policy) (Machine, error) {
	switch {
	case int(r.State) >= len(state.States):
		return Machine{}, fmt.Errorf("there is no state %d of a worker", r.State)
	case r.Want > state.Up:
		return Machine{}, fmt.Errorf("there is no wish %d for a worker", r.Want)
	case r.Cause > Crashed:
		return Machine{}, fmt.Errorf("there is no cause %d of a stop", r.Cause)
	}
	return Machine{
		Policy: p, State: r.State, Want: r.Want, Inc: r.Inc, Cause: r.Cause,
		Trial: r.Trial, Failed: r.Failed, Soaked: r.Soaked,
		Stable: r.Stable, Unstable: r.Unstable, Restarts: r.Restarts,
		endCode: r.EndCode, endSignal: r.EndSignal, hasEnd: r.HasEnd,
	}, nil
}

// KindNamed returns the Kind with the name that String gives it.
func KindNamed(name string) (Kind, bool) {
	for _, k := range Kinds {
		if k.String() == name {
			return k, true
		}
	}
	return 0, false
}
