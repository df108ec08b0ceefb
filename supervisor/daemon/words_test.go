package daemon

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"supervisor/supervisor/state"
)

func TestScaled(t *testing.T) {
	for _, c := range []struct {
		text string
		now  int
		want int // 0: an error
	}{
		{"3", 1, 3}, {"+2", 1, 3}, {"-1", 3, 2}, {"-3", 3, 0}, {"max", 1, usableCPUs()}, {"+0", 2, 2},
		{"+x", 1, 0}, {"", 1, 0}, {"1.5", 1, 0}, {"+99999999", 1, 0}, {"+9223372036854775807", 1, 0}, {"99999999", 1, 0},
	} {
		got, err := scaled(c.text, c.now)
		if (err != nil) != (c.want == 0) || err == nil && got != c.want {
			t.Errorf("scale %q from %d: %d, %v", c.text, c.now, got, err)
		}
	}
	if _, err := scaled("-9", 2); err == nil || !strings.Contains(err.Error(), "between 1 and") {
		t.Errorf("%v", err)
	}
}

func TestQuota(t *testing.T) {
	for text, want := range map[string]int{
		"max 100000": 0, "100000 100000": 1, "150000 100000\n": 2, "50000 100000": 1, "400000 100000": 4,
		"": 0, "1": 0, "-1 100000": 0, "1 0": 0, "a b": 0, "1 2 3": 0,
	} {
		if got, ok := parseQuota(text); got != want || ok != (want > 0) {
			t.Errorf("%q: %d, %v, want %d", text, got, ok, want)
		}
	}
}

func FuzzQuota(f *testing.F) {
	for _, text := range []string{"max 100000", "150000 100000\n", "9223372036854775807 2", "1 9223372036854775807"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if n, ok := parseQuota(text); ok && n < 1 {
			t.Errorf("%q: %d processors", text, n)
		}
	})
}

func TestLogPaths(t *testing.T) {
	w := &world{home: "/h"}
	for _, c := range []struct {
		name string
		spec state.Spec
		slot int
		want string
	}{
		{"default", state.Spec{Name: "web", Instances: 1}, 0, "/h/logs/web-out-0.log"},
		{"default, merged", state.Spec{Name: "web", Instances: 4, MergeLogs: true}, 3, "/h/logs/web-out.log"},
		{"a name with a slash", state.Spec{Name: "a/b", Instances: 1}, 0, "/h/logs/a_b-out-0.log"},
		{"given, one", state.Spec{Instances: 1, OutFile: "/l/x.log"}, 0, "/l/x.log"},
		{"given, two", state.Spec{Instances: 2, OutFile: "/l/x.log"}, 1, "/l/x-1.log"},
		{"given, two, no extension", state.Spec{Instances: 2, OutFile: "/l.d/x"}, 1, "/l.d/x-1"},
		{"given, two, merged", state.Spec{Instances: 2, OutFile: "/l/x.log", MergeLogs: true}, 1, "/l/x.log"},
		{"off", state.Spec{Instances: 2, OutFile: "/dev/null"}, 1, ""},
		{"a device", state.Spec{Instances: 2, OutFile: "/dev/stderr"}, 1, "/dev/stderr"},
	} {
		if got, _ := w.logPaths(c.spec, c.slot); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestUnlabel(t *testing.T) {
	for _, name := range []string{"web", "a:b", ""} {
		if app, slot := unlabel(label(name, 12)); app != name || slot != 12 {
			t.Errorf("%q: %q, %d", name, app, slot)
		}
	}
}

func TestSignals(t *testing.T) {
	if n, err := parseSignal("usr2"); err != nil || signalName(n) != "SIGUSR2" {
		t.Errorf("%d, %v", n, err)
	}
	if _, err := parseSignal("SIGWHAT"); err == nil || signalName(0) != "" {
		t.Error("an unknown signal is taken")
	}
}

func TestALaneKeepsTheOrderAndEnds(t *testing.T) {
	var all sync.WaitGroup
	l := &lane{all: &all}
	var got []int
	hold := make(chan struct{})
	l.push(func() { <-hold })
	for n := range 1000 {
		l.push(func() {
			got = append(got, n)
			if n == 500 { // from within, behind the others
				l.push(func() { got = append(got, -1) })
			}
		})
	}
	close(hold)
	all.Wait()
	if len(got) != 1001 || got[1000] != -1 {
		t.Fatalf("%d jobs, the last %d", len(got), got[len(got)-1])
	}
	for n := range 1000 {
		if got[n] != n {
			t.Fatalf("job %d came as number %d", got[n], n)
		}
	}
	if err := goleak.Find(); err != nil {
		t.Error(err)
	}
}

func TestOverridesStayUntilOthersAreGiven(t *testing.T) {
	f := &files{with: map[string]overrides{}, keep: func(func() map[string]overrides) {}}
	prod, four := "prod", "4"
	first := f.merged("/e", state.Request{EnvName: &prod, Instances: &four})
	if o := f.merged("/e", state.Request{}); o.EnvName != nil {
		t.Error("what was not remembered is used: a request that failed would count")
	}
	f.remember("/e", first, state.Request{})
	stage := "stage"
	if o := f.merged("/e", state.Request{EnvName: &stage}); *o.EnvName != "stage" || *o.Instances != "4" || o.Rename != nil {
		t.Errorf("%+v", o)
	}
	if o := f.merged("/other", state.Request{}); o.name() != "" {
		t.Error("another file has the overrides")
	}
}

func TestTheHistoryOfAllIsInTheOrderOfTime(t *testing.T) {
	receipt := func(name, at string) json.RawMessage {
		return json.RawMessage(fmt.Sprintf(`{"name":%q,"started_at":%q}`, name, at))
	}
	all := []json.RawMessage{
		receipt("a", "2026-01-01T00:00:01Z"), receipt("a", "2026-01-01T00:00:04Z"), json.RawMessage("torn"),
		receipt("b", "2026-01-01T00:00:02Z"), receipt("b", "2026-01-01T00:00:03Z"),
	}
	for n, want := range map[int]string{0: "abba", 1: "a", 2: "ba", 9: "abba"} {
		got := ""
		for _, raw := range newest(all, n) {
			var r state.Receipt
			json.Unmarshal(raw, &r)
			got += r.Name
		}
		if got != want {
			t.Errorf("the last %d: %s, want %s", n, got, want)
		}
	}
}

func TestFilesThatCannotBeRead(t *testing.T) {
	dir := t.TempDir()
	for path, want := range map[string]string{
		dir + "/none.yaml": "cannot read " + dir + "/none.yaml: no such file or directory; nothing was changed",
		dir:                "it is not a regular file",
		"/dev/zero":        "it is not a regular file",
	} {
		if _, err := (overrides{}).read(path, nil); err == nil || err.Code != state.ExitUsage || !strings.Contains(err.Message, want) {
			t.Errorf("%s: %v", path, err)
		}
	}
}
