package rollout

func forwardStories() []story {
	return []story{
		{name: "rolling, one instance", view: rolling(1), running: "0/1", steps: []step{
			{"", "+0/2"}, {"ready 0/2", ""}, {"soak 0/2", "replaced 0/1"}, {"gone 0/1", ""},
		}, result: Complete},
		{name: "rolling, three instances, ascending", view: rolling(3), running: "0/1 1/1 2/1", steps: []step{
			{"", "+0/2"},
			{"soak 0/2", "replaced 0/1"}, {"gone 0/1", "+1/2"},
			{"soak 1/2", "replaced 1/1"}, {"gone 1/1", "+2/2"},
			{"soak 2/2", "replaced 2/1"}, {"gone 2/1", ""},
		}, result: Complete},
		{name: "a trial is soaking and nothing else is to do", view: rolling(2), running: "0/1 1/1", steps: []step{
			{"", "+0/2"}, {"ready 0/2", ""},
		}, phase: Soaking},
		{name: "a trial is starting", view: rolling(2), running: "0/1 1/1", steps: []step{
			{"", "+0/2"},
		}, phase: Progressing},
		{name: "one trial is soaking, another is starting", view: rolling(2).with(func(v *View) { v.MaxSurge = 2 }), running: "0/1 1/1", steps: []step{
			{"", "+0/2, +1/2"}, {"ready 0/2", ""},
		}, phase: Progressing},
		{name: "surge 100 percent: each leaves when its own successor is proven",
			view: rolling(2).with(func(v *View) { v.MaxSurge = 2 }), running: "0/1 1/1", steps: []step{
				{"", "+0/2, +1/2"}, {"soak 1/2", "replaced 1/1"}, {"gone 1/1", ""},
				{"soak 0/2", "replaced 0/1"}, {"gone 0/1", ""},
			}, result: Complete},
		{name: "max_unavailable beside surge", view: rolling(3).with(func(v *View) { v.MaxUnavailable = 1 }),
			running: "0/1 1/1 2/1", steps: []step{
				{"", "+0/2, replaced 1/1"}, {"gone 1/1", "+1/2"}, {"soak 0/2", "replaced 0/1"},
				{"gone 0/1", "+2/2"}, {"soak 1/2", ""}, {"soak 2/2", "replaced 2/1"}, {"gone 2/1", ""},
			}, result: Complete},
		{name: "max_unavailable 2 without surge", view: rolling(3).with(func(v *View) { v.MaxSurge, v.MaxUnavailable = 0, 2 }),
			running: "0/1 1/1 2/1", steps: []step{
				{"", "replaced 0/1, replaced 1/1"}, {"gone 1/1", "+1/2"}, {"ready 1/2", ""},
				{"soak 1/2", "replaced 2/1"}, {"gone 0/1", "+0/2"}, {"gone 2/1", "+2/2"},
				{"soak 0/2", ""}, {"soak 2/2", ""},
			}, result: Complete},
		{name: "neither surge nor max_unavailable is surge 1", view: rolling(1).with(func(v *View) { v.MaxSurge = 0 }),
			running: "0/1", steps: []step{{"", "+0/2"}}, phase: Progressing},
		{name: "fork stops first, and waits for the soak before the next", view: rolling(2).with(fork), running: "0/1 1/1", steps: []step{
			{"", "replaced 0/1"}, {"gone 0/1", "+0/2"}, {"ready 0/2", ""},
			{"soak 0/2", "replaced 1/1"}, {"gone 1/1", "+1/2"}, {"soak 1/2", ""},
		}, result: Complete},
		{name: "fork, a crashed one is first: it costs nothing", view: rolling(2).with(fork), running: "0/1 1/1=backoff", steps: []step{
			{"", "replaced 1/1"}, {"gone 1/1", "+1/2"}, {"soak 1/2", "replaced 0/1"},
			{"gone 0/1", "+0/2"}, {"soak 0/2", ""},
		}, result: Complete},
		{name: "fork, all crash: one at a time", view: rolling(2).with(fork), running: "0/1=backoff 1/1=backoff", steps: []step{
			{"", "replaced 0/1"}, {"gone 0/1", "+0/2"}, {"soak 0/2", "replaced 1/1"},
			{"gone 1/1", "+1/2"}, {"soak 1/2", ""},
		}, result: Complete},
		{name: "an old worker crashes meanwhile: it is kept until its successor is proven", view: rolling(2), running: "0/1 1/1", steps: []step{
			{"", "+0/2"}, {"crash 1/1", ""}, {"crash 0/1", ""}, {"soak 0/2", "replaced 0/1"},
			{"gone 0/1", "+1/2"}, {"ready 1/2", ""}, {"soak 1/2", "replaced 1/1"}, {"gone 1/1", ""},
		}, result: Complete},
		{name: "a proven one restarts: it is waited for", view: rolling(2), running: "0/1 1/1", steps: []step{
			{"", "+0/2"}, {"soak 0/2", "replaced 0/1"}, {"crash 0/2", ""}, {"gone 0/1", "+1/2"},
			{"soak 1/2", "replaced 1/1"}, {"gone 1/1", ""}, {"soak 0/2", ""},
		}, result: Complete},
		{name: "an errored app is served first where it is down", view: rolling(3), running: "0/1 1/1=errored 2/1=errored", steps: []step{
			{"", "+1/2, +2/2, +0/2"}, {"soak 2/2", "replaced 2/1"}, {"soak 1/2", "replaced 1/1"}, {"", ""},
		}, phase: Progressing},
		{name: "blue-green: all or nobody", view: rolling(2).with(blueGreen), running: "0/1 1/1", steps: []step{
			{"", "+0/2, +1/2"}, {"soak 1/2", ""}, {"ready 0/2", ""},
			{"soak 0/2", "replaced 0/1, replaced 1/1"}, {"gone 1/1", ""}, {"gone 0/1", ""},
		}, result: Complete},
		{name: "blue-green: who soaked and restarts holds the others back", view: rolling(2).with(blueGreen), running: "0/1 1/1", steps: []step{
			{"", "+0/2, +1/2"}, {"soak 1/2", ""}, {"crash 1/2", ""}, {"soak 0/2", ""},
			{"soak 1/2", "replaced 0/1, replaced 1/1"},
		}, phase: Progressing},
		{name: "scale up in the middle", view: rolling(1), running: "0/1", steps: []step{
			{"", "+0/2"}, {"scale 2", "+1/2"}, {"soak 1/2", ""}, {"soak 0/2", "replaced 0/1"}, {"gone 0/1", ""},
		}, result: Complete},
		{name: "scale up in the middle of blue-green", view: rolling(1).with(blueGreen), running: "0/1", steps: []step{
			{"", "+0/2"}, {"scale 2", "+1/2"}, {"soak 0/2", ""}, {"soak 1/2", "replaced 0/1"}, {"gone 0/1", ""},
		}, result: Complete},
		{name: "scale down in the middle, the highest first", view: rolling(3), running: "0/1 1/1 2/1", steps: []step{
			{"", "+0/2"}, {"scale 1", "scale 2/1, scale 1/1"}, {"soak 0/2", "replaced 0/1"},
			{"gone 0/1", ""}, {"gone 2/1", ""}, {"gone 1/1", ""},
		}, result: Complete},
		{name: "a surge in percent shrinks: nobody leaves for a seat that would go to no one",
			view: rolling(3).with(func(v *View) { v.MaxSurge = 2 }), running: "0/1 1/1 2/1", steps: []step{
				{"", "+0/2, +1/2"}, {"budget 1,1", ""}, {"soak 0/2", "replaced 0/1, replaced 2/1"},
			}, phase: Progressing},
		{name: "scale down takes a trial that failed: no abort", view: rolling(2), running: "0/1", steps: []step{
			{"", "+1/2, +0/2"}, {"scale 1", "scale 1/2"}, {"gone 1/2", ""}, {"soak 0/2", "replaced 0/1"}, {"gone 0/1", ""},
		}, result: Complete},
		{name: "scale down and up again, while the slot still drains", view: rolling(2), running: "0/1 1/1", steps: []step{
			{"", "+0/2"}, {"scale 1", "scale 1/1"}, {"scale 2", ""}, {"gone 1/1", "+1/2"},
			{"soak 1/2", ""}, {"soak 0/2", "replaced 0/1"}, {"gone 0/1", ""},
		}, result: Complete},
		{name: "superseded: the oldest that serves is kept, every slot is replaced again",
			view: rolling(2), running: "0/1 1/1", steps: []step{
				{"", "+0/2"}, {"ready 0/2", ""}, {"supersede", "superseded 0/2"}, {"gone 0/2", "+0/3"},
				{"soak 0/3", "replaced 0/1"}, {"gone 0/1", "+1/3"}, {"soak 1/3", "replaced 1/1"}, {"gone 1/1", ""},
			}, result: Complete},
		{name: "superseded: the intermediate one is kept where only it serves",
			view: rolling(1), running: "0/1", steps: []step{
				{"", "+0/2"}, {"ready 0/2", ""}, {"crash 0/1", ""}, {"supersede", "superseded 0/1"},
				{"gone 0/1", "+0/3"}, {"soak 0/3", "replaced 0/2"}, {"gone 0/2", ""},
			}, result: Complete},
		{name: "superseded: where none serves, who may come back is kept", view: rolling(1), running: "0/1=errored 0/2=backoff", steps: []step{
			{"supersede", "superseded 0/1, +0/3"},
		}, phase: Progressing},
		{name: "restart, slot by slot", view: rolling(2).with(restart), running: "0/1 1/1", steps: []step{
			{"", "replaced 0/1"}, {"gone 0/1", "+0/1"}, {"soak 0/1", "replaced 1/1"}, {"gone 1/1", "+1/1"}, {"soak 1/1", ""},
		}, result: Complete},
		{name: "one slot only", view: rolling(2).with(func(v *View) { v.Record.Slots = []int{1} }), running: "0/1 1/1", steps: []step{
			{"", "+1/2"}, {"soak 1/2", "replaced 1/1"}, {"gone 1/1", ""},
		}, result: Complete},
		{name: "one slot only, and the other restarts: it is waited for",
			view: rolling(2).with(restart).with(func(v *View) { v.Record.Slots = []int{0} }), running: "0/1 1/1=backoff", steps: []step{
				{"", ""}, {"ready 1/1", "replaced 0/1"},
			}, phase: Progressing},
		{name: "one slot only, and the other is down: it isn't emptied",
			view: rolling(2).with(restart).with(func(v *View) { v.Record.Slots = []int{0} }), running: "0/1 1/1=backoff", steps: []step{
				{"", ""}, {"giveup 1/1", ""},
			}, result: Failed, reason: "slot 0: cannot stop its worker: 1 of 2 slots"},
	}
}
