package supervisor

import (
	"slices"

	"supervisor/supervisor/state"
)

// app is one app: what is wanted of it, its generations, and the members of its
// cluster. Owned by the loop.
type app struct {
	name    string
	want    state.Want
	spec    state.Spec // of the generation in force; what a file is compared with
	env     []string   // the caller's environment at start
	envName string
	count   int // wanted workers: spec.Instances until it is scaled

	gens map[int]*generation
	cur  int // the last generation whose rollout was complete
	last int // the last number given out

	members  []*member
	roll     *roll
	starting *starting
	ops      []*op

	restarts int // of members that are no more

	lastReceipt *state.Receipt // of the last rollout that ended; never changed
	image       appImage

	unseen   bool // listening can't be seen for this app
	silent   bool // a worker has lived long enough without listening
	notes    []string
	asked    []*roll // whose question about drops is unanswered, in order
	holding  bool    // sockets may be held for it
	untidy   bool    // among them some that nobody needs any more
	tried    bool    // it is known by its first start alone, which isn't under way yet
	deleting bool
	deleted  bool
}

// generation is one release of an app: its spec, and what of it was found on disk.
type generation struct {
	n      int
	spec   state.Spec
	launch state.Launch
	served map[int]map[string]bool // by slot, the addresses that its workers listened on
	known  int                     // how many those are; none is ever taken away
	image  genImage
}

// starting is an app's start from nothing: prepare, then all workers at once.
type starting struct {
	spec  state.Spec
	env   []string
	count int
	token uint64 // of the Prepare under way, 0 before
	image startImage
}

// alive reports whether any process of the app exists, or is about to by itself.
func (a *app) alive() bool {
	return slices.ContainsFunc(a.members, (*member).up)
}

// current returns the generation in force, nil before the first.
func (a *app) current() *generation { return a.gens[a.cur] }

// in returns the members of a slot that are part of the cluster: not what is left
// of a crashed one.
func (a *app) in(slot int) []*member {
	var in []*member
	for _, w := range a.members {
		if w.slot == slot && !w.remains {
			in = append(in, w)
		}
	}
	return in
}

func (a *app) remove(w *member) {
	w.disarmAll()
	a.restarts += w.m.Restarts
	a.members = slices.DeleteFunc(a.members, func(x *member) bool { return x == w })
}

// prune forgets the generations that nobody runs and nothing can go back to.
func (a *app) prune() {
	for n := range a.gens {
		used := n == a.cur || a.roll != nil && (n == a.roll.rec.To || n == a.roll.rec.From)
		for _, w := range a.members {
			used = used || w.gen.n == n
		}
		if !used {
			delete(a.gens, n)
		}
	}
}

// status is the app's word in `list`.
func (a *app) status() string {
	var online, errored, moving int
	for _, w := range a.members {
		switch {
		case w.retiring != "" || w.remains: // counts for nothing
		case w.m.State == state.Online:
			online++
		case w.m.State == state.Errored:
			errored++
		case w.m.State == state.Exited || w.m.State == state.Stopped:
		default:
			moving++
		}
	}
	switch {
	case a.want == state.Down && a.alive():
		return state.AppStopping
	case a.want == state.Down:
		return state.AppStopped
	case a.roll != nil:
		return state.AppReloading
	case a.starting != nil:
		return state.AppLaunching
	case online >= a.count && online > 0:
		return state.AppOnline
	case online > 0:
		return state.AppDegraded
	case errored > 0 && moving == 0:
		return state.AppErrored
	case moving > 0:
		return state.AppLaunching
	}
	return state.AppStopped
}
