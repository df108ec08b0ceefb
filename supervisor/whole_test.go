package supervisor

import (
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"
	"unsafe"

	"supervisor/supervisor/state"
	"supervisor/supervisor/worker"
)

// unrecorded are the fields that a restored loop does not have from the record, each with
// why. Every other field of what the loop knows is held against the living one.
var unrecorded = map[string]string{
	"Loop.info":    "of the daemon that asks",
	"Loop.inbox":   "of this life",
	"Loop.ended":   "of this life",
	"Loop.world":   "of this life",
	"Loop.clock":   "given anew",
	"Loop.born":    "of this life",
	"Loop.spawns":  "made of what is found (claim)",
	"Loop.subs":    "readers subscribe again",
	"Loop.seq":     "events are no part of the record",
	"Loop.closing": "the daemon has that it is ending on record",
	"Loop.pause":   "of this life",
	"Loop.book":    "made of the rest",
	"Loop.before":  "what a restored loop begins with",

	"app.image":      "made of the rest",
	"app.deleted":    "it isn't there",
	"unkept.text":    "made of the rest",
	"op.reply":       "who waited has gone",
	"op.earlier":     "of an answer to who has gone",
	"op.from":        "of an answer to who has gone",
	"starting.token": "what was being prepared is prepared again",
	"starting.image": "made of the rest",

	"roll.token":       "what was being prepared is prepared again",
	"roll.image":       "made of the rest",
	"row.edits":        "tells whether image is right",
	"row.image":        "made of the rest",
	"generation.image": "made of the rest",
	"member.image":     "made of the rest",
	"armed.timer":      "rearm makes it",
	"armed.seq":        "rearm makes it",
}

// audit compares what two loops know, field by field.
type audit struct {
	met    map[string]bool // fields that were something else than zero
	faults []string
}

// whole compares a loop with the one that was restored from its record.
func (u *audit) whole(living, restored *Loop) {
	u.same("", reflect.ValueOf(living), reflect.ValueOf(restored))
}

func (u *audit) fault(path string, a, b any) {
	u.faults = append(u.faults, fmt.Sprintf("%s is %v, restored %v", path, a, b))
}

func (u *audit) same(path string, a, b reflect.Value) {
	switch a.Kind() {
	case reflect.Pointer:
		if a.IsNil() != b.IsNil() {
			u.fault(path, a, b)
		} else if !a.IsNil() {
			u.same(path, a.Elem(), b.Elem())
		}
	case reflect.Struct:
		if a.Type() == reflect.TypeFor[time.Time]() {
			if x, y := exposed(a).Interface().(time.Time), exposed(b).Interface().(time.Time); !x.Equal(y) {
				u.fault(path, x, y)
			}
			return
		}
		u.fields(path, a, b)
	case reflect.Slice, reflect.Array:
		if a.Len() != b.Len() {
			u.fault(path, a, b)
			return
		}
		for i := range a.Len() {
			u.same(fmt.Sprintf("%s[%d]", path, i), a.Index(i), b.Index(i))
		}
	case reflect.Map:
		if a.Len() != b.Len() {
			u.fault(path, a, b)
			return
		}
		for _, key := range a.MapKeys() {
			if at := fmt.Sprintf("%s[%v]", path, key); !b.MapIndex(key).IsValid() {
				u.fault(at, a.MapIndex(key), "none")
			} else {
				u.same(at, a.MapIndex(key), b.MapIndex(key))
			}
		}
	case reflect.Bool, reflect.Int, reflect.Int64, reflect.Uint8, reflect.Uint64, reflect.String:
		if !a.Equal(b) {
			u.fault(path, a, b)
		}
	default:
		u.fault(path, a.Type(), "what nobody can compare")
	}
}

func (u *audit) fields(path string, a, b reflect.Value) {
	for i := range a.NumField() {
		field := a.Type().Field(i)
		name := a.Type().Name() + "." + field.Name
		if _, not := unrecorded[name]; not {
			continue
		}
		if !a.Field(i).IsZero() {
			u.met[name] = true
		}
		x, y, at := a.Field(i), b.Field(i), path+"."+field.Name
		switch name {
		case "member.app": // the way back
		case "member.gen":
			u.same(at, x.Elem().FieldByName("n"), y.Elem().FieldByName("n"))
		case "member.by": // of another rollout than the one under way nothing depends on it
			of, restored := exposed(a).Addr().Interface().(*member), exposed(b).Addr().Interface().(*member)
			if was, is := of.by != nil && of.by == of.app.roll, restored.by != nil && restored.by == restored.app.roll; was != is {
				u.fault(at, was, is)
			}
		case "app.asked": // of a rollout that is no more the answer is dropped
			of, restored := exposed(a).Addr().Interface().(*app), exposed(b).Addr().Interface().(*app)
			own := slices.DeleteFunc(slices.Clone(of.asked), func(r *roll) bool { return r != of.roll })
			if len(own) != len(restored.asked) || slices.ContainsFunc(restored.asked, func(r *roll) bool { return r != restored.roll }) {
				u.fault(at, len(own), len(restored.asked))
			}
		default:
			u.same(at, x, y)
		}
	}
}

// timely are the timers that may be armed in a state: a successor arms those on record for
// the incarnation that is on record, so none of an earlier one may be among them.
var timely = map[state.State][]worker.Kind{
	state.Starting: {worker.ReadyTimer, worker.InferTimer},
	state.Online:   {worker.SoakTimer, worker.UptimeTimer},
	state.Leaving:  {worker.DrainTimer},
	state.Stopping: {worker.KillTimer},
	state.Backoff:  {worker.DelayTimer},
}

// timers checks that no timer of a loop has outlived what it was armed for.
func (u *audit) timers(l *Loop) {
	for _, a := range l.apps {
		for _, w := range a.members {
			for _, k := range worker.Kinds {
				if w.timers[k].due != 0 && !slices.Contains(timely[w.m.State], k) {
					u.faults = append(u.faults, fmt.Sprintf("%s:%d is %s, and %s is armed", a.name, w.slot, w.m.State, k))
				}
			}
		}
	}
}

// exposed is a field's value as one that may be looked at by anyone.
func exposed(v reflect.Value) reflect.Value {
	return reflect.NewAt(v.Type(), unsafe.Pointer(v.UnsafeAddr())).Elem()
}

// chatter tells what workers say, and what is said of their app.
func (s *storm) chatter() {
	for range clients * commands {
		time.Sleep(time.Duration(s.pick(1000)) * ms)
		id := uint64(100 + s.pick(1+s.spawns()))
		for _, f := range []Fact{Said{ID: id, Text: fmt.Sprint("working on ", id)}, Noted{App: "web", Text: "a port is taken"}} {
			s.current().Tell(f)
		}
		if s.pick(20) == 0 {
			s.current().Tell(Unseen{App: "web", Note: "listeners can't be shared unseen"})
		}
	}
}

// recordable are the fields of what the loop knows.
func recordable() (names []string) {
	for _, of := range []any{Loop{}, app{}, unkept{}, op{}, starting{}, roll{}, row{}, generation{}, member{}, armed{},
		end{}, failure{}, heard{}, gates{}} {
		typ := reflect.TypeOf(of)
		for i := range typ.NumField() {
			names = append(names, typ.Name()+"."+typ.Field(i).Name)
		}
	}
	return names
}

// Whoever adds a field to what the loop knows puts it on record, or says above why not.
func TestNoFieldIsMissingInTheRecord(t *testing.T) {
	all := &audit{met: map[string]bool{}}
	lacking := recordable()
	for name := range unrecorded {
		if !slices.Contains(lacking, name) {
			t.Errorf("%s: there is no such field", name)
		}
	}
	const few, most = 6, 1000 // histories; some fields are rare
	for seed := uint64(0); seed < few || len(lacking) > 0 && seed < most; seed++ {
		scene(t, func(site *site) {
			s := newStorm(site, seed, 5)
			s.world.audit, s.deadly = all, seed%2 > 0
			s.under(s.chatter)
			s.sleep(time.Minute) // what was asked for has been prepared
		})
		lacking = slices.DeleteFunc(lacking, func(name string) bool {
			_, not := unrecorded[name]
			return not || all.met[name]
		})
	}
	if len(lacking) > 0 {
		t.Errorf("never anything, so nobody knows whether it is on record: %q", lacking)
	}
}
