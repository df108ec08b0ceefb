package crash

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// order is a command whose answer is outstanding when the supervisor is replaced, or dies.
type order struct {
	name  string
	args  []string
	begin func()       // instead of a command, or nil
	about []*app       // no other order is about these at that time
	code  int          // its exit code
	says  []string     // lines that it prints
	mean  func()       // makes the apps what they are to be then, or nil
	spawn map[*app]int // how many workers it brings
	tells map[*app]int // how many are sent SIGUSR1
	all   []*app       // that have no worker then that they had before
	after func()       // what is to be done at last, or nil
}

// draw draws orders that go beside each other.
func (b *board) draw() (all []order) {
	if b.random.IntN(3) == 0 {
		return []order{b.everything()}
	}
	apps := slices.Clone(b.apps)
	b.random.Shuffle(len(apps), func(i, j int) { apps[i], apps[j] = apps[j], apps[i] })
	for _, a := range apps[:1+b.random.IntN(len(apps))] {
		all = append(all, b.one(a))
	}
	return all
}

// one is an order about one app.
func (b *board) one(a *app) order {
	self := []*app{a}
	switch {
	case a.absent:
		args := []string{"start", "ecosystem.yaml", "--only", a.name}
		if a.alone {
			args = []string{"start", a.script, "--name", a.name}
		}
		return order{name: "start anew", args: args, about: self, says: each(self, "started"),
			spawn: map[*app]int{a: a.written}, mean: func() { bring(self) }}
	case a.stopped:
		return order{name: "start", args: []string{"start", a.name}, about: self, says: each(self, "started"),
			spawn: counts(self), mean: func() { a.stopped = false }}
	}
	o := b.change(a, self)
	o.about = self
	return o
}

// change is an order about an app that runs.
func (b *board) change(a *app, self []*app) order {
	only := []string{"start", "ecosystem.yaml", "--only", a.name}
	switch kind := b.random.IntN(16); {
	case kind == 0:
		return order{name: "reload", args: []string{"reload", a.name}, spawn: counts(self), all: self}
	case kind == 1:
		return order{name: "reload --env", args: []string{"reload", a.name, "--env", "other"}, spawn: counts(self), all: self}
	case kind <= 3:
		return order{name: "restart", args: []string{"restart", a.name}, says: each(self, "restarted"), spawn: counts(self), all: self}
	case kind == 4:
		return order{name: "stop", args: []string{"stop", a.name}, says: each(self, "stopped"), mean: func() { a.stopped = true }}
	case kind == 5:
		return order{name: "delete", args: []string{"delete", a.name}, says: each(self, "deleted"), mean: func() { a.absent = true }}
	case kind == 6:
		return scaled(a, a.instances+1, "+1")
	case kind == 7 && a.instances > 1:
		return scaled(a, a.instances-1, "-1")
	case kind == 8:
		n := 1 + b.random.IntN(4)
		return scaled(a, n, fmt.Sprint(n))
	case kind <= 10:
		return order{name: "signal", args: []string{"signal", "USR1", a.name}, says: each(self, "USR1 sent"), tells: counts(self)}
	case kind == 11:
		return order{name: "reset", args: []string{"reset", a.name}, says: each(self, "counters reset")}
	case kind == 12 && !a.alone:
		b.changes++
		a.env = fmt.Sprintf("%s, CHANGE: v%d", quick, b.changes)
		return order{name: "start changed", args: only, says: each(self, "reloaded"), spawn: counts(self), all: self}
	case kind <= 14 && !a.alone:
		a.mode = "crash"
		args := [][]string{{"reload", a.name}, only}[b.random.IntN(2)]
		return order{name: args[0] + " of a bad release", args: args, code: 1, spawn: map[*app]int{a: 1}, after: func() { a.mode = "" }}
	}
	args := [][]string{{"describe", a.name}, {"list"}, {"history", a.name}, {"ping"}, {"logs", a.name, "-n", "3"}}[b.random.IntN(5)]
	return order{name: args[0], args: args}
}

// scaled is a scale of one app to a number of workers, as it is typed.
func scaled(a *app, to int, typed string) order {
	says := "scaled"
	if to == a.instances {
		says = "unchanged"
	}
	return order{name: "scale " + typed, args: []string{"scale", a.name, typed}, says: each([]*app{a}, says),
		spawn: map[*app]int{a: max(0, to-a.instances)}, mean: func() { a.instances = to }}
}

// everything is an order about all apps.
func (b *board) everything() order {
	up := b.where(func(a *app) bool { return !a.absent && !a.stopped })
	known := b.where(func(a *app) bool { return !a.absent })
	missing := b.where(func(a *app) bool { return a.absent && !a.alone })
	var o order
	switch kind := b.random.IntN(11); {
	case kind <= 3:
		o = order{name: "reload", args: []string{"reload"}, spawn: counts(up), all: up}
		switch kind {
		case 1:
			o.args = append(o.args, "--parallel", "3")
		case 2, 3:
			o.name, o.begin = "SIGHUP", func() { b.daemon().Signal(unix.SIGHUP) }
		}
		if len(missing) < 3 { // an app of the file is known: its others are brought
			for _, a := range missing {
				o.spawn[a] = a.written
			}
			o.mean = func() { bring(missing) }
		}
	case kind == 4:
		o = order{name: "restart", args: []string{"restart"}, says: each(known, "restarted"), spawn: counts(known), all: known, mean: func() { set(known, false) }}
		if len(up) < len(known) {
			o.says = nil // those are started
		}
	case kind == 5:
		o = order{name: "stop", args: []string{"stop"}, says: each(known, "stopped"), mean: func() { set(known, true) }}
	case kind == 6:
		o = order{name: "delete", args: []string{"delete"}, says: each(known, "deleted"), mean: func() { remove(known) }}
	case kind == 7 && len(up) > 0:
		o = order{name: "signal", args: []string{"signal", "USR1"}, says: each(up, "USR1 sent"), tells: counts(up)}
		for _, a := range up {
			o.args = append(o.args, a.name)
		}
	case kind == 8:
		o = order{name: "kill", args: []string{"kill"}, says: []string{"the daemon has ended, and every app with it"}, after: b.startAgain}
	case kind == 9:
		o = order{name: "reload --dry-run", args: []string{"reload", "--dry-run"}}
	default:
		down := b.where(func(a *app) bool { return !a.alone && a.stopped && !a.absent })
		o = order{name: "start", args: []string{"start"}, says: each(append(slices.Clone(down), missing...), "started"),
			spawn: counts(down), mean: func() { set(down, false); bring(missing) }}
		for _, a := range missing {
			o.spawn[a] = a.written
		}
	}
	o.about = b.apps
	return o
}

// startAgain starts the file after a kill.
func (b *board) startAgain() {
	b.Must("kill") // where a death has cut it short
	b.Must("start")
	remove(b.apps)
	inFile := b.where(func(a *app) bool { return !a.alone })
	bring(inFile)
	for _, a := range inFile {
		b.spawned[a] += a.written
	}
}

func (b *board) where(is func(*app) bool) (apps []*app) {
	return slices.DeleteFunc(slices.Clone(b.apps), func(a *app) bool { return !is(a) })
}

// bring makes apps what a first start of them comes to.
func bring(apps []*app) {
	for _, a := range apps {
		a.absent, a.stopped, a.instances = false, false, a.written
	}
}

func set(apps []*app, stopped bool) {
	for _, a := range apps {
		a.stopped = stopped
	}
}

func remove(apps []*app) {
	for _, a := range apps {
		a.absent, a.stopped = true, false
	}
}

// counts are the workers that apps have, or would have.
func counts(apps []*app) map[*app]int {
	n := map[*app]int{}
	for _, a := range apps {
		n[a] = a.instances
	}
	return n
}

// each is a line for each app.
func each(apps []*app, text string) (lines []string) {
	for _, a := range apps {
		lines = append(lines, a.name+": "+text)
	}
	return lines
}
