package logs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// client reads numbered lines, whose order it checks, and remembers where it was.
type client struct {
	t     *testing.T
	next  int
	where Cursors
}

// read reads until there are n lines.
func (c *client) read(f *Follower, n int) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), deadline)
	defer cancel()
	for c.next < n {
		lines, err := f.Next(ctx)
		if err != nil {
			c.t.Fatalf("after %d lines: %v", c.next, err)
		}
		for _, line := range lines {
			if c.next == n {
				return // what is not shown is not remembered: it was cut off here
			}
			text := line.Text
			if i := strings.Index(text, "a 0"); i > 0 {
				text = text[i:] // behind its time
			}
			if text+"\n" != string(numbered("a", c.next)) || line.Lost > 0 {
				c.t.Fatalf("%+v, want line %d", line, c.next)
			}
			c.next++
			c.where.Set(line.Cursor)
		}
	}
}

// A client that comes back gets every line once: over rotations, with and without compression, from a worker at full
// speed, and however slow it was.
func TestFollowFrom(t *testing.T) {
	for _, compress := range []bool{false, true} {
		for name, format := range formats {
			if name == "json" {
				continue
			}
			t.Run(fmt.Sprintf("%s-%v", name, compress), func(t *testing.T) {
				s, _ := newSet(t)
				s.cfg.MaxTotal = -1
				cfg := FileConfig{Path: inDir(t, "out.log"), MaxSize: 300_000, MaxFiles: 1 << 20, Compress: compress, Format: format}
				os.MkdirAll(filepath.Dir(cfg.Path), 0o700)
				source := Source{Path: cfg.Path, Label: "a:0"}
				first := s.FollowFrom(Filter{}, nil, source)
				p := spawn(t, s, Worker{ID: 1, Label: "a:0", Out: cfg}, "lines a 50000")
				c := &client{t: t}
				c.read(first, 1000)
				first.Close()
				for n := 2000; n < 30000; n += 5000 {
					f := s.FollowFrom(Filter{}, c.where, source)
					c.read(f, n)
					f.Close()
				}
				p.wait()
				drain(t, s, 1)
				settle(s, cfg)
				f := s.FollowFrom(Filter{}, c.where, source)
				c.read(f, 50000)
				ends := openOnly(t, s, 2, cfg)
				syscall.Write(ends.Stdout, numbered("a", 50000))
				drain(t, s, 2)
				c.read(f, 50001)
				f.Close()
				finish(t, s, 1, 2) // nobody has the file any more
				f = s.FollowFrom(Filter{}, c.where, source)
				third := openOnly(t, s, 3, cfg)
				syscall.Write(third.Stdout, numbered("a", 50001))
				drain(t, s, 3)
				c.read(f, 50002)
				f.Close()
			})
		}
	}
}

// A follower that is not read costs no more than any, and loses nothing of its sources.
func TestSlowFollowerReadsTheFile(t *testing.T) {
	s, _ := newSet(t)
	s.cfg.MaxTotal = -1
	cfg := FileConfig{Path: inDir(t, "out.log"), MaxSize: 1 << 20, MaxFiles: 100}
	ends := openOnly(t, s, 2, cfg)
	syscall.Write(ends.Stdout, []byte("before\nbegun "))
	drain(t, s, 2)
	slow := s.FollowFrom(Filter{}, nil, Source{Path: cfg.Path, Label: "a:0"})
	defer slow.Close()
	syscall.Write(ends.Stdout, []byte("line\n"))
	drain(t, s, 2)
	if lines, err := slow.Next(t.Context()); err != nil || len(lines) != 1 || lines[0].Text != "begun line" {
		t.Fatal(lines, err)
	}
	c := &client{t: t}
	p := spawn(t, s, Worker{ID: 1, Label: "a:0", Out: cfg}, "lines a 100000")
	p.wait()
	drain(t, s, 1)
	slow.mu.Lock()
	if slow.bytes > followBytes {
		t.Errorf("%d bytes wait", slow.bytes)
	}
	slow.mu.Unlock()
	c.read(slow, 100000)
}

// The daemon is replaced in the middle of all that: the client comes back with its cursor to the next.
func TestFollowFromOverACrash(t *testing.T) {
	dir := t.TempDir()
	w := Worker{ID: 1, Label: "a:0", Out: FileConfig{Path: dir + "/out.log", MaxSize: 100_000, MaxFiles: 1000}}
	s, _ := newLooseSet(t)
	s.cfg.MaxTotal = -1
	ends, err := s.Open(w)
	if err != nil {
		t.Fatal(err)
	}
	p := startWriter(t, ends.Stdout, ends.Stderr, "lines a 60000")
	source := Source{Path: w.Out.Path, Label: "a:0"}
	c := &client{t: t}
	pipes := ends.Pipes
	f := s.FollowFrom(Filter{}, nil, source)
	s.Start(1)
	for n := 500; n < 20_000; n += 3000 {
		c.read(f, n)
		f.Close()
		handed := pipes.handed(t)
		s.Quiesce()
		s.Close()
		s, _ = newLooseSet(t)
		s.cfg.MaxTotal = -1
		if err := s.Adopt(w, handed); err != nil {
			t.Fatal(err)
		}
		s.Start(1)
		f = s.FollowFrom(Filter{}, c.where, source)
		pipes = handed
	}
	p.wait()
	c.read(f, 60000)
	f.Close()
}

// A file that was flushed, or removed, is followed from its beginning; lines without end are cut.
func TestFollowFromWhatIsGone(t *testing.T) {
	s, _ := newSet(t)
	dir := t.TempDir()
	path := dir + "/out.log"
	source := Source{Path: path, Label: "a:0", Stream: Stdout}
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	texts := func(at Cursor) (got []string) {
		f := s.FollowFrom(Filter{}, Cursors{at, {"/etc/passwd", 0, 0}}, source)
		f.end() // then Next ends with what there is
		for {
			lines, err := f.Next(t.Context())
			if err != nil {
				f.Close()
				return got
			}
			for _, line := range lines {
				if len(line.Text) > LineMax || line.Label != "a:0" {
					t.Errorf("%+v", line)
				}
				got = append(got, fmt.Sprintf("%.5s %v", line.Text, line.Cut))
			}
		}
	}
	if got := texts(Cursor{path, 5, 5}); got != nil {
		t.Errorf("of no file: %q", got)
	}
	write("one\ntwo\nopen")
	id, _ := idOf(path)
	if _, err := (retained{path, id + 1}).block(1<<40, 5); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("another file under the name: %v", err)
	}
	for at, want := range map[Cursor][]string{
		{path, id, 4}:       {"two false"},
		{path, id, 1 << 40}: {"one false", "two false"}, // flushed
		{path, id + 1, 4}:   {"one false", "two false"},
		{path, 0, 0}:        {"one false", "two false"},
		{path, id, 12}:      nil,
		{path, id, 6}:       {"one false", "two false"}, // flushed, and longer by now than it was
	} {
		if got := texts(at); !slices.Equal(got, want) {
			t.Errorf("%v: %q, want %q", at, got, want)
		}
	}
	write(strings.Repeat("x", 2*catchUpBlock+7) + "\nshort\n" + strings.Repeat("y", LineMax+1) + "\nlast\n")
	if got, want := texts(Cursor{path, id, 0}), []string{"xxxxx true", "short false", "yyyyy true", "last false"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if err := exec.Command("cp", path, path+".20260102T030405.000000006Z").Run(); err != nil {
		t.Fatal(err)
	}
	old, _ := idOf(path + ".20260102T030405.000000006Z")
	write("new\n")
	if got, want := texts(Cursor{path, old, int64(2*catchUpBlock + 8)}), []string{"short false", "yyyyy true", "last false", "new false"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// What is shown first and what follows are one.
func TestTailAt(t *testing.T) {
	s, _ := newSet(t)
	path := inDir(t, "out.log")
	if lines, at, err := TailAt(path, 5); err == nil || lines != nil || at != (Cursor{Path: path}) {
		t.Error(lines, at, err)
	}
	ends := openOnly(t, s, 1, FileConfig{Path: path, MaxSize: 30})
	syscall.Write(ends.Stdout, []byte("one-------\ntwo-------\nthree-----\nfour------\nfi"))
	drain(t, s, 1)
	for n, want := range map[int][]string{0: nil, 1: {"four------"}, 3: {"two-------", "three-----", "four------"}, 9: {"one-------", "two-------", "three-----", "four------"}} {
		lines, at, err := TailAt(path, n)
		if err != nil || !slices.Equal(lines, want) || at.Offset != int64(len("three-----\nfour------\n")) {
			t.Errorf("%d: %q %v %v", n, lines, at, err)
		}
	}
	_, at, _ := TailAt(path, 1)
	f := s.FollowFrom(Filter{}, Cursors{at}, Source{Path: path, Label: "a:0"})
	defer f.Close()
	syscall.Write(ends.Stdout, []byte("ve\nsix\n"))
	drain(t, s, 1)
	if lines, err := f.Next(t.Context()); err != nil || len(lines) != 2 || lines[0].Text != "five" {
		t.Error(lines, err)
	}
}

// A compressed file is unpacked once, however many blocks it has: from its begin for each would take a core for minutes.
func TestFollowFromUnpacksOnce(t *testing.T) {
	s, _ := newSet(t)
	cfg := FileConfig{Path: inDir(t, "out.log"), Compress: true, MaxSize: 4 << 20, MaxFiles: 10}
	spawn(t, s, Worker{ID: 1, Label: "a:0", Out: cfg}, "bulk a 50000").wait()
	finish(t, s, 1)
	settle(s, cfg)
	if old := rotatedFiles(cfg.Path); len(old) != 1 || !strings.HasSuffix(old[0], gzSuffix) {
		t.Fatal(old)
	}
	for _, toTheEnd := range []bool{true, false} {
		f := s.FollowFrom(Filter{}, Cursors{{Path: cfg.Path}}, Source{Path: cfg.Path, Label: "a:0"})
		next := 0
		read := func() {
			lines, err := f.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, line := range lines {
				if line.Text+"\n" != string(numbered("a", next)) {
					t.Fatalf("%q, want line %d", line.Text, next)
				}
				next++
			}
		}
		read()
		first := f.order[0].unzip
		for range 5 {
			read()
		}
		if again := f.order[0].unzip; first == nil || again != first {
			t.Errorf("%p, then %p", first, again)
		}
		for toTheEnd && next < 50000 {
			read()
		}
		if toTheEnd && f.order[0].unzip != nil {
			t.Error("it is open after its end")
		}
		f.Close()
	}
}
