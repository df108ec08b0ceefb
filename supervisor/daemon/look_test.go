package daemon

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"supervisor/supervisor/control"
	"supervisor/supervisor/logs"
)

// A line that a worker has begun and not ended is its last word, until somebody follows:
// then it comes as a whole.
func TestAnOpenLineIsShown(t *testing.T) {
	path := filepath.Join(t.TempDir(), "web-out-0.log")
	if err := os.WriteFile(path, []byte("one\ntwo\nwaiting for the database"), 0o600); err != nil {
		t.Fatal(err)
	}
	for follow, want := range map[bool][]string{
		false: {"two", "waiting for the database"},
		true:  {"one", "two", ""}, // and the mark
	} {
		lines, _ := tail([]source{{app: "web", path: path}}, control.LogQuery{N: 2, Follow: follow})
		var got []string
		for _, l := range lines {
			got = append(got, l.Text)
		}
		if !slices.Equal(got, want) {
			t.Errorf("follow %v: %q, want %q", follow, got, want)
		}
	}
}

// A cursor says whose file it is in, also when that is no configured one any more.
func TestACursorNamesItsSource(t *testing.T) {
	at := logs.Cursor{Path: "/var/log/web-error-3.log", File: 7, Offset: 42}
	want := source{app: "web", slot: 3, stream: logs.Stderr, path: at.Path}
	from, in, err := cursorsOf([]string{want.cursor(at)})
	if got, ok := from.Of(at.Path); err != nil || !ok || got != at || !slices.Equal(in, []source{want}) {
		t.Errorf("%v, %v, %v; want %v in %v", from, in, err, at, want)
	}
	from, in, err = cursorsOf([]string{at.String()}) // of a build that did not say it
	if got, _ := from.Of(at.Path); err != nil || got != at || len(in) > 0 {
		t.Errorf("without a source: %v, %v, %v", from, in, err)
	}
	if _, _, err := cursorsOf([]string{"nowhere/out/web:0"}); err == nil {
		t.Error("nowhere is taken for a place")
	}
}

// Who goes on with the logs of an app that was deleted meanwhile is not sent away: it may
// come again. Who asks for them is.
func TestLogsOfAnAppThatIsGone(t *testing.T) {
	i := begin(t, Options{})
	client := control.Dial(filepath.Join(i.home, "supervisor.sock"))
	ask := func(cursors ...string) error {
		return client.Logs(t.Context(), control.LogQuery{Names: []string{"web"}, N: 1, Cursors: cursors}, func(l control.LogLine) bool {
			t.Errorf("%+v", l)
			return false
		})
	}
	if err := ask(); err == nil {
		t.Error("an app that nobody knows has logs")
	}
	at := logs.Cursor{Path: filepath.Join(i.home, "logs", "web-out-0.log"), File: 7, Offset: 42}
	if err := ask(source{app: "web", path: at.Path}.cursor(at)); err != nil {
		t.Error(err)
	}
	i.kill()
}
