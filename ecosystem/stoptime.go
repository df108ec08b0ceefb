package ecosystem

import (
	"time"

	"supervisor/supervisor/state"
)

// StopTime is how long it may take until every worker of the apps has ended, when all are
// stopped at once and each app waits for those that depend on it: the longest sum of
// pre_drain and kill_timeout along depends_on.
func StopTime(specs []state.Spec) (longest time.Duration) {
	needs := Dependencies(specs)
	known := make([]time.Duration, len(specs))
	var along func(i int) time.Duration
	along = func(i int) time.Duration {
		if known[i] == 0 {
			below := time.Duration(0)
			for _, j := range needs[i] {
				below = max(below, along(j))
			}
			known[i] = specs[i].PreDrain + specs[i].KillTimeout + below
		}
		return known[i]
	}
	for i := range specs {
		longest = max(longest, along(i))
	}
	return longest
}
