package daemon

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"supervisor/supervisor/state"
)

// chain is one app after another: c waits for b, b for a; d for nobody.
func chain() []string {
	app := func(name, more string) string {
		return fmt.Sprintf("name: %s\nargs: [worker, ready]\ninstances: 2\nwait_ready: true\nlisten_timeout: 60s\n%s", name, more)
	}
	return []string{app("c", "depends_on: [b]"), app("b", "depends_on: [a]"), app("a", ""), app("d", "")}
}

// happened carries out a request and returns what its workers did, as "app what".
func (i *instance) happened(req state.Request) (state.Result, []string) {
	i.t.Helper()
	if req.Env == nil {
		req.Env = i.env()
	}
	var events []string
	res, err := i.client.Do(i.t.Context(), req, func(e state.Event) { events = append(events, e.App+" "+e.What) })
	if err != nil {
		i.t.Fatalf("%s: %v\n%s", req.Verb, err, i.log())
	}
	return res, events
}

// before fails unless the last of one kind of event came before the first of another.
func before(t *testing.T, events []string, one, other string) {
	t.Helper()
	first, last := slices.Index(events, other), -1
	for i, e := range events {
		if e == one {
			last = i
		}
	}
	if last < 0 || first < 0 || last > first {
		t.Errorf("%s is not before %s: %q", one, other, events)
	}
}

func TestAppsStartAndReloadAfterThoseTheyDependOnAndStopBeforeThem(t *testing.T) {
	leaktight(t)
	i := begin(t, Options{})
	file := i.yaml(chain()...)
	start := state.Request{Verb: state.VerbStart, File: file}
	for round, down := range []state.Request{{Verb: state.VerbStop}, {Verb: state.VerbDelete}, {Verb: state.VerbStop, Names: []string{"c", "b", "a"}}} {
		res, events := i.happened(start)
		if res.Error != nil {
			t.Fatal(res.Error)
		}
		before(t, events, "a ready", "b spawned")
		before(t, events, "b ready", "c spawned")
		res, events = i.happened(state.Request{Verb: state.VerbReload})
		if res.Error != nil || len(res.Receipts) != 4 {
			t.Fatalf("reload: %v, %d receipts", res.Error, len(res.Receipts))
		}
		before(t, events, "a gone", "b spawned")
		before(t, events, "b gone", "c spawned")
		res, events = i.happened(state.Request{Verb: state.VerbRestart})
		if res.Error != nil {
			t.Fatal(res.Error)
		}
		before(t, events, "a ready", "b draining")
		before(t, events, "b ready", "c draining")
		if res, events = i.happened(down); res.Error != nil {
			t.Fatalf("%d: %v", round, res.Error)
		}
		before(t, events, "c gone", "b draining")
		before(t, events, "b gone", "a draining")
	}
	i.must(start)
	_, events := i.happened(state.Request{Verb: state.VerbKill})
	before(t, events, "c gone", "b draining")
	before(t, events, "b gone", "a draining")
	i.ended()
	i.gone()
}

func TestWhatDependsOnAFailedAppIsSkippedAndNamed(t *testing.T) {
	leaktight(t)
	i := begin(t, Options{})
	good := chain()
	apps := slices.Clone(good)
	apps[1] = "name: b\nargs: [worker, crash]\nautorestart: false\ndepends_on: [a]"
	res := i.do(state.Request{Verb: state.VerbStart, File: i.yaml(apps...)})
	if res.Error == nil || res.Error.Code != state.ExitFailed || !strings.Contains(res.Error.Message, "cannot start b") {
		t.Fatalf("%+v", res.Error)
	}
	for _, s := range res.Started {
		want := map[string]string{"a": "started", "b": "started", "c": state.Skipped, "d": "started"}[s.Name]
		if s.Action != want || s.Name == "c" && s.Reason != "it depends on b, which failed" {
			t.Errorf("%+v", s)
		}
	}
	got := i.workers()
	if len(got["a"]) != 2 || len(got["c"]) != 0 || len(got["d"]) != 2 {
		t.Errorf("processes: %v", got)
	}
	_, events := i.happened(state.Request{Verb: state.VerbStart, File: i.yaml(good...)})
	before(t, events, "b ready", "c spawned")
	if slices.Contains(events, "a spawned") {
		t.Errorf("a was started again: %q", events)
	}
	i.kill()
}

func TestARestartedAppDoesNotRestartWhatDependsOnIt(t *testing.T) {
	leaktight(t)
	i := begin(t, Options{})
	i.must(state.Request{Verb: state.VerbStart, File: i.yaml(chain()...)})
	res, events := i.happened(state.Request{Verb: state.VerbRestart, Names: []string{"a"}})
	if res.Error != nil {
		t.Fatal(res.Error)
	}
	for _, e := range events {
		if !strings.HasPrefix(e, "a ") {
			t.Errorf("%q", events)
			break
		}
	}
	i.kill()
}

func TestANewOrderOfAppsReplacesNoWorker(t *testing.T) {
	leaktight(t)
	i := begin(t, Options{})
	apps := chain()
	i.must(state.Request{Verb: state.VerbStart, File: i.yaml(apps...)})
	old := i.workers()
	apps[3] += "\ndepends_on: [c]"
	i.must(state.Request{Verb: state.VerbStart, File: i.yaml(apps...)})
	if now := i.workers(); !slices.Equal(now["d"], old["d"]) {
		t.Errorf("%v became %v", old["d"], now["d"])
	}
	_, events := i.happened(state.Request{Verb: state.VerbStop})
	before(t, events, "d gone", "c draining")
	i.kill()
}

// Apps that leave the file go after those that depended on them have let go of them,
// and stay where that failed.
func TestARemovedAppGoesAfterThoseThatDependedOnIt(t *testing.T) {
	leaktight(t)
	i := begin(t, Options{})
	apps := chain()[:3]
	i.must(state.Request{Verb: state.VerbStart, File: i.yaml(apps...)})
	crash := "name: c\nargs: [worker, crash]\nautorestart: false"
	res := i.do(state.Request{Verb: state.VerbStart, File: i.yaml(crash, apps[2])})
	if res.Error == nil || len(i.workers()["b"]) != 2 {
		t.Fatalf("error %v, processes %v", res.Error, i.workers())
	}
	free := strings.Replace(apps[0], "depends_on: [b]", "env: {A: b}", 1)
	res, events := i.happened(state.Request{Verb: state.VerbStart, File: i.yaml(free)})
	if res.Error != nil {
		t.Fatal(res.Error)
	}
	before(t, events, "c ready", "b draining")
	before(t, events, "b gone", "a draining")
	i.kill()
}

func TestStepsInAnyOrderAreNeverADeadlock(t *testing.T) {
	spec := func(name string, on ...string) state.Spec { return state.Spec{Name: name, File: "f", DependsOn: on} }
	up := func(name string, on ...string) step {
		return step{app: name, to: spec(name, on...), was: spec(name, "x", "y")}
	}
	down := func(name string, on ...string) step {
		return step{app: name, was: spec(name, on...), drops: true}
	}
	steps := inOrder([]step{up("c", "b"), down("x", "y"), up("b", "a"), up("a"), down("y", "x")})
	var order []string
	for _, s := range steps {
		order = append(order, s.app)
	}
	if !slices.Equal(order, []string{"x", "y", "a", "b", "c"}) {
		t.Errorf("%q", order)
	}
	inTurn(afterwards(steps), func(int) {}) // returns
}
