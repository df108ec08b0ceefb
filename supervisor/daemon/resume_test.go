package daemon

import (
	"slices"
	"testing"
	"time"

	"supervisor/supervisor"
	"supervisor/supervisor/state"
)

// The supervisor died when one of two apps was deleted, or both were, and the client asks
// for the rest.
func TestADeleteThatIsSentAgain(t *testing.T) {
	leaktight(t)
	i := begin(t, Options{})
	i.must(state.Request{Verb: state.VerbStart, File: i.yaml("name: one\nargs: worker ready\nwait_ready: true", "name: two\nargs: worker ready\nwait_ready: true")})
	i.must(state.Request{Verb: state.VerbDelete, Names: []string{"one"}, ID: "half"})
	both := []string{"one", "two"}
	again := state.Request{Verb: state.VerbDelete, Names: both, ID: "half", Resume: true, Since: time.Now()}
	for range 2 {
		if res := i.must(again); !slices.Equal(res.Touched, both) {
			t.Errorf("%q", res.Touched)
		}
		if apps := i.list().Apps; len(apps) > 0 {
			t.Errorf("%+v", apps)
		}
	}
	if res := i.do(state.Request{Verb: state.VerbDelete, Names: both, ID: "new"}); res.Error == nil {
		t.Error("it deletes what was never there")
	}
	i.kill()
}

// The last receipt of an app is that of a request, or an older one.
func TestAReceiptOfARequest(t *testing.T) {
	since := time.Now()
	receipt := func(began time.Duration) *state.Receipt {
		return &state.Receipt{StartedAt: since.Add(began), DurationMS: 10}
	}
	for _, c := range []struct {
		name string
		last *state.Receipt
		want bool
	}{
		{"none", nil, false},
		{"an older one", receipt(-time.Hour), false},
		{"one that ended after it was sent", receipt(-9 * time.Millisecond), true},
		{"one that ended in that millisecond", receipt(-10 * time.Millisecond), true},
		{"one that began after it was sent", receipt(time.Millisecond), true},
	} {
		if endedSince(c.last, since) != c.want {
			t.Errorf("%s: not %v", c.name, c.want)
		}
	}
}

// results are those of a reload, as "app result".
func results(res state.Result) (all []string) {
	for _, r := range res.Receipts {
		all = append(all, r.Name+" "+r.Result)
	}
	return all
}

// The supervisor died, or was replaced, between two apps of a file: what is reloaded is not
// reloaded again, and the rest is, with the apps that are new.
func TestAReloadThatIsSentAgainGoesOn(t *testing.T) {
	leaktight(t)
	i := begin(t, Options{})
	app := func(name, more string) string {
		return "name: " + name + "\nargs: worker ready\nwait_ready: true" + more
	}
	file := i.yaml(app("one", ""), app("two", ""), app("idle", ""), app("old", ""))
	i.must(state.Request{Verb: state.VerbStart, File: file})
	i.must(state.Request{Verb: state.VerbStop, Names: []string{"idle"}})
	before := i.workers()
	req := state.Request{Verb: state.VerbReload, File: file, ID: "cut", Since: time.Now(), Only: []string{"one"}}
	i.must(req)
	reloaded := i.workers()["one"]
	i.yaml(app("one", ""), app("two", ""), app("idle", ""), app("new", "\ndepends_on: two"))
	req.Only, req.Resume = nil, true
	res := i.must(req)
	got := results(res)
	slices.Sort(got)
	if want := []string{"idle skipped", "one complete", "two complete"}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	now := i.workers()
	if !slices.Equal(now["one"], reloaded) || slices.Equal(now["two"], before["two"]) || len(now["new"]) != 1 || len(now["old"]) > 0 {
		t.Errorf("%v, then %v", before, now)
	}
	i.must(req)
	if again := i.workers(); !slices.Equal(again["one"], now["one"]) || !slices.Equal(again["two"], now["two"]) {
		t.Errorf("%v, then %v", now, again)
	}
	i.kill()
}

// One failed before the supervisor died: the rest is not begun.
func TestAReloadThatIsSentAgainEndsWithTheFirstFailure(t *testing.T) {
	leaktight(t)
	i := begin(t, Options{})
	two := "name: two\nargs: worker ready\nwait_ready: true"
	file := i.yaml("name: one\nargs: worker ready\nwait_ready: true", two)
	i.must(state.Request{Verb: state.VerbStart, File: file})
	before := i.workers()
	i.yaml("name: one\nargs: worker crash\nwait_ready: true", two, "name: new\nargs: worker ready\nwait_ready: true")
	req := state.Request{Verb: state.VerbReload, File: file, ID: "cut", Since: time.Now(), Only: []string{"one"}}
	if res := i.do(req); res.Error == nil {
		t.Error("it crashes")
	}
	req.Only, req.Resume = nil, true
	res := i.do(req)
	if got, want := results(res), []string{"one rolled_back", "two skipped", "new skipped"}; !slices.Equal(got, want) || res.Error == nil {
		t.Errorf("%q, %v", got, res.Error)
	}
	if now := i.workers(); !slices.Equal(now["two"], before["two"]) || len(now["new"]) > 0 {
		t.Errorf("%v, then %v", before, now)
	}
	i.kill()
}

// The supervisor was replaced, or died, on the way of a restart: what is restarted already
// is not restarted again, and the rest is.
func TestARestartThatIsSentAgainGoesOn(t *testing.T) {
	leaktight(t)
	i := begin(t, Options{})
	app := func(name string) string { return "name: " + name + "\nargs: worker ready\nwait_ready: true" }
	i.must(state.Request{Verb: state.VerbStart, File: i.yaml(app("one"), app("two"), app("idle"))})
	i.must(state.Request{Verb: state.VerbStop, Names: []string{"idle"}})
	before := i.workers()
	req := state.Request{Verb: state.VerbRestart, ID: "cut", Since: time.Now(), Names: []string{"one", "idle"}}
	i.must(req)
	restarted := i.workers()
	if slices.Equal(restarted["one"], before["one"]) || len(restarted["idle"]) != 1 {
		t.Fatalf("%v, then %v", before, restarted)
	}
	req.Names, req.Resume = nil, true
	for range 2 {
		res := i.must(req)
		if len(res.Started) != 3 {
			t.Errorf("%+v", res.Started)
		}
		for _, s := range res.Started {
			if !s.OK || s.Action != supervisor.Restarted {
				t.Errorf("%+v", s)
			}
		}
	}
	now := i.workers()
	if !slices.Equal(now["one"], restarted["one"]) || !slices.Equal(now["idle"], restarted["idle"]) || slices.Equal(now["two"], before["two"]) {
		t.Errorf("%v, then %v", restarted, now)
	}
	i.kill()
}
