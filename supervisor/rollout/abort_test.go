package rollout

func backStories() []story {
	return []story{
		{name: "crash at boot: the old are untouched", view: rolling(2), running: "0/1 1/1", steps: []step{
			{"", "+0/2"}, {"crash 0/2", "rollback 0/2"}, {"", ""},
		}, result: RolledBack, reason: "slot 0: exit 1"},
		{name: "never ready: it is waited for until it is gone", view: rolling(1), running: "0/1", steps: []step{
			{"", "+0/2"}, {"timeout 0/2", "rollback 0/2"}, {"gone 0/2", ""},
		}, result: RolledBack, reason: "slot 0: not ready"},
		{name: "exit in the soak", view: rolling(1), running: "0/1", steps: []step{
			{"", "+0/2"}, {"ready 0/2", ""}, {"crash 0/2", "rollback 0/2"}, {"", ""},
		}, result: RolledBack, reason: "slot 0: exit 1"},
		{name: "after replaced, it can go back: beside the new one, then instead", view: rolling(2).with(canReturn), running: "0/1 1/1", steps: []step{
			{"", "+0/2"}, {"soak 0/2", "replaced 0/1"}, {"gone 0/1", "+1/2"},
			{"crash 1/2", "rollback 1/2, back 0/1"}, {"ready 0/1", "rollback 0/2"}, {"gone 0/2", ""},
		}, result: RolledBack, reason: "slot 1"},
		{name: "after replaced, it can go back, but what ran doesn't start: the new one is kept",
			view: rolling(2).with(canReturn), running: "0/1 1/1", steps: []step{
				{"", "+0/2"}, {"soak 0/2", "replaced 0/1"}, {"gone 0/1", "+1/2"},
				{"crash 1/2", "rollback 1/2, back 0/1"}, {"crash 0/1", "rollback 0/1"}, {"gone 0/1", ""},
			}, result: Failed, reason: "slot 1"},
		{name: "the kept one fails too: what ran is tried again", view: rolling(2).with(canReturn), running: "0/1 1/1", steps: []step{
			{"", "+0/2"}, {"soak 0/2", "replaced 0/1"}, {"gone 0/1", "+1/2"},
			{"crash 1/2", "rollback 1/2, back 0/1"}, {"crash 0/1", "rollback 0/1"}, {"giveup 0/2", "rollback 0/2, back 0/1"},
			{"gone 0/1", ""}, {"ready 0/1", ""},
		}, result: RolledBack, reason: "slot 1"},
		{name: "after replaced, nothing to go back to: the new one is kept", view: rolling(2), running: "0/1 1/1", steps: []step{
			{"", "+0/2"}, {"soak 0/2", "replaced 0/1"}, {"crash 0/2", ""}, {"gone 0/1", "+1/2"},
			{"crash 1/2", "rollback 1/2"}, {"", ""},
		}, result: Failed, reason: "slot 1"},
		{name: "nothing to go back to, and the kept one gives up: the policy tries on", view: rolling(2), running: "0/1 1/1", steps: []step{
			{"", "+0/2"}, {"soak 0/2", "replaced 0/1"}, {"gone 0/1", "+1/2"},
			{"giveup 0/2", "rollback 0/2, rollback 1/2, back 0/2"}, {"gone 1/2", ""}, {"crash 0/2", ""},
		}, result: Failed, reason: "slot 0"},
		{name: "the old one still drains: it is not undone", view: rolling(1).with(canReturn), running: "0/1", steps: []step{
			{"", "+0/2"}, {"soak 0/2", "replaced 0/1"}, {"giveup 0/2", "rollback 0/2, back 0/1"}, {"ready 0/1", ""},
		}, phase: RollingBack, reason: "slot 0"},
		{name: "fork goes back: the failed one is gone first", view: rolling(1).with(fork).with(canReturn), running: "0/1", steps: []step{
			{"", "replaced 0/1"}, {"gone 0/1", "+0/2"}, {"timeout 0/2", "rollback 0/2"}, {"gone 0/2", "back 0/1"}, {"ready 0/1", ""},
		}, result: RolledBack, reason: "not ready"},
		{name: "fork goes back in every slot, one by one", view: rolling(2).with(fork).with(canReturn), running: "0/1 1/1", steps: []step{
			{"", "replaced 0/1"}, {"gone 0/1", "+0/2"}, {"soak 0/2", "replaced 1/1"}, {"gone 1/1", "+1/2"},
			{"crash 1/2", "rollback 1/2, back 1/1"}, {"ready 1/1", "rollback 0/2"}, {"gone 0/2", "back 0/1"}, {"ready 0/1", ""},
		}, result: RolledBack, reason: "slot 1"},
		{name: "fork, what ran doesn't start in one slot: the other keeps the new one", view: rolling(2).with(fork).with(canReturn), running: "0/1 1/1", steps: []step{
			{"", "replaced 0/1"}, {"gone 0/1", "+0/2"}, {"soak 0/2", "replaced 1/1"}, {"gone 1/1", "+1/2"},
			{"crash 1/2", "rollback 1/2, back 1/1"}, {"crash 1/1", ""},
		}, result: Failed, reason: "slot 1"},
		{name: "fork, nothing to go back to: the policy tries on", view: rolling(1).with(fork), running: "0/1", steps: []step{
			{"", "replaced 0/1"}, {"gone 0/1", "+0/2"}, {"crash 0/2", "rollback 0/2, back 0/2"}, {"ready 0/2", ""},
		}, result: Failed, reason: "slot 0"},
		{name: "blue-green abort: everything as it was", view: rolling(2).with(blueGreen), running: "0/1 1/1", steps: []step{
			{"", "+0/2, +1/2"}, {"soak 0/2", ""}, {"ready 1/2", ""}, {"crash 1/2", "rollback 0/2, rollback 1/2"}, {"gone 0/2", ""},
		}, result: RolledBack, reason: "slot 1"},
		{name: "blue-green abort, but an old one has given up: its successor is kept", view: rolling(2).with(blueGreen), running: "0/1 1/1", steps: []step{
			{"", "+0/2, +1/2"}, {"ready 0/2", ""}, {"giveup 0/1", ""}, {"crash 1/2", "rollback 1/2"}, {"soak 0/2", "replaced 0/1"},
		}, result: Failed, reason: "slot 1"},
		{name: "abort, and an old one is restarting: its successor serves until then", view: rolling(2).with(blueGreen), running: "0/1 1/1", steps: []step{
			{"", "+0/2, +1/2"}, {"ready 0/2", ""}, {"crash 0/1", ""}, {"crash 1/2", "rollback 1/2"}, {"ready 0/1", "rollback 0/2"}, {"gone 0/2", ""},
		}, result: RolledBack, reason: "slot 1"},
		{name: "an errored app, and the new release fails too", view: rolling(1), running: "0/1=errored", steps: []step{
			{"", "+0/2"}, {"crash 0/2", "rollback 0/2"}, {"", ""},
		}, result: RolledBack, reason: "slot 0"},
		{name: "an app that was down, and the new release fails", view: rolling(1).with(canReturn), steps: []step{
			{"", "+0/2"}, {"crash 0/2", "rollback 0/2, back 0/1"}, {"crash 0/1", ""},
		}, result: Failed, reason: "slot 0"},
		{name: "scale down while it rolls back", view: rolling(2).with(canReturn), running: "0/1 1/1", steps: []step{
			{"", "+0/2"}, {"soak 0/2", "replaced 0/1"}, {"gone 0/1", "+1/2"}, {"timeout 1/2", "rollback 1/2"},
			{"scale 1", "scale 1/1"}, {"gone 1/2", ""}, {"gone 1/1", "back 0/1"}, {"ready 0/1", "rollback 0/2"}, {"gone 0/2", ""},
		}, result: RolledBack, reason: "slot 1"},
		{name: "scale up while it rolls back", view: rolling(1).with(canReturn), running: "0/1", steps: []step{
			{"", "+0/2"}, {"timeout 0/2", "rollback 0/2"}, {"scale 2", "back 1/1"}, {"gone 0/2", ""}, {"ready 1/1", ""},
		}, result: RolledBack, reason: "slot 0"},
		{name: "superseded while it rolls back", view: rolling(2).with(canReturn), running: "0/1 1/1", steps: []step{
			{"", "+0/2"}, {"soak 0/2", "replaced 0/1"}, {"gone 0/1", "+1/2"}, {"crash 1/2", "rollback 1/2, back 0/1"},
			{"supersede", "superseded 0/1"}, {"gone 0/1", "+0/3"}, {"soak 0/3", "replaced 0/2"},
		}, phase: Progressing},
		{name: "a failing restart leaves the others alone", view: rolling(3).with(restart).with(canReturn), running: "0/1 1/1 2/1", steps: []step{
			{"", "replaced 0/1"}, {"gone 0/1", "+0/1"}, {"soak 0/1", "replaced 1/1"}, {"gone 1/1", "+1/1"},
			{"timeout 1/1", "rollback 1/1"}, {"gone 1/1", "back 1/1"},
		}, result: Failed, reason: "slot 1: not ready"},
		{name: "a new worker that the policy leaves has failed", view: rolling(1), running: "0/1", steps: []step{
			{"", "+0/2"}, {"soak 0/2", "replaced 0/1"}, {"exit 0/2", "rollback 0/2, back 0/2"},
		}, phase: RollingBack, reason: "slot 0: its new worker ended"},
		{name: "one of the generation to go back to that the policy leaves is not waited for", view: rolling(1).with(canReturn), steps: []step{
			{"", "+0/2"}, {"crash 0/2", "rollback 0/2, back 0/1"}, {"exit 0/1", ""},
		}, result: Failed, reason: "slot 0"},
		{name: "an empty slot goes before one that is served", view: rolling(2).with(func(v *View) { v.MaxSurge = 2 }).with(canReturn), running: "0/1 1/1", steps: []step{
			{"", "+0/2, +1/2"}, {"soak 0/2", "replaced 0/1"}, {"soak 1/2", "replaced 1/1"}, {"gone 1/1", ""},
			{"timeout 1/2", "rollback 1/2, back 1/1"}, {"gone 1/2", "back 0/1"},
		}, phase: RollingBack, reason: "slot 1"},
		{name: "a kept one has to prove itself", view: rolling(3).with(func(v *View) { v.MaxSurge, v.MaxUnavailable = 0, 2 }), running: "0/1 1/1 2/1", steps: []step{
			{"", "replaced 0/1, replaced 1/1"}, {"gone 0/1", "+0/2"}, {"gone 1/1", "+1/2"}, {"ready 0/2", ""},
			{"crash 1/2", "rollback 1/2, back 1/2"}, {"ready 1/2", ""},
		}, phase: RollingBack, reason: "slot 1"},
	}
}
