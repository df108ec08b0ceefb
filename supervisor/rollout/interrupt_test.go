package rollout

// What becomes of a rollout whose supervisor died ("died" in the stories).
func interruptedStories() []story {
	return []story{
		{name: "died before anything was spawned", view: rolling(2), running: "0/1 1/1", steps: []step{
			{"died", ""},
		}, result: RolledBack, reason: Died},
		{name: "died while the last slot soaks: it completes", view: rolling(2), running: "0/1 1/1", steps: []step{
			{"", "+0/2"}, {"soak 0/2", "replaced 0/1"}, {"gone 0/1", "+1/2"}, {"ready 1/2", ""},
			{"died", ""}, {"soak 1/2", "replaced 1/1"}, {"gone 1/1", ""},
		}, result: Complete},
		{name: "died while the last of the old drains: it completes", view: rolling(1), running: "0/1", steps: []step{
			{"", "+0/2"}, {"soak 0/2", "replaced 0/1"}, {"died", ""}, {"gone 0/1", ""},
		}, result: Complete},
		{name: "died while the first slot soaks: it is waited for, then it goes back",
			view: rolling(2).with(canReturn), running: "0/1 1/1", steps: []step{
				{"", "+0/2"}, {"ready 0/2", ""}, {"died", ""}, {"soak 0/2", "rollback 0/2"}, {"gone 0/2", ""},
			}, result: RolledBack, reason: Died},
		{name: "died between two slots: what was replaced comes back", view: rolling(2).with(canReturn), running: "0/1 1/1", steps: []step{
			{"", "+0/2"}, {"soak 0/2", "replaced 0/1"}, {"died", ""}, {"gone 0/1", "back 0/1"},
			{"ready 0/1", "rollback 0/2"}, {"gone 0/2", ""},
		}, result: RolledBack, reason: Died},
		{name: "died between two slots, nothing to go back to: the new one is kept", view: rolling(2), running: "0/1 1/1", steps: []step{
			{"", "+0/2"}, {"soak 0/2", "replaced 0/1"}, {"died", ""}, {"gone 0/1", ""},
		}, result: Failed, reason: Died},
		{name: "died, and the trial fails", view: rolling(1), running: "0/1", steps: []step{
			{"", "+0/2"}, {"died", ""}, {"timeout 0/2", "rollback 0/2"}, {"gone 0/2", ""},
		}, result: RolledBack, reason: Died},
		{name: "died, and who is proven restarts: it is waited for", view: rolling(1), running: "0/1", steps: []step{
			{"", "+0/2"}, {"soak 0/2", "replaced 0/1"}, {"crash 0/2", ""}, {"died", ""}, {"gone 0/1", ""}, {"soak 0/2", ""},
		}, result: Complete},
		{name: "died, blue-green, while all soak", view: rolling(2).with(blueGreen), running: "0/1 1/1", steps: []step{
			{"", "+0/2, +1/2"}, {"soak 1/2", ""}, {"ready 0/2", ""}, {"died", ""},
			{"soak 0/2", "replaced 0/1, replaced 1/1"}, {"gone 1/1", ""}, {"gone 0/1", ""},
		}, result: Complete},
		{name: "died, blue-green, and one fails: the new stop", view: rolling(2).with(blueGreen), running: "0/1 1/1", steps: []step{
			{"", "+0/2, +1/2"}, {"soak 1/2", ""}, {"died", ""}, {"timeout 0/2", "rollback 0/2, rollback 1/2"},
			{"gone 1/2", ""}, {"gone 0/2", ""},
		}, result: RolledBack, reason: Died},
		{name: "died while it rolled back: that goes on, for its own reason", view: rolling(1), running: "0/1", steps: []step{
			{"", "+0/2"}, {"timeout 0/2", "rollback 0/2"}, {"died", ""}, {"gone 0/2", ""},
		}, result: RolledBack, reason: "slot 0: not ready"},
		{name: "died, and a scale takes the slots that have no successor: it completes", view: rolling(2), running: "0/1 1/1", steps: []step{
			{"", "+0/2"}, {"ready 0/2", ""}, {"died", ""}, {"scale 1", "scale 1/1"}, {"soak 0/2", "replaced 0/1"},
			{"gone 0/1", ""}, {"gone 1/1", ""},
		}, result: Complete},
		{name: "died, fork, with a slot empty: it is filled by what ran", view: rolling(2).with(fork).with(canReturn), running: "0/1 1/1", steps: []step{
			{"", "replaced 0/1"}, {"died", ""}, {"gone 0/1", "back 0/1"}, {"ready 0/1", ""},
		}, result: RolledBack, reason: Died},
		{name: "died, restart: the slots that are left keep what they run", view: rolling(2).with(restart), running: "0/1 1/1", steps: []step{
			{"", "replaced 0/1"}, {"gone 0/1", "+0/1"}, {"died", ""}, {"soak 0/1", ""},
		}, result: Failed, reason: Died},
		{name: "died, restart, with a slot empty: it is filled", view: rolling(2).with(restart), running: "0/1 1/1", steps: []step{
			{"", "replaced 0/1"}, {"died", ""}, {"gone 0/1", "back 0/1"}, {"ready 0/1", ""},
		}, result: Failed, reason: Died},
	}
}
