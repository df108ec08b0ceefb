package logs

import (
	"context"
	"os"
	"slices"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// succeed has another Set take over the one worker of s, which touches nothing any more.
func succeed(t *testing.T, s *Set, w Worker) *Set {
	t.Helper()
	pipes, _ := s.Pipes(w.ID)
	next, _ := newLooseSet(t)
	if err := next.Adopt(w, pipes.handed(t)); err != nil {
		t.Fatal(err)
	}
	return next
}

// A predecessor that is replaced goes on until it is told to rest, and may rotate a file that its successor has opened
// by then. What comes after goes to the new one all the same.
func TestRotationBetweenAdoptionAndStart(t *testing.T) {
	for name, format := range map[string]Format{"raw": {}, "text": hhmm} {
		t.Run(name, func(t *testing.T) {
			prefix := map[string]string{"raw": "", "text": "at: "}[name]
			w := Worker{ID: 1, Label: "a:0", Out: FileConfig{Path: t.TempDir() + "/out.log", MaxSize: 40, Format: format}}
			first, _ := newLooseSet(t)
			ends, err := first.Open(w)
			if err != nil {
				t.Fatal(err)
			}
			defer ends.Close()
			second := succeed(t, first, w)
			syscall.Write(ends.Stdout, []byte("one-------\ntwo-------\nthree-----\nfour------\n"))
			drain(t, first, 1)
			before := len(rotatedFiles(w.Out.Path))
			if before == 0 {
				t.Fatal("it was not rotated")
			}
			first.Quiesce()
			second.Start(1)
			syscall.Write(ends.Stdout, []byte("five\n"))
			drain(t, second, 1)
			if lines, _, err := TailAt(w.Out.Path, 2); err != nil || !slices.Equal(lines, []string{prefix + "four------", prefix + "five"}) {
				t.Errorf("%q %v", lines, err)
			}
			old := rotatedFiles(w.Out.Path)
			if data, _ := os.ReadFile(old[before-1]); len(data) > 40 {
				t.Errorf("%q was written to after its rotation", data)
			}
			data := readSet(t, w.Out.Path)
			var want string
			for _, line := range []string{"one-------", "two-------", "three-----", "four------", "five"} {
				want += prefix + line + "\n"
			}
			if string(data) != want {
				t.Errorf("%q, want %q", data, want)
			}
		})
	}
}

// followed are the texts of the next n lines.
func followed(t *testing.T, f *Follower, n int) (texts []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	for len(texts) < n {
		lines, err := f.Next(ctx)
		if err != nil {
			t.Fatalf("after %q: %v", texts, err)
		}
		for _, line := range lines {
			texts = append(texts, line.Text)
		}
	}
	return texts
}

// A line that is open in the file when the supervisor dies is shown as a whole when its end comes.
func TestFollowingALineThatADeathLeftOpen(t *testing.T) {
	for name, format := range map[string]Format{"raw": {}, "text": hhmm} {
		t.Run(name, func(t *testing.T) {
			prefix := map[string]string{"raw": "", "text": "at: "}[name]
			w := Worker{ID: 1, Label: "a:0", Out: FileConfig{Path: t.TempDir() + "/out.log", Format: format}}
			first, _ := newLooseSet(t)
			ends, err := first.Open(w)
			if err != nil {
				t.Fatal(err)
			}
			defer ends.Close()
			syscall.Write(ends.Stdout, []byte("whole\nop"))
			drain(t, first, 1)
			_, at, _ := TailAt(w.Out.Path, 0)
			first.Quiesce()
			second := succeed(t, first, w)
			second.Start(1)
			f := second.FollowFrom(Filter{}, Cursors{at}, Source{Path: w.Out.Path, Label: "a:0"})
			defer f.Close()
			now := second.Follow(Filter{})
			defer now.Close()
			syscall.Write(ends.Stdout, []byte("ened\nnext\n"))
			drain(t, second, 1)
			want := []string{prefix + "opened", prefix + "next"}
			if got := followed(t, f, 2); !slices.Equal(got, want) {
				t.Errorf("who came back got %q, want %q", got, want)
			}
			if got := followed(t, now, 2); !slices.Equal(got, want) {
				t.Errorf("who follows from now on got %q, want %q", got, want)
			}
		})
	}
}

// What an intent has written before a death is shown once: a client that comes back reads it in the file.
func TestFollowingOverAnIntent(t *testing.T) {
	for name, c := range map[string]struct{ there, others string }{
		"nothing is written":      {},
		"a line is written":       {there: "at: one\n"},
		"a part is written":       {there: "at: one\nat: tw"},
		"all is written":          {there: "at: one\nat: two\n"},
		"a part, and raw lines":   {there: "at: one\nat: t", others: "raw\n"},
		"a part, and an open one": {there: "at: one\nat: t", others: "raw"},
	} {
		t.Run(name, func(t *testing.T) {
			path := t.TempDir() + "/out.log"
			if err := os.WriteFile(path, []byte("at: zero\n"+c.there+c.others), 0o600); err != nil {
				t.Fatal(err)
			}
			var st unix.Stat_t
			unix.Stat(path, &st)
			sp, err := newSpool()
			if err != nil {
				t.Fatal(err)
			}
			syscall.Pwrite(sp.fd, []byte("one\ntwo\n"), spoolData)
			const begin = int64(len("at: zero\n"))
			sp.put(record{done: spoolData, raw: 8, at: begin, dev: st.Dev, ino: st.Ino, end: begin})
			sp.unmap()
			r, end, _, err := newPipe(false, 0, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(end)
			s, _ := newLooseSet(t)
			w := Worker{ID: 1, Label: "a:0", Out: FileConfig{Path: path, Format: hhmm}}
			if err := s.Adopt(w, Pipes{r, -1, sp.fd, -1}); err != nil {
				t.Fatal(err)
			}
			file := s.openFiles()[canonical(path)]
			file.call(func() error { file.own(); return nil }) // and it gets no further before the client is there
			id, _ := idOf(path)
			f := s.FollowFrom(Filter{}, Cursors{{path, id, begin}}, Source{Path: path, Label: "a:0"})
			defer f.Close()
			s.Start(1)
			syscall.Write(end, []byte("three\n"))
			drain(t, s, 1)
			data, _ := os.ReadFile(path)
			var want []string
			for _, line := range lastLines(data[begin:], 10) {
				want = append(want, line)
			}
			if got := followed(t, f, len(want)); !slices.Equal(got, want) {
				t.Errorf("%q, the file has %q", got, want)
			}
		})
	}
}

// A client may come back before the file of an adopted worker is looked at.
func TestFollowingBeforeTheFirstTurn(t *testing.T) {
	w := Worker{ID: 1, Label: "a:0", Out: FileConfig{Path: t.TempDir() + "/out.log"}}
	first, _ := newLooseSet(t)
	ends, err := first.Open(w)
	if err != nil {
		t.Fatal(err)
	}
	defer ends.Close()
	second := succeed(t, first, w)
	syscall.Write(ends.Stdout, []byte("one\ntwo\n"))
	drain(t, first, 1)
	first.Quiesce()
	file := second.openFiles()[canonical(w.Out.Path)]
	busy := make(chan struct{})
	file.post(func() { // until more is asked of it than to begin
		close(busy)
		for {
			file.inbox.mu.Lock()
			n := len(file.inbox.calls)
			file.inbox.mu.Unlock()
			if n > 1 {
				file.poke()
				return
			}
			<-file.inbox.wake
		}
	})
	<-busy
	second.Start(1)
	id, _ := idOf(w.Out.Path)
	f := second.FollowFrom(Filter{}, Cursors{{w.Out.Path, id, 4}}, Source{Path: w.Out.Path, Label: "a:0"})
	syscall.Write(ends.Stdout, []byte("three\n"))
	drain(t, second, 1)
	f.Close() // then Next ends with what there is
	var got []string
	for {
		lines, err := f.Next(t.Context())
		if err != nil {
			break
		}
		for _, line := range lines {
			got = append(got, line.Text)
		}
	}
	if !slices.Equal(got, []string{"two", "three"}) {
		t.Errorf("%q", got)
	}
}

// An open line of one worker that another's line ends is shown as it is in the file.
func TestFollowingALineThatAnotherEnds(t *testing.T) {
	s, _ := newSet(t)
	path := inDir(t, "out.log")
	cfg := FileConfig{Path: path, Format: hhmm}
	a, b := openOnly(t, s, 1, cfg), openOnly(t, s, 2, cfg)
	f := s.Follow(Filter{})
	defer f.Close()
	syscall.Write(a.Stdout, []byte("op"))
	drain(t, s, 1)
	syscall.Write(b.Stdout, []byte("other\n"))
	drain(t, s, 2)
	syscall.Write(a.Stdout, []byte("ened\n"))
	drain(t, s, 1)
	checkFile(t, path, "at: op\nat: other\nat: ened\n")
	if got, want := followed(t, f, 3), []string{"at: op", "at: other", "at: ened"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
