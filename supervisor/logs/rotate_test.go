package logs

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestRotationAtFullSpeed(t *testing.T) {
	for _, mode := range []string{"lines", "bulk"} {
		for _, compress := range []bool{false, true} {
			name := mode
			if compress {
				name += "-gz"
			}
			t.Run(name, func(t *testing.T) {
				s, facts := newSet(t)
				cfg := FileConfig{Path: inDir(t, "out.log"), MaxSize: 40_050, MaxFiles: 1 << 20, Compress: compress}
				a := spawn(t, s, Worker{ID: 1, Label: "a:0", Out: cfg}, mode+" a 20000")
				b := spawn(t, s, Worker{ID: 2, Label: "b:0", Out: cfg}, "lines b 20000")
				a.wait()
				b.wait()
				finish(t, s, 1, 2)
				settle(s, cfg)
				if mode == "lines" {
					checkLines(t, readSet(t, cfg.Path), 20000, "a", "b")
				} else { // lines of a may be open for partialWait, so b can get in between
					data := readSet(t, cfg.Path)
					if len(data) != 100*40_000 {
						t.Errorf("%d bytes", len(data))
					}
				}
				for _, file := range rotatedFiles(cfg.Path) {
					if n := size(t, file); n > cfg.MaxSize {
						t.Errorf("%s has %d bytes", file, n)
					}
				}
				if n := len(rotatedFiles(cfg.Path)); n < 99 {
					t.Errorf("only %d rotations", n)
				}
				if f := facts.list(); len(f) > 0 {
					t.Error(f)
				}
			})
		}
	}
}

func TestRotationKeepsMaxFiles(t *testing.T) {
	s, _ := newSet(t)
	cfg := FileConfig{Path: inDir(t, "out.log"), MaxSize: 10_000, MaxFiles: 3}
	spawn(t, s, Worker{ID: 1, Label: "a:0", Out: cfg}, "lines a 5000").wait()
	finish(t, s, 1)
	settle(s, cfg)
	old := rotatedFiles(cfg.Path)
	if len(old) != 3 {
		t.Fatal(old)
	}
	data := readSet(t, cfg.Path)
	last := numbered("a", 4999)
	if !bytes.HasSuffix(data, last) || len(data) != 40_000 {
		t.Errorf("%d bytes", len(data))
	}
}

func TestTotalCap(t *testing.T) {
	s, _ := newSet(t)
	s.cfg.MaxTotal = 25_000
	dir := t.TempDir()
	for id := range uint64(2) {
		cfg := FileConfig{Path: filepath.Join(dir, string('a'+rune(id))+".log"), MaxSize: 10_000, MaxFiles: 100}
		spawn(t, s, Worker{ID: id, Label: "a:0", Out: cfg}, "lines a 1000").wait()
		if err := s.Drain(id); err != nil {
			t.Fatal(err)
		}
	}
	settle(s)
	if n := len(rotatedFiles(dir + "/a.log")); n != 0 {
		t.Errorf("%d of the older are left", n)
	}
	if n := len(rotatedFiles(dir + "/b.log")); n != 2 {
		t.Errorf("%d of the newer are left", n)
	}
}

// A crash half-way leaves the original, and the next start compresses it.
func TestCompressAfterCrash(t *testing.T) {
	s, _ := newSet(t)
	cfg := FileConfig{Path: inDir(t, "out.log"), Compress: true}
	if err := os.MkdirAll(filepath.Dir(cfg.Path), 0o700); err != nil {
		t.Fatal(err)
	}
	old := cfg.Path + ".20200102T030405.000000000Z"
	os.WriteFile(old, []byte("old\n"), 0o600)
	os.WriteFile(old+tmpSuffix, []byte("half"), 0o600)
	watch := watchFile(t, filepath.Dir(cfg.Path))
	defer watch.Close()
	openOnly(t, s, 1, cfg)
	for { // Open asked for it; the original is removed last
		if _, err := os.Stat(old); err != nil {
			break
		}
		watch.wait(t, "")
	}
	if got, want := rotatedFiles(cfg.Path), old+gzSuffix; len(got) != 1 || got[0] != want {
		t.Fatal(got)
	}
	if lines, err := Tail(cfg.Path, 5); err != nil || len(lines) != 1 || lines[0] != "old" {
		t.Error(lines, err)
	}
	if _, err := os.Stat(old + tmpSuffix); err == nil {
		t.Error("the temporary file is left")
	}
}

func TestTruncatedFromOutside(t *testing.T) {
	s, _ := newSet(t)
	path := inDir(t, "out.log")
	ends := openOnly(t, s, 1, FileConfig{Path: path})
	syscall.Write(ends.Stdout, []byte("before\n"))
	drain(t, s, 1)
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	syscall.Write(ends.Stdout, []byte("after\n"))
	drain(t, s, 1)
	checkFile(t, path, "after\n")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	syscall.Write(ends.Stdout, []byte("removed\n"))
	drain(t, s, 1)
	checkFile(t, path, "removed\n")
}

func TestReopenAfterRename(t *testing.T) {
	s, _ := newSet(t)
	path := inDir(t, "out.log")
	p := spawn(t, s, Worker{ID: 1, Label: "a:0", Out: FileConfig{Path: path, MaxSize: -1}}, "lines a 100000")
	var data []byte
	for i := range 5 {
		moved := path + ".moved" + string('0'+rune(i))
		if err := os.Rename(path, moved); err != nil {
			t.Fatal(err)
		}
		if err := s.Reopen(); err != nil {
			t.Fatal(err)
		}
		part, err := os.ReadFile(moved)
		if err != nil {
			t.Fatal(err)
		}
		data = append(data, part...)
	}
	p.wait()
	finish(t, s, 1)
	checkLines(t, append(data, readSet(t, path)...), 100000, "a")
}

func TestFlush(t *testing.T) {
	s, _ := newSet(t)
	cfg := FileConfig{Path: inDir(t, "out.log"), MaxSize: 10}
	ends := openOnly(t, s, 1, cfg)
	syscall.Write(ends.Stdout, []byte("0123456789\n0123456789\n0123456789\n"))
	drain(t, s, 1)
	if n := len(rotatedFiles(cfg.Path)); n != 2 {
		t.Fatal(n)
	}
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	checkFile(t, cfg.Path, "")
	syscall.Write(ends.Stdout, []byte("new\n"))
	drain(t, s, 1)
	checkFile(t, cfg.Path, "new\n")
	finish(t, s, 1)
	if err := s.Flush(cfg.Path, cfg.Path+".never"); err != nil {
		t.Fatal(err)
	}
	checkFile(t, cfg.Path, "")
	if n := len(rotatedFiles(cfg.Path)); n != 0 {
		t.Error(n)
	}
}

// While the successor of a rotated file can't be opened, lines go on into that, and it is not compressed.
func TestNoCompressionOfAFileInUse(t *testing.T) {
	s, facts := newSet(t)
	s.janitor.gzipGo = make(chan struct{}, 1) // nobody hears it: its rounds are made here
	cfg := FileConfig{Path: inDir(t, "out.log"), MaxSize: 1000, MaxFiles: 100, Compress: true}
	ends := openOnly(t, s, 1, cfg)
	s.janitor.compressRound()
	f := s.openFiles()[canonical(cfg.Path)]
	write := func(from, to int) {
		for i := from; i < to; i++ {
			syscall.Write(ends.Stdout, numbered("a", i))
		}
		drain(t, s, 1)
	}
	write(0, 10)
	f.call(func() error {
		var old unix.Rlimit
		unix.Getrlimit(unix.RLIMIT_NOFILE, &old)
		unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 3, Max: old.Max})
		defer unix.Setrlimit(unix.RLIMIT_NOFILE, &old)
		if f.rotate() {
			t.Error("it was opened")
		}
		f.opened = time.Now().Add(time.Hour) // and is not tried again
		return nil
	})
	s.janitor.compressRound()
	if old := rotatedFiles(cfg.Path); len(old) != 1 || strings.HasSuffix(old[0], gzSuffix) {
		t.Errorf("%q", old)
	}
	write(10, 20)
	f.call(func() error { f.opened = time.Time{}; return nil })
	write(20, 30)
	settle(s, cfg)
	checkLines(t, readSet(t, cfg.Path), 30, "a")
	for _, old := range rotatedFiles(cfg.Path) {
		if !strings.HasSuffix(old, gzSuffix) {
			t.Errorf("%s is not compressed", old)
		}
	}
	if len(facts.list()) == 0 {
		t.Error("nothing was said")
	}
}

// A line without end is cut by a rotation only beyond openLineSlack.
func TestRotationOfALineWithoutEnd(t *testing.T) {
	s, _ := newSet(t)
	cfg := FileConfig{Path: inDir(t, "out.log"), MaxSize: 100_000, MaxFiles: 1 << 20}
	spawn(t, s, Worker{ID: 1, Label: "a:0", Out: cfg}, "garbage a 4096").wait()
	finish(t, s, 1)
	if n := len(readSet(t, cfg.Path)); n != 4<<20 {
		t.Errorf("%d bytes", n)
	}
	old := rotatedFiles(cfg.Path)
	if len(old) == 0 {
		t.Error("never rotated")
	}
	for _, file := range old {
		if n := size(t, file); n > cfg.MaxSize+openLineSlack+chunkSize {
			t.Errorf("%s has %d bytes", file, n)
		}
	}
}

func TestStampGrows(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	first := nextStamp("", now)
	if first != "20260102T030405.000000006Z" {
		t.Error(first)
	}
	for _, at := range []time.Time{now, now.Add(-time.Hour)} { // the clock stands still, or goes back
		if next := nextStamp(first, at); next != "20260102T030405.000000007Z" {
			t.Error(next)
		}
	}
}

func FuzzStampOf(f *testing.F) {
	f.Add("a.log", "a.log.20260102T030405.000000006Z.gz")
	f.Add("a.log", "a.log.1")
	f.Add("", ".")
	f.Fuzz(func(t *testing.T, path, name string) {
		stamp := stampOf(path, name)
		if stamp == "" {
			return
		}
		if strings.TrimSuffix(name, gzSuffix) != path+"."+stamp {
			t.Errorf("%q of %q", stamp, name)
		}
		if next := nextStamp(stamp, time.Time{}); next <= stamp && stamp < "9999" {
			t.Errorf("%q after %q", next, stamp)
		}
	})
}

// settle does what the janitor has to do for files that nobody writes any more.
func settle(s *Set, files ...FileConfig) {
	s.janitor.close()
	s.janitor = newJanitor(s) // Close will close it
	for _, cfg := range files {
		s.janitor.prune[cfg.Path] = cfg
		if cfg.Compress {
			s.janitor.compress[cfg.Path] = true
		}
	}
	s.janitor.pruneRound()
	s.janitor.compressRound()
}

func finish(t testing.TB, s *Set, workers ...uint64) {
	t.Helper()
	for _, id := range workers {
		if err := s.Finish(id); err != nil {
			t.Fatal(err)
		}
	}
}

func drain(t testing.TB, s *Set, worker uint64) {
	t.Helper()
	if err := s.Drain(worker); err != nil {
		t.Fatal(err)
	}
}

// openOnly is a worker without a process: the test writes.
func openOnly(t testing.TB, s *Set, worker uint64, out FileConfig) Ends {
	t.Helper()
	ends, err := s.Open(Worker{ID: worker, Label: "a:0", Out: out})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ends.Close)
	return ends
}

func checkFile(t testing.TB, path, want string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(data) != want {
		t.Errorf("%s holds %q, want %q", path, data, want)
	}
}
