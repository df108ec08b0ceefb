package daemon

import (
	"os"
	"path/filepath"
	"sync"
	"testing"

	"supervisor/supervisor/state"
)

// Two files are started at once: what either was started with is kept, whichever comes to
// the journal last.
func TestTwoFilesThatAreRememberedAtOnceAreBothKept(t *testing.T) {
	var kept map[string]overrides
	second := false
	f := &files{with: map[string]overrides{}}
	f.keep = func(now func() map[string]overrides) {
		if !second { // it comes while the first is on its way
			second = true
			f.remember("/b.yaml", overrides{}, state.Request{})
		}
		kept = now()
	}
	f.remember("/a.yaml", overrides{}, state.Request{})
	if len(kept) != 2 {
		t.Errorf("%v", kept)
	}
}

// What a daemon takes over and what it changes are two things: the one is being written
// while the other changes.
func TestWhatWasTakenOverIsChangedWhileItIsWritten(t *testing.T) {
	dir := t.TempDir()
	j, _ := aJournal(t, dir)
	left := head{Files: map[string]overrides{"/a.yaml": {}}}
	j.head.Files = left.Files
	f := files{with: left.with(), keep: func(func() map[string]overrides) {}}
	var both sync.WaitGroup
	both.Go(func() {
		for range 1000 {
			j.record([][]byte{[]byte("1")})
		}
	})
	for range 1000 {
		f.remember("/b.yaml", overrides{}, state.Request{})
	}
	both.Wait()
	<-j.record([][]byte{[]byte("2")})
	data, err := os.ReadFile(filepath.Join(dir, daemonFile))
	if h, bad := readHead(data, "this boot"); err != nil || bad != nil || len(h.Files) != 1 {
		t.Errorf("%s, %v, %v", data, err, bad)
	}
}
