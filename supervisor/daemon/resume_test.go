package daemon

import (
	"slices"
	"testing"
	"time"

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

// The supervisor died before it began an app that is new in the file.
func TestAReloadThatIsSentAgainNamesWhatIsNotThere(t *testing.T) {
	leaktight(t)
	i := begin(t, Options{})
	one := "name: one\nargs: worker ready\nwait_ready: true"
	file := i.yaml(one)
	i.must(state.Request{Verb: state.VerbStart, File: file})
	req := state.Request{Verb: state.VerbReload, File: file, ID: "cut", Since: time.Now()}
	i.must(req)
	i.yaml(one, "name: two\nargs: worker ready\nwait_ready: true\ndepends_on: one")
	req.Resume = true
	res := i.do(req)
	var results []string
	for _, r := range res.Receipts {
		results = append(results, r.Name+" "+r.Result)
	}
	if !slices.Equal(results, []string{"one complete", "two skipped"}) || res.Error == nil {
		t.Errorf("%q, %v", results, res.Error)
	}
	i.kill()
}
