package logs

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// behindLines are more than wait for a follower in memory.
const behindLines = 2 * followBytes / 100

// texts reads lines until there is one with the text last.
func texts(t *testing.T, f *Follower, last string) (all []Line) {
	t.Helper()
	for {
		lines, err := f.Next(t.Context())
		if err != nil {
			t.Fatalf("%v after %d lines", err, len(all))
		}
		for _, line := range lines {
			if line.Lost > 0 {
				t.Errorf("%d lines lost before %q", line.Lost, line.Text)
			}
			if all = append(all, line); line.Text == last {
				return all
			}
		}
	}
}

// say has a worker without a process write, and waits until it is in the file.
func say(t *testing.T, s *Set, worker uint64, ends Ends, text string) {
	t.Helper()
	if _, err := syscall.Write(ends.Stdout, []byte(text)); err != nil {
		t.Fatal(err)
	}
	drain(t, s, worker)
}

// flood has it write numbered lines.
func flood(t *testing.T, s *Set, worker uint64, ends Ends, from, to int) {
	t.Helper()
	for i := from; i < to; {
		var text []byte
		for ; i < to && len(text) < 60_000; i++ {
			text = append(text, numbered("a", i)...)
		}
		say(t, s, worker, ends, string(text))
	}
}

// A follower that is behind when the file is emptied gets what is written then, once, and nothing from the middle.
func TestBehindWhenTheFileIsEmptied(t *testing.T) {
	for name, empty := range map[string]func(*Set, string) error{
		"flush":    func(s *Set, path string) error { return s.Flush(path) },
		"truncate": func(_ *Set, path string) error { return os.Truncate(path, 0) },
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := newSet(t)
			cfg := FileConfig{Path: inDir(t, "out.log"), MaxSize: -1}
			ends := openOnly(t, s, 1, cfg)
			f := s.FollowFrom(Filter{}, nil, Source{Path: cfg.Path, Label: "a:0"})
			defer f.Close()
			flood(t, s, 1, ends, 0, behindLines)
			if _, err := f.Next(t.Context()); err != nil { // those in memory; the others are to be read
				t.Fatal(err)
			}
			if err := empty(s, cfg.Path); err != nil {
				t.Fatal(err)
			}
			say(t, s, 1, ends, "one\ntwo\nthree\n")
			if got := texts(t, f, "three"); len(got) != 3 {
				t.Errorf("%d lines, from %q to %q", len(got), got[0].Text, got[len(got)-1].Text)
			}
			say(t, s, 1, ends, "four\n")
			if got := texts(t, f, "four"); len(got) != 1 {
				t.Errorf("%d lines, from %q", len(got), got[0].Text)
			}
			flood(t, s, 1, ends, 0, 3*behindLines) // it is behind again,
			if _, err := f.Next(t.Context()); err != nil {
				t.Fatal(err)
			}
			flood(t, s, 1, ends, 0, behindLines) // and once more, in lines that will be gone when it comes to read them
			if err := empty(s, cfg.Path); err != nil {
				t.Fatal(err)
			}
			say(t, s, 1, ends, strings.Repeat(strings.Repeat("x", 99)+"\n", 600))
			flood(t, s, 1, ends, 0, 2*behindLines)
			say(t, s, 1, ends, "last\n")
			next := -1
			for _, line := range texts(t, f, "last") {
				switch {
				case line.Text == "last":
				case len(line.Text) < 10:
					t.Fatalf("%q again", line.Text)
				case line.Text == strings.Repeat("x", 99):
					next = 0
				case next >= 0 && line.Text+"\n" != string(numbered("a", next)):
					t.Fatalf("%q, want line %d", line.Text, next)
				case next >= 0:
					next++
				}
			}
			if next != 2*behindLines {
				t.Errorf("%d lines, want %d", next, 2*behindLines)
			}
		})
	}
}

// What somebody has moved out of the way, as logrotate does, is read to its end, and what is older is not read again;
// where it was removed, what is younger follows.
func TestBehindWhenTheFileIsMoved(t *testing.T) {
	for name, move := range map[string]func(path string) error{
		"moved":   func(path string) error { return os.Rename(path, path+".1") },
		"removed": os.Remove,
	} {
		for _, comesBack := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s-%v", name, comesBack), func(t *testing.T) {
				s, _ := newSet(t)
				cfg := FileConfig{Path: inDir(t, "out.log"), MaxSize: 2_500_000, MaxFiles: 100}
				ends := openOnly(t, s, 1, cfg)
				say(t, s, 1, ends, "old\n")
				flood(t, s, 1, ends, 0, 26_000) // rotates once
				if n := len(rotatedFiles(cfg.Path)); n != 1 {
					t.Fatal(n, "rotated files")
				}
				waitForAnotherBirth(t, cfg.Path)
				f := s.FollowFrom(Filter{}, nil, Source{Path: cfg.Path, Label: "a:0"})
				defer func() { f.Close() }()
				flood(t, s, 1, ends, 0, behindLines) // does not
				first, err := f.Next(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if err := move(cfg.Path); err != nil {
					t.Fatal(err)
				}
				if err := s.Reopen(); err != nil {
					t.Fatal(err)
				}
				if comesBack {
					f.Close()
					f = s.FollowFrom(Filter{}, Cursors{first[len(first)-1].Cursor}, Source{Path: cfg.Path, Label: "a:0"})
				}
				say(t, s, 1, ends, "new\n")
				got := texts(t, f, "new")
				want := 1
				if name == "moved" {
					want += behindLines - len(first)
				}
				if len(got) != want || want > 1 && got[0].Text+"\n" != string(numbered("a", len(first))) {
					t.Errorf("%d lines from %q on, want %d", len(got), got[0].Text, want)
				}
			})
		}
	}
}

// waitForAnotherBirth returns when a file that is created now is younger than that at path.
func waitForAnotherBirth(t *testing.T, path string) {
	t.Helper()
	id, err := idOf(path)
	if err != nil {
		t.Fatal(err)
	}
	for younger := FileID(0); !id.isOlder(younger); {
		name := t.TempDir() + "/young"
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if younger, err = idOf(name); err != nil {
			t.Fatal(err)
		}
		if younger < idBirth {
			t.Skip("this filesystem knows no birth")
		}
		<-time.After(time.Millisecond) // the clock of births has to go on
	}
}

// A line without end that a follower has read of, and whose end comes through memory, or from the file, is one.
func TestBehindInALongLine(t *testing.T) {
	for _, again := range []bool{false, true} {
		s, _ := newSet(t)
		cfg := FileConfig{Path: inDir(t, "out.log"), MaxSize: -1}
		ends := openOnly(t, s, 1, cfg)
		say(t, s, 1, ends, "first\n")
		for range 8 {
			say(t, s, 1, ends, strings.Repeat("x", 60_000))
		}
		source := Source{Path: cfg.Path, Label: "a:0"}
		f := s.FollowFrom(Filter{}, Cursors{{Path: cfg.Path}}, source)
		got := texts(t, f, "first")
		f.reading.Lock()
		for src := f.order[0]; src.reading; {
			if lines := src.read(s); len(lines) > 0 {
				t.Errorf("%.20q before its end", lines[0].Text)
			}
		}
		f.reading.Unlock()
		if again {
			f.Close()
			f = s.FollowFrom(Filter{}, Cursors{got[0].Cursor}, source)
		}
		say(t, s, 1, ends, "end\nlast\n")
		if got := texts(t, f, "last"); len(got) != 2 || !got[0].Cut || len(got[0].Text) != LineMax {
			t.Errorf("%d lines, the first %.20q", len(got), got[0].Text)
		}
		f.Close()
	}
}

// A file that a worker opens while somebody follows, since its slot or its configuration is new, is a source as any:
// where it was is told, and nothing is lost to who is slow.
func TestAFileThatIsOpenedLater(t *testing.T) {
	s, _ := newSet(t)
	cfg := FileConfig{Path: inDir(t, "out.log"), MaxSize: -1}
	old := openOnly(t, s, 1, cfg)
	say(t, s, 1, old, "old\nopen")
	finish(t, s, 1)
	f := s.FollowFrom(Filter{Out: true}, nil)
	defer f.Close()
	ends := openOnly(t, s, 2, cfg)
	lines, err := f.Next(t.Context())
	if err != nil || len(lines) != 1 || !lines[0].Mark || lines[0].Cursor.Offset != int64(len("old\n")) {
		t.Fatal(lines, err)
	}
	mark := lines[0].Cursor
	say(t, s, 2, ends, "ed\n")
	flood(t, s, 2, ends, 0, behindLines)
	say(t, s, 2, ends, "last\n")
	checkFlood := func(f *Follower) {
		t.Helper()
		got := texts(t, f, "last")
		if len(got) != behindLines+2 || got[0].Text != "opened" {
			t.Fatalf("%d lines from %q on, want %d", len(got), got[0].Text, behindLines+2)
		}
		for i, line := range got[1 : len(got)-1] {
			if line.Text+"\n" != string(numbered("a", i)) {
				t.Fatalf("%q, want line %d", line.Text, i)
			}
		}
	}
	checkFlood(f)
	again := s.FollowFrom(Filter{}, Cursors{mark}, Source{Path: mark.Path})
	defer again.Close()
	checkFlood(again)
}

// The first lines of an unknown file may be too many at once.
func TestAFileThatNobodyHasToldOf(t *testing.T) {
	s, _ := newSet(t)
	cfg := FileConfig{Path: inDir(t, "out.log"), MaxSize: -1}
	ends := openOnly(t, s, 1, cfg)
	say(t, s, 1, ends, "before\n")
	f := s.FollowFrom(Filter{}, nil)
	defer f.Close()
	flood(t, s, 1, ends, 0, behindLines)
	c := &client{t: t}
	c.read(f, behindLines)
}

// The open last line of a worker that is gone is shown with whatever ends it.
func TestALastLineWithoutEnd(t *testing.T) {
	for name, format := range map[string]Format{"raw": {}, "stamped": {DateFormat: "[at]"}} {
		t.Run(name, func(t *testing.T) {
			s, _ := newSet(t)
			cfg := FileConfig{Path: inDir(t, "out.log"), Format: format}
			f := s.FollowFrom(Filter{}, nil, Source{Path: cfg.Path, Label: "a:0"})
			defer f.Close()
			first, second := openOnly(t, s, 1, cfg), openOnly(t, s, 2, cfg)
			say(t, s, 1, first, "last words. ")
			finish(t, s, 1)
			say(t, s, 2, second, "next\n")
			lines, err := f.Next(t.Context())
			var got []string
			for _, line := range lines {
				got = append(got, line.Text)
			}
			file := string(bytes.TrimSuffix(readSet(t, cfg.Path), []byte("\n")))
			if shown := strings.Join(got, "\n"); err != nil || shown != file {
				t.Errorf("shown %q, the file has %q", shown, file)
			}
		})
	}
}

// What was shown of a file before it was opened anew is among what its place says.
func TestPlaceOfAFileThatIsOpenedAgain(t *testing.T) {
	s, _ := newSet(t)
	cfg := FileConfig{Path: inDir(t, "out.log")}
	f := s.FollowFrom(Filter{}, nil, Source{Path: cfg.Path})
	defer f.Close()
	say(t, s, 1, openOnly(t, s, 1, cfg), "line\n")
	finish(t, s, 1)
	openOnly(t, s, 2, cfg)
	lines, err := f.Next(t.Context())
	if p := s.placeOf(cfg.Path); err != nil || len(lines) != 1 || p.seq < lines[0].seq {
		t.Errorf("%v, %v: the place is %+v", lines, err, p)
	}
}

// What is written now can be followed, by whatever name.
func TestSources(t *testing.T) {
	s, _ := newSet(t)
	path := inDir(t, "out.log")
	openOnly(t, s, 1, FileConfig{Path: path})
	openOnly(t, s, 2, FileConfig{Path: path})
	openOnly(t, s, 3, FileConfig{})
	if got := s.Sources(Filter{Err: true}); len(got) > 0 {
		t.Errorf("of stderr %+v", got)
	}
	got := s.Sources(Filter{})
	if len(got) != 1 || got[0].Path != canonical(path) || got[0].Stream != Stdout {
		t.Errorf("%+v, want that of %s", got, path)
	}
}

// What the last lines of a file were read from may be ahead of what is shown: between a write and its show.
func TestFollowFromAheadOfWhatIsShown(t *testing.T) {
	s, _ := newSet(t)
	cfg := FileConfig{Path: inDir(t, "out.log")}
	ends := openOnly(t, s, 1, cfg)
	say(t, s, 1, ends, "one\n")
	_, at, err := TailAt(cfg.Path, 1)
	if err != nil {
		t.Fatal(err)
	}
	at.Offset += int64(len("two\n"))
	f := s.FollowFrom(Filter{}, Cursors{at}, Source{Path: cfg.Path, Label: "a:0"})
	defer f.Close()
	say(t, s, 1, ends, "two\nthree\n")
	if got := texts(t, f, "three"); len(got) != 1 {
		t.Errorf("%q is shown again", got[0].Text)
	}
	if err := s.Flush(cfg.Path); err != nil {
		t.Fatal(err)
	}
	say(t, s, 1, ends, "4\n")
	if got := texts(t, f, "4"); len(got) != 1 {
		t.Errorf("%+v", got)
	}
}
