package supervisor

import (
	"slices"
	"time"

	"supervisor/supervisor/state"
	"supervisor/supervisor/worker"
)

// member is one worker of an app's cluster: a machine bound to a slot and a
// generation, and what the loop knows of its process.
type member struct {
	app  *app
	key  uint64
	slot int
	gen  *generation
	m    worker.Machine

	fresh    bool   // spawned by the running rollout, going forward
	back     bool   // spawned by a rollback
	retiring string // told to leave and to be forgotten when it is gone: why
	by       *roll  // the rollout that told it so
	remains  bool   // what is left of the group of a crashed process; no part of the cluster

	settled bool // has been online once, or has failed its first start
	failure *failure

	// Of the process in hand.
	id        uint64
	pid       int
	spawnedAt time.Duration // instants of the loop's clock, 0: not yet
	onlineAt  time.Duration
	stopAt    time.Duration
	via       string
	heard     *heard // nil: it doesn't listen
	said      string
	gates     gates
	killed    bool
	cut       *int // connections open at the stop signal, then at SIGKILL
	notReady  bool // listen_timeout passed
	alone     bool // its predecessor is gone, and it was told so

	unborn *failure // why it could not be spawned
	end    *end     // how it ended

	before *end // how the process before it ended
	timers [timerKinds]armed

	image piece[memberRecord]
}

// timerKinds is the size of a member's table of timers, indexed by worker.Kind.
const timerKinds = len(worker.Kinds)

// armed is one timer; seq tells its firing from that of one it replaced.
type armed struct {
	timer *time.Timer
	seq   uint64
	due   time.Duration // by the loop's clock; 0: it isn't armed
}

// end is how a process ended. Like a failure it is never changed.
type end struct {
	Code   int      `json:"code,omitzero"` // UnknownCode: nobody knows
	Signal int      `json:"signal,omitzero"`
	Name   string   `json:"name,omitzero"` // of the signal
	How    string   `json:"how"`
	Lines  []string `json:"lines,omitempty"` // until they are told
}

// told is an end without its last lines: the record is written too often for what nobody
// asks for again.
func (e *end) told() *end {
	if e == nil || e.Lines == nil {
		return e
	}
	brief := *e
	brief.Lines = nil
	return &brief
}

// failure is why a worker did not come up.
type failure struct {
	Stage  string   `json:"stage"` // spawn stage, ready, soak, run
	Reason string   `json:"reason"`
	Lines  []string `json:"lines,omitempty"`
}

// heard is where the processes of a worker listen. It is replaced, never changed.
type heard struct {
	Addrs []string `json:"addrs"`
	Pids  []int    `json:"pids"` // of those that listen on a held socket
}

// up reports whether a process of the worker exists, or is about to by itself.
func (w *member) up() bool { return w.m.State.Alive() || w.m.State == state.Backoff }

func (w *member) disarm(k worker.Kind) {
	if t := w.timers[k].timer; t != nil {
		t.Stop()
	}
	w.timers[k] = armed{}
}

func (w *member) disarmAll() {
	for k := range w.timers {
		w.disarm(worker.Kind(k))
	}
}

// arm starts a timer that carries the incarnation it belongs to.
func (l *Loop) arm(w *member, k worker.Kind, after time.Duration) {
	l.armAt(w, k, l.now()+after)
}

// armAt is arm for an instant of the loop's clock; one that is past fires at once.
func (l *Loop) armAt(w *member, k worker.Kind, due time.Duration) {
	w.disarm(k)
	msg := timerMsg{w: w, kind: k, inc: w.m.Inc, seq: l.key()}
	w.timers[k] = armed{
		timer: time.AfterFunc(due-l.now(), func() { l.send(msg) }),
		seq:   msg.seq,
		due:   due,
	}
}

// add creates a worker of a generation in a slot; it is down until it is started.
func (l *Loop) add(a *app, g *generation, slot int) *member {
	w := &member{app: a, key: l.key(), slot: slot, gen: g}
	w.m.Policy = policy(g.spec)
	a.members = append(a.members, w)
	return w
}

// policy is what the machine needs of a spec.
func policy(s state.Spec) worker.Policy {
	return worker.Policy{
		ListenTimeout: s.ListenTimeout,
		Soak:          s.Soak,
		PreDrain:      s.PreDrain,
		KillTimeout:   s.KillTimeout,
		Force:         s.Reload.Force,
		Shed:          s.Mode == state.Cluster,
		Steered:       s.Steered(),
		AutoRestart:   s.AutoRestart,
		StopExitCodes: s.StopExitCodes,
		MinUptime:     s.MinUptime,
		MaxRestarts:   s.MaxRestarts,
		RestartDelay:  s.RestartDelay,
		ExpBackoff:    s.ExpBackoff,
	}
}

// infersAfter is for how long living has to stand for readiness: min_uptime where
// listening can't be seen, or nobody of the app ever listened (DESIGN section 5); 0:
// never. A program that was given a PORT is expected to listen: until the app is
// known not to, it has half its listen_timeout, or a server that boots slowly would
// be called online while it refuses.
func (w *member) infersAfter() time.Duration {
	s := w.gen.spec
	if s.WaitReady || s.Ready != nil {
		return 0
	}
	if s.Mode == state.Fork || !s.Intercept || w.app.unseen {
		return s.MinUptime
	}
	for _, g := range w.app.gens {
		if len(g.served) > 0 {
			return 0
		}
	}
	if s.Env["PORT"] != "" && !w.app.silent {
		return max(s.MinUptime, s.ListenTimeout/2)
	}
	return s.MinUptime
}

// serves reports whether listening on addr makes the worker ready: an address that
// the slot's workers of the generation in force served, or any where there were
// none or the program's world has changed. By slot, since each may have a port of
// its own (increment_var).
func (w *member) serves(addr string) bool {
	g := w.app.current()
	if g == nil || len(g.served[w.slot]) == 0 || !state.SameProgram(g.spec, w.gen.spec) {
		return true
	}
	return g.served[w.slot][addr]
}

// serve notes that a slot's worker of this generation listens on addr.
func (g *generation) serve(slot int, addr string) {
	if g.served[slot] == nil {
		g.served[slot] = map[string]bool{}
	}
	if !g.served[slot][addr] && len(g.served[slot]) < maxListens {
		g.served[slot][addr] = true
		g.known++
	}
}

// maxListens bounds what is kept of a worker that opens socket after socket, or
// forks listener after listener.
const maxListens = 256

// hear notes that a process of the worker listens on addr.
func (w *member) hear(pid int, addr string) {
	h := heard{w.listens(), w.listeners()}
	if !slices.Contains(h.Pids, pid) {
		if len(h.Pids) == maxListens {
			h.Pids = h.Pids[1:] // the oldest
		}
		h.Pids = append(slices.Clip(h.Pids), pid)
	}
	if !slices.Contains(h.Addrs, addr) && len(h.Addrs) < maxListens {
		h.Addrs = append(slices.Clip(h.Addrs), addr)
	}
	if len(h.Addrs) > len(w.listens()) || !slices.Contains(w.listeners(), pid) {
		w.heard = &h
	}
}

// listens are the addresses that the worker's processes listen on.
func (w *member) listens() []string {
	if w.heard == nil {
		return nil
	}
	return w.heard.Addrs
}

// listeners are the pids of those that do.
func (w *member) listeners() []int {
	if w.heard == nil {
		return nil
	}
	return w.heard.Pids
}

// order is by which the process in hand is started.
func (w *member) order() SpawnOrder {
	return SpawnOrder{
		ID: w.id, App: w.app.name, Slot: w.slot, Gen: w.gen.n, Inc: w.m.Inc,
		Spec: w.gen.spec, Launch: w.gen.launch,
	}
}
