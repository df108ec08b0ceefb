package daemon

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"supervisor/supervisor/control"
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
