package daemon

import (
	"log"
	"slices"
	"strings"
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
	again := i.must(req)
	if !slices.ContainsFunc(again.Started, func(s state.StartedApp) bool { return s.Name == "new" && s.OK && s.Action == supervisor.Started }) {
		t.Errorf("%+v", again.Started)
	}
	if again := i.workers(); !slices.Equal(again["one"], now["one"]) || !slices.Equal(again["two"], now["two"]) || !slices.Equal(again["new"], now["new"]) {
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

// A scale is done once, however often it is sent, and says each time that it was.
func TestAScaleThatIsSentAgain(t *testing.T) {
	leaktight(t)
	i := begin(t, Options{})
	i.must(state.Request{Verb: state.VerbStart, File: i.yaml("name: one\nargs: worker ready\nwait_ready: true")})
	scale := func(id, count string) state.Request {
		return state.Request{Verb: state.VerbScale, Names: []string{"one"}, Count: count, ID: id}
	}
	again := func(id, count string) state.Request {
		req := scale(id, count)
		req.Resume, req.Since = true, time.Now()
		return req
	}
	scaled := func(req state.Request, to int) {
		t.Helper()
		res := i.must(req)
		if len(res.Started) != 1 || res.Started[0].Action != supervisor.Scaled || len(i.workers()["one"]) != to {
			t.Errorf("%s: %+v, %v", req.ID, res.Started, i.workers())
		}
	}
	scaled(scale("up", "+1"), 2)
	scaled(again("up", "+1"), 2)
	scaled(scale("back", "1"), 1)
	scaled(again("back", "1"), 1)
	scaled(again("up", "+1"), 2) // as if it had only been begun
	i.must(scale("other", "+2"))
	if res := i.do(again("up", "+1")); res.Error == nil || len(i.workers()["one"]) != 4 {
		t.Errorf("it was scaled by somebody else: %+v, %v", res, i.workers())
	}
	i.kill()
}

// A start that is sent again says what it has done, not that there was nothing to do; a
// release that is bad is not tried again.
func TestAStartThatIsSentAgainTellsWhatItHasDone(t *testing.T) {
	leaktight(t)
	i := begin(t, Options{})
	app := func(args string) string { return "name: one\nargs: worker " + args + "\nwait_ready: true" }
	start := func(id string) (first, again state.Result) {
		req := state.Request{Verb: state.VerbStart, File: i.yaml(app("ready")), ID: id, Since: time.Now()}
		if id == "bad" {
			i.yaml(app("crash"))
		} else if id == "changed" {
			i.yaml(app("ready") + "\nenv: {A: 1}")
		}
		first = i.do(req)
		before := i.list().Apps[0].Workers
		req.Resume = true
		again = i.do(req)
		if after := i.list().Apps[0].Workers; after[0].PID != before[0].PID {
			t.Errorf("%s: pid %d, then %d", id, before[0].PID, after[0].PID)
		}
		return first, again
	}
	for _, c := range [][2]string{{"new", supervisor.Started}, {"changed", supervisor.Reloaded}} {
		if first, again := start(c[0]); first.Error != nil || again.Error != nil || first.Started[0].Action != c[1] || again.Started[0].Action != c[1] {
			t.Errorf("%s: %+v, then %+v", c[0], first.Started, again.Started)
		}
	}
	first, again := start("bad")
	if again.Error == nil || again.Error.Message != first.Error.Message || !slices.Equal(results(again), []string{"one rolled_back"}) {
		t.Errorf("%+v, then %+v, %v", first.Error, again.Error, again.Receipts)
	}
	history, err := i.client.History(t.Context(), "one", 0)
	if err != nil || len(history) != 2 {
		t.Errorf("%v: %d reloads", err, len(history))
	}
	i.kill()
}

// Everything is deleted, and who asked for it is told of all of it.
func TestADeleteOfAllThatIsSentAgain(t *testing.T) {
	leaktight(t)
	i := begin(t, Options{})
	i.must(state.Request{Verb: state.VerbStart, File: i.yaml("name: one\nargs: worker ready\nwait_ready: true", "name: two\nargs: worker ready\nwait_ready: true")})
	req := state.Request{Verb: state.VerbDelete, ID: "all", Since: time.Now()}
	for range 2 {
		res := i.must(req)
		if slices.Sort(res.Touched); !slices.Equal(res.Touched, []string{"one", "two"}) {
			t.Errorf("%q", res.Touched)
		}
		req.Resume = true
	}
	i.kill()
}

// An upgrade that is given up has cut the answer to a request that is in work still: its
// client asks again, and nothing is done beside it.
func TestARequestThatIsSentAgainWhileItIsInWork(t *testing.T) {
	leaktight(t)
	i := begin(t, Options{})
	file := i.yaml("name: one\nargs: worker ready\nwait_ready: true", "name: two\nargs: worker stubborn\nwait_ready: true\nkill_timeout: 300ms\ndepends_on: one")
	i.must(state.Request{Verb: state.VerbStart, File: file})
	req := state.Request{Verb: state.VerbReload, File: file, ID: "twice", Since: time.Now(), Env: i.env()}
	begun, got := make(chan struct{}, 1), make(chan state.Result, 1)
	go func() { // ends with the request
		res, err := i.client.Do(t.Context(), req, func(state.Event) {
			select {
			case begun <- struct{}{}:
			default:
			}
		})
		if err != nil {
			t.Error(err)
		}
		got <- res
	}()
	<-begun
	req.Resume = true
	second, first := i.must(req), <-got
	if want := []string{"one complete", "two complete"}; !slices.Equal(results(first), want) || !slices.Equal(results(second), want) {
		t.Errorf("%q and %q", results(first), results(second))
	}
	if history, err := i.client.History(t.Context(), "", 0); err != nil || len(history) != 2 {
		t.Errorf("%v: %d reloads", err, len(history))
	}
	i.kill()
}

// What nobody waits for is not begun again for ever: each supervisor may die of it.
func TestARequestThatEndsEverySupervisorIsGivenUp(t *testing.T) {
	j, _ := aJournal(t, t.TempDir())
	j.head.Own = []owned{{Request: state.Request{Verb: state.VerbReload, ID: "deadly"}, Lives: maxLives}}
	var said strings.Builder
	d := &daemon{log: log.New(&said, "", 0), world: &world{journal: j}}
	d.resumeOwn()
	if len(j.head.Own) > 0 || !strings.Contains(said.String(), "reload: 11 supervisors have ended during it") {
		t.Errorf("%+v, %q", j.head.Own, said.String())
	}
}
