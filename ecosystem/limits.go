package ecosystem

import (
	"math"
	"slices"

	"golang.org/x/sys/unix"

	"supervisor/supervisor/state"
)

// resource is one row of setrlimit(2).
type resource struct {
	name  string
	id    int
	bytes bool // sizes like 64M are taken
}

func resources() []resource {
	return []resource{
		{"as", unix.RLIMIT_AS, true},
		{"core", unix.RLIMIT_CORE, true},
		{"cpu", unix.RLIMIT_CPU, false},
		{"data", unix.RLIMIT_DATA, true},
		{"fsize", unix.RLIMIT_FSIZE, true},
		{"locks", unix.RLIMIT_LOCKS, false},
		{"memlock", unix.RLIMIT_MEMLOCK, true},
		{"msgqueue", unix.RLIMIT_MSGQUEUE, true},
		{"nice", unix.RLIMIT_NICE, false},
		{"nofile", unix.RLIMIT_NOFILE, false},
		{"nproc", unix.RLIMIT_NPROC, false},
		{"rss", unix.RLIMIT_RSS, true},
		{"rtprio", unix.RLIMIT_RTPRIO, false},
		{"rttime", unix.RLIMIT_RTTIME, false},
		{"sigpending", unix.RLIMIT_SIGPENDING, false},
		{"stack", unix.RLIMIT_STACK, true},
	}
}

// readLimits reads a map of resources to one limit or {soft, hard}.
func readLimits(v value) {
	all := resources()
	var known []string
	for _, r := range all {
		known = append(known, r.name)
	}
	var limits []state.Limit
	v.fields(known, func(key string, v value) {
		r := all[slices.Index(known, key)]
		l := state.Limit{Name: key, Resource: r.id}
		if v.n.kind != mapping {
			if v.limit(r, &l.Soft) {
				l.Hard = l.Soft
				limits = append(limits, l)
			}
			return
		}
		got := 0
		v.fields([]string{"soft", "hard"}, func(side string, v value) {
			into := &l.Soft
			if side == "hard" {
				into = &l.Hard
			}
			if v.limit(r, into) {
				got++
			}
		})
		switch {
		case v.n.get("soft") == nil || v.n.get("hard") == nil:
			v.fail("needs both soft and hard, or one limit for both")
		case got == 2 && l.Soft > l.Hard:
			v.fail("the soft limit is above the hard one")
		case got == 2:
			limits = append(limits, l)
		}
	})
	slices.SortFunc(limits, func(a, b state.Limit) int {
		return slices.Index(known, a.Name) - slices.Index(known, b.Name)
	})
	v.a.spec.Limits = limits
}

// limit reads a number, a size where the resource is one, or unlimited.
func (v value) limit(r resource, into *uint64) bool {
	if v.n.kind == scalar && (v.n.text == "unlimited" || v.n.text == "infinity") {
		*into = math.MaxUint64
		return true
	}
	if i, ok := v.n.parseInt(); ok && i >= 0 {
		*into = uint64(i)
		return true
	}
	if r.bytes && v.n.kind == scalar && v.n.tag == "!!str" {
		var size int64
		ok := v.size(&size)
		*into = uint64(size)
		return ok
	}
	v.expects("a number of 0 or more, or unlimited")
	return false
}
