package logs

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
)

func TestEveryLineOnce(t *testing.T) {
	for _, mode := range []string{"lines", "bulk"} {
		t.Run(mode, func(t *testing.T) {
			s, facts := newSet(t)
			path := inDir(t, "out.log")
			never := FileConfig{Path: path, MaxSize: -1}
			spawn(t, s, Worker{ID: 1, Label: "a:0", Out: never}, mode+" a 100000").wait()
			if err := s.Drain(1); err != nil {
				t.Fatal(err)
			}
			checkLines(t, readSet(t, path), 100000, "a")
			if f := facts.list(); len(f) > 0 {
				t.Error(f)
			}
			if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
				t.Error(st.Mode(), err)
			}
		})
	}
}

// Old and new worker of a slot, or merge_logs: many workers, one file.
func TestWritersShareAFile(t *testing.T) {
	s, _ := newSet(t)
	cfg := FileConfig{Path: inDir(t, "out.log"), MaxSize: -1}
	var ps []*process
	ids := []string{"a", "b", "c", "d"}
	for i, id := range ids {
		ps = append(ps, spawn(t, s, Worker{ID: uint64(i), Label: id, Out: cfg}, "lines "+id+" 50000"))
	}
	for i, p := range ps {
		p.wait()
		if err := s.Finish(uint64(i)); err != nil {
			t.Fatal(err)
		}
	}
	checkLines(t, readSet(t, cfg.Path), 50000, ids...)
}

// One pipe for both streams keeps their order.
func TestStdoutAndStderrInOneFile(t *testing.T) {
	s, _ := newSet(t)
	cfg := FileConfig{Path: inDir(t, "out.log"), MaxSize: -1}
	spawn(t, s, Worker{ID: 1, Label: "a:0", Out: cfg, Err: cfg}, "both a 20000").wait()
	if err := s.Finish(1); err != nil {
		t.Fatal(err)
	}
	checkLines(t, readSet(t, cfg.Path), 20000, "a")
}

func TestLastLinesAfterCrash(t *testing.T) {
	s, _ := newSet(t)
	for i, out := range []FileConfig{{}, {Path: os.DevNull}, {Path: inDir(t, "out.log")}} {
		id := uint64(i)
		spawn(t, s, Worker{ID: id, Label: "a:0", Out: out}, "say a 0 one \x1b[31mtwo\x1b[0m th\x01ree").wait()
		if err := s.Drain(id); err != nil {
			t.Fatal(err)
		}
		want := []string{"one", "two", `th\x01ree`} // the last has no newline
		if got := s.LastLines(id, 20); !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
		if err := s.Finish(id); err != nil {
			t.Fatal(err)
		}
		if got := s.LastLines(id, 2); !slices.Equal(got, want[1:]) {
			t.Errorf("after Finish: %q, want %q", got, want[1:])
		}
		s.Forget(id)
		if got := s.LastLines(id, 2); got != nil {
			t.Errorf("after Forget: %q", got)
		}
	}
}

func TestOpenLineIsWrittenAfterAWhile(t *testing.T) {
	s, _ := newSet(t)
	path := inDir(t, "out.log")
	w := Worker{ID: 1, Label: "a:0", Out: FileConfig{Path: path}}
	ends, err := s.Open(w)
	if err != nil {
		t.Fatal(err)
	}
	defer ends.Close()
	s.Start(1)
	follower := s.Follow(Filter{})
	defer follower.Close()
	syscall.Write(ends.Stdout, []byte("begin"))
	awaitFile(t, path, "begin")
	syscall.Write(ends.Stdout, []byte(" end\nnext"))
	awaitFile(t, path, "begin end\nnext")
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	lines, err := follower.Next(ctx)
	if err != nil || len(lines) != 1 || lines[0].Text != "begin end" {
		t.Fatal(lines, err)
	}
	if got := s.LastLines(1, 5); !slices.Equal(got, []string{"begin end", "next"}) {
		t.Errorf("%q", got)
	}
}

// A grandchild that holds the worker's pipes hangs neither Drain nor Finish.
func TestGrandchildHoldsThePipe(t *testing.T) {
	s, _ := newSet(t)
	path := inDir(t, "out.log")
	p := spawn(t, s, Worker{ID: 1, Label: "a:0", Out: FileConfig{Path: path}}, "child a 0")
	awaitFile(t, path, "held\n") // the grandchild runs
	if _, err := p.cmd.Process.Wait(); err != nil {
		t.Fatal(err)
	}
	if err := s.Drain(1); err != nil {
		t.Fatal(err)
	}
	if err := s.Finish(1); err != nil {
		t.Fatal(err)
	}
	p.stdin.Close()
}

func TestOpenRefuses(t *testing.T) {
	s, _ := newSet(t)
	before := countFDs(t)
	dir := t.TempDir()
	for _, w := range []Worker{
		{ID: 1, Label: "a:0", Out: FileConfig{Path: dir}},
		{ID: 1, Label: "a:0", Out: FileConfig{Path: dir + "/x"}, Err: FileConfig{Path: dir}},
		{ID: 1, Label: "a:0", Out: FileConfig{Path: "/proc/nowhere/x"}},
		{ID: 1, Label: "a:0", Out: FileConfig{Path: "/dev/zero"}},
	} {
		_, err := s.Open(w)
		if err == nil || !strings.Contains(err.Error(), "a:0") {
			t.Errorf("%v: %v", w, err)
		}
	}
	if after := countFDs(t); after != before+2 { // a scratch pipe was made
		if after != before {
			t.Errorf("%d descriptors before, %d after", before, after)
		}
	}
}

// A worker that owns the folder can't lead us elsewhere by a symlink.
func TestSymlinkThatAppearsLater(t *testing.T) {
	s, _ := newSet(t)
	dir := t.TempDir()
	path, elsewhere := dir+"/out.log", dir+"/elsewhere"
	ends := openOnly(t, s, 1, FileConfig{Path: path})
	for _, exists := range []bool{false, true} {
		os.Remove(path)
		if err := os.Symlink(elsewhere, path); err != nil {
			t.Fatal(err)
		}
		if err := s.Reopen(); !errors.Is(err, syscall.ELOOP) {
			t.Errorf("exists: %v: %v", exists, err)
		}
		syscall.Write(ends.Stdout, []byte("hello\n"))
		drain(t, s, 1)
		if st, err := os.Stat(elsewhere); err == nil && st.Size() > 0 {
			t.Error("followed")
		}
		if err := os.WriteFile(elsewhere, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// One that is there from the start is followed, and its target has one writer under both names.
func TestSymlinkIsFollowed(t *testing.T) {
	s, _ := newSet(t)
	dir := t.TempDir()
	if err := errors.Join(os.WriteFile(dir+"/real", nil, 0o600), os.Symlink("real", dir+"/link")); err != nil {
		t.Fatal(err)
	}
	ends := openOnly(t, s, 1, FileConfig{Path: dir + "/link"})
	openOnly(t, s, 2, FileConfig{Path: dir + "/real"})
	if n := len(s.openFiles()); n != 1 {
		t.Errorf("%d files", n)
	}
	syscall.Write(ends.Stdout, []byte("hello\n"))
	drain(t, s, 1)
	checkFile(t, dir+"/real", "hello\n")
}

func TestQuiesceUnderFlood(t *testing.T) {
	s, _ := newSet(t)
	cfg := FileConfig{Path: inDir(t, "out.log"), MaxSize: -1}
	p := spawn(t, s, Worker{ID: 1, Label: "a:0", Out: cfg}, "lines a 100000")
	for range 50 {
		s.Quiesce()
		before := size(t, cfg.Path)
		if err := s.Drain(1); !errors.Is(err, ErrQuiesced) {
			t.Fatal(err)
		}
		if after := size(t, cfg.Path); after != before {
			t.Fatalf("written while quiesced: %d, %d", before, after)
		}
		s.Resume()
	}
	p.wait()
	if err := s.Finish(1); err != nil {
		t.Fatal(err)
	}
	checkLines(t, readSet(t, cfg.Path), 100000, "a")
}

func TestCloseWhileQuiescedMovesNothing(t *testing.T) {
	s, _ := newSet(t)
	path := inDir(t, "out.log")
	ends, err := s.Open(Worker{ID: 1, Label: "a:0", Out: FileConfig{Path: path}})
	if err != nil {
		t.Fatal(err)
	}
	defer ends.Close()
	s.Start(1)
	s.Quiesce()
	syscall.Write(ends.Stdout, []byte("for the successor\n"))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if n := size(t, path); n != 0 {
		t.Errorf("%d bytes written", n)
	}
}

// Nothing a flooding worker does grows memory or keeps another one waiting.
func TestFlood(t *testing.T) {
	s, _ := newSet(t)
	cfg := FileConfig{Path: inDir(t, "out.log"), MaxSize: 1 << 20, MaxFiles: 2}
	flood := spawn(t, s, Worker{ID: 1, Label: "flood:0", Out: cfg}, "forever f 0")
	endless := FileConfig{Path: inDir(t, "g.log"), MaxSize: 1 << 20}
	garbage := spawn(t, s, Worker{ID: 2, Label: "garbage:0", Out: endless}, "garbage g 16384")
	quiet := FileConfig{Path: inDir(t, "quiet.log")}
	slow := s.Follow(Filter{}) // never read
	defer slow.Close()
	spawn(t, s, Worker{ID: 3, Label: "quiet:0", Out: quiet, Err: cfg}, "lines q 5000").wait()
	if err := s.Finish(3); err != nil {
		t.Fatal(err)
	}
	checkLines(t, readSet(t, quiet.Path), 5000, "q")
	garbage.wait()
	if got := s.LastLines(1, 3); len(got) != 3 {
		t.Errorf("%q", got)
	}
	slow.mu.Lock()
	if slow.bytes > followBytes {
		t.Errorf("%d bytes wait for a follower", slow.bytes)
	}
	slow.mu.Unlock()
	for _, line := range s.LastLines(2, 3) {
		if len(line) > 4*RingLineMax {
			t.Errorf("a last line of %d bytes", len(line))
		}
	}
	flood.kill()
	if err := s.Finish(1); err != nil {
		t.Fatal(err)
	}
}

func size(t testing.TB, path string) int64 {
	t.Helper()
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return st.Size()
}

// awaitFile waits by inotify for path to hold want.
func awaitFile(t testing.TB, path, want string) {
	t.Helper()
	watch := watchFile(t, path)
	defer watch.Close()
	for {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if string(data) == want {
			return
		}
		watch.wait(t, string(data))
	}
}
