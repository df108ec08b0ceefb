package daemon

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"supervisor/supervisor"
	"supervisor/supervisor/handover"
)

// aJournal is one that writes to a folder of its own, and what it says.
func aJournal(t *testing.T, dir string) (*journal, *[]string) {
	t.Helper()
	var work sync.WaitGroup
	var mu sync.Mutex
	said := &[]string{}
	j := newJournal(handover.Dir(dir), "this boot", func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		*said = append(*said, format)
	}, func() {}, &work)
	t.Cleanup(func() {
		j.rest(true)
		work.Wait()
	})
	return j, said
}

// readBack reads what a journal has written in dir.
func readBack(t *testing.T, dir string) (head, []byte) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, daemonFile))
	if err != nil {
		t.Fatal(err)
	}
	h, err := readHead(data, "this boot")
	if err != nil {
		t.Fatal(err)
	}
	return h, data
}

func TestTheJournalKeepsWhatTheLoopKnowsAndTheFilesTogether(t *testing.T) {
	dir := t.TempDir()
	j, _ := aJournal(t, dir)
	name := "production"
	j.note(func(h *head) { h.Begun = append(h.Begun, "request 1") })
	<-j.record([][]byte{[]byte(`{"apps":[`), []byte(`1,2`), []byte(`]}`)})
	<-j.change(func(h *head) { h.Files = map[string]overrides{"/e.yaml": {EnvName: &name}} })

	h, data := readBack(t, dir)
	if string(h.Loop) != `{"apps":[1,2]}` || *h.Files["/e.yaml"].EnvName != name || h.Begun[0] != "request 1" {
		t.Fatalf("read back: %s", data)
	}
	if got := string(j.now()); got != string(data) {
		t.Errorf("now: %s, on disk: %s", got, data)
	}
	info, err := os.Stat(filepath.Join(dir, daemonFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v: the environment of the apps is in it", info.Mode(), err)
	}
}

func TestAllWhoGaveSomethingAreAnsweredAndTheLastIsWritten(t *testing.T) {
	dir := t.TempDir()
	j, _ := aJournal(t, dir)
	var kept []<-chan struct{}
	for i := range 200 {
		part, _ := json.Marshal(i)
		kept = append(kept, j.record([][]byte{part}))
	}
	for _, k := range kept {
		<-k
	}
	data, _ := os.ReadFile(filepath.Join(dir, daemonFile))
	if h, err := readHead(data, "this boot"); err != nil || string(h.Loop) != "199" {
		t.Fatalf("%v: %s", err, data)
	}
}

func TestAStateThatCannotBeWrittenIsSaidOnceAndStopsNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	if err := os.WriteFile(dir, nil, 0o600); err != nil { // no folder can be made here
		t.Fatal(err)
	}
	j, said := aJournal(t, dir)
	<-j.record([][]byte{[]byte("1")})
	<-j.record([][]byte{[]byte("2")})
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	<-j.record([][]byte{[]byte("3")})
	if len(*said) != 2 || !strings.Contains((*said)[0], "the work goes on") || !strings.Contains((*said)[1], "kept again") {
		t.Fatalf("said %q", *said)
	}
}

// What a full disk has refused is written when there is room, though nothing happens.
func TestAStateThatCouldNotBeWrittenIsTriedAgain(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	j, _ := aJournal(t, dir)
	room := make(chan struct{}, 1)
	j.room = func() { room <- struct{}{} }
	<-j.record([][]byte{[]byte("1")})
	j.rest(true) // a successor has it
	j.retry()
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	j.retry()
	if _, err := os.Stat(filepath.Join(dir, daemonFile)); err == nil {
		t.Error("it was written by who had stepped back")
	}
	j.rest(false)
	j.retry()
	<-room
	data, err := os.ReadFile(filepath.Join(dir, daemonFile))
	if h, bad := readHead(data, "this boot"); err != nil || bad != nil || string(h.Loop) != "1" {
		t.Errorf("%s, %v, %v", data, err, bad)
	}
	j.rest(true)
}

// The sockets' file is tried again as well, by one timer however often it failed: a
// successor that does not find a socket there closes it.
func TestSocketsThatCouldNotBeWrittenAreTriedAgain(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, socketsFile, "in the way"), 0o700); err != nil {
		t.Fatal(err)
	}
	j, said := aJournal(t, dir)
	<-j.sockets([]byte("[1]"))
	first := j.again
	<-j.record([][]byte{[]byte("1")})
	<-j.sockets([]byte("[2]"))
	if first == nil || j.again != first || len(*said) != 1 {
		t.Errorf("timer %p, then %p; said %q", first, j.again, *said)
	}
	if err := os.RemoveAll(filepath.Join(dir, socketsFile)); err != nil {
		t.Fatal(err)
	}
	room := make(chan struct{}, 2)
	j.room = func() { room <- struct{}{} }
	j.retry()
	<-room
	if data, err := os.ReadFile(filepath.Join(dir, socketsFile)); err != nil || string(data) != "[2]" {
		t.Errorf("%s, %v", data, err)
	}
}

func TestAHeadOfAnotherTime(t *testing.T) {
	for _, c := range []struct {
		name, text string
		loop       bool
	}{
		{"of this boot", `{"schema":1,"boot_id":"this","last_id":3,"loop":{"a":1}}`, true},
		{"of another boot", `{"schema":1,"boot_id":"that","last_id":3,"loop":{"a":1}}`, false},
		{"closed", `{"schema":1,"boot_id":"this","closed":true,"last_id":3,"loop":{"a":1}}`, false},
	} {
		h, err := readHead([]byte(c.text), "this")
		if err != nil || h.LastID != 3 || (h.Loop != nil) != c.loop {
			t.Errorf("%s: %+v, %v", c.name, h, err)
		}
	}
	if _, err := readHead([]byte(`{"schema":99,"boot_id":"this"}`), "this"); !errors.As(err, new(supervisor.ErrNewer)) {
		t.Errorf("a newer one: %v", err)
	}
	if _, err := readHead([]byte(`[]`), "this"); err == nil {
		t.Error("no error for what is no state")
	}
}

func FuzzReadHead(f *testing.F) {
	f.Add([]byte(`{"schema":1,"boot_id":"this","loop":{"a":1}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		h, err := readHead(data, "this")
		if err == nil && h.Loop != nil && (h.Closed || h.Boot != "this") {
			t.Fatalf("accepted %+v", h)
		}
	})
}

// Once a successor has the state, only it writes: what changes later is written when the
// upgrade is given up.
func TestAJournalThatRestsWritesNoChange(t *testing.T) {
	dir := t.TempDir()
	j, _ := aJournal(t, dir)
	<-j.change(func(*head) {})
	stopping := func() bool {
		h, _ := readBack(t, dir)
		return h.Stopping
	}
	j.rest(true)
	<-j.change(func(h *head) { h.Stopping = true })
	j.work.Wait()
	if stopping() {
		t.Error("it was written")
	}
	j.rest(false)
	j.work.Wait()
	if !stopping() {
		t.Error("it is never written")
	}
}
