package logs

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// handed are dups of a worker's descriptors, as a successor gets them.
func (p Pipes) handed(t testing.TB) Pipes {
	t.Helper()
	for _, fd := range []*int{&p.Out, &p.Err, &p.SpoolOut, &p.SpoolErr} {
		if *fd < 0 {
			continue
		}
		dup, err := unix.FcntlInt(uintptr(*fd), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		*fd = dup
	}
	return p
}

// An intent that a crash left open is finished, whatever there is of it: nothing is lost, doubled or cut.
func TestRedo(t *testing.T) {
	const before, after = "at: before\n", "at: one\nat: two\n"
	for name, c := range map[string]struct {
		there string // behind before, when the successor comes
		want  string
		rest  string // in the file that is written now, if that is another
	}{
		"nothing is written":                  {there: "", want: after},
		"a part is written":                   {there: "at: one\nat: t", want: after},
		"all is written":                      {there: after, want: after},
		"all, and more of others":             {there: after + "raw\n", want: after + "raw\n"},
		"nothing, and lines of others":        {there: "raw\n", want: "raw\n" + after},
		"a part, and lines of others":         {there: "at: one\nraw\n", want: "at: one\nraw\nat: two\n"},
		"a part of a line and an open line":   {there: "at: one\nat: raw", want: "at: one\nat: raw\nat: two\n"},
		"lines of others that begin the same": {there: "at: raw\n", want: "at: raw\n" + after},
		"rotated":                             {there: "at: on", want: after, rest: "\x00"},
		"rotated, and the new one has lines":  {there: "", want: after, rest: "raw\n"},
		"removed":                             {there: "\x00", want: after},
		"truncated":                           {there: "\x01", want: after},
	} {
		t.Run(name, func(t *testing.T) {
			path := t.TempDir() + "/out.log"
			w := Worker{ID: 1, Label: "a:0", Out: FileConfig{Path: path, Format: hhmm}}
			sp, err := newSpool()
			if err != nil {
				t.Fatal(err)
			}
			syscall.Pwrite(sp.fd, []byte("before\none\ntwo\nthree\n"), spoolData)
			if err := os.WriteFile(path, []byte(before+strings.Trim(c.there, "\x00\x01")), 0o600); err != nil {
				t.Fatal(err)
			}
			var st unix.Stat_t
			unix.Stat(path, &st)
			sp.put(record{done: spoolData + 7, raw: 8, at: int64(len(before)), dev: st.Dev, ino: st.Ino, end: int64(len(before))})
			sp.unmap()
			written, prefix := path, before
			switch {
			case c.rest != "":
				written = path + ".20260102T030405.000000006Z"
				if err := os.Rename(path, written); err != nil {
					t.Fatal(err)
				}
				if rest := strings.Trim(c.rest, "\x00"); rest != "" {
					os.WriteFile(path, []byte(rest), 0o600)
				}
			case c.there == "\x00":
				os.Remove(path)
				prefix = ""
			case c.there == "\x01":
				os.Truncate(path, 0)
				prefix = ""
			}
			r, end, _, err := newPipe(false, 0, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(end)
			syscall.Write(end, []byte("four\n"))
			s, facts := newLooseSet(t)
			if err := s.Adopt(w, Pipes{r, -1, sp.fd, -1}); err != nil {
				t.Fatal(err)
			}
			s.Start(1)
			drain(t, s, 1)
			const later = "at: three\nat: four\n"
			if c.rest == "" {
				checkFile(t, path, prefix+c.want+later)
			} else {
				checkFile(t, written, prefix+c.want)
				checkFile(t, path, strings.Trim(c.rest, "\x00")+later)
			}
			if f := facts.list(); len(f) > 0 {
				t.Error(f)
			}
		})
	}
}

// A pipe whose worker is gone hangs up as soon as it is watched (epoll_ctl(2) tells of
// that without being asked). It is not read before Start all the same.
func TestAHangUpBeforeStart(t *testing.T) {
	path := t.TempDir() + "/out.log"
	w := Worker{ID: 1, Label: "a:0", Out: FileConfig{Path: path, Format: hhmm}}
	sp, err := newSpool()
	if err != nil {
		t.Fatal(err)
	}
	syscall.Pwrite(sp.fd, []byte("one\n"), spoolData)
	sp.unmap()
	r, end, _, err := newPipe(false, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	syscall.Write(end, []byte("last words\n"))
	unix.Close(end)
	s, _ := newLooseSet(t)
	if err := s.Adopt(w, Pipes{r, -1, sp.fd, -1}); err != nil {
		t.Fatal(err)
	}
	st := s.streamsOf(1)[0]
	if err := st.file.call(func() error { st.file.turn(st); return nil }); err != nil {
		t.Fatal(err)
	}
	if left := st.held(); left != len("last words\n")-spoolData { // the spool's size is not known yet
		t.Errorf("%d bytes are held", left)
	}
	s.Start(1)
	drain(t, s, 1)
	checkFile(t, path, "at: one\nat: last words\n")
}

// While the daemon was away its holder appended the pipe's bytes to the spool.
func TestSpoolThatGrewMeanwhile(t *testing.T) {
	path := t.TempDir() + "/out.log"
	w := Worker{ID: 1, Label: "a:0", Out: FileConfig{Path: path, MaxSize: -1, Format: hhmm}}
	first, _ := newLooseSet(t)
	ends, err := first.Open(w)
	if err != nil {
		t.Fatal(err)
	}
	defer ends.Close()
	syscall.Write(ends.Stdout, []byte("one\nop"))
	drain(t, first, 1)
	handed := ends.Pipes.handed(t)
	first.Quiesce()
	first.Close() // dead
	var want bytes.Buffer
	want.WriteString("at: one\nat: opened\n")
	syscall.Write(ends.Stdout, []byte("ened\n"))
	for range 5 {
		for i := range 500 {
			syscall.Write(ends.Stdout, numbered("a", i))
			want.WriteString("at: " + string(numbered("a", i)))
		}
		var st unix.Stat_t
		unix.Fstat(handed.SpoolOut, &st)
		for {
			n, err := unix.Splice(handed.Out, nil, handed.SpoolOut, &st.Size, 1<<20, unix.SPLICE_F_NONBLOCK)
			if err != nil || n == 0 {
				break
			}
		}
	}
	second, _ := newLooseSet(t)
	if err := second.Adopt(w, handed); err != nil {
		t.Fatal(err)
	}
	second.Start(1)
	finish(t, second, 1)
	data, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(data, want.Bytes()) {
		t.Errorf("%d bytes, want %d: %v", len(data), want.Len(), err)
	}
}

// A successor of an upgrade adopts while its predecessor is at work: it touches nothing before Start, and nothing at
// all if it fails.
func TestAdoptTouchesNothing(t *testing.T) {
	for _, format := range []Format{{}, hhmm} {
		path := t.TempDir() + "/out.log"
		w := Worker{ID: 1, Label: "a:0", Out: FileConfig{Path: path, Format: format}}
		first, _ := newLooseSet(t)
		ends, err := first.Open(w)
		if err != nil {
			t.Fatal(err)
		}
		second, _ := newLooseSet(t)
		if err := second.Adopt(w, ends.Pipes.handed(t)); err != nil {
			t.Fatal(err)
		}
		third, _ := newLooseSet(t)
		if err := third.Adopt(w, ends.Pipes.handed(t)); err != nil {
			t.Fatal(err)
		}
		if err := third.Adopt(w, ends.Pipes.handed(t)); err == nil {
			t.Error("adopted twice")
		}
		syscall.Write(ends.Stdout, []byte("one\n"))
		third.Quiesce()
		third.Close()
		drain(t, first, 1)
		syscall.Write(ends.Stdout, []byte("two\n"))
		first.Quiesce()
		second.Start(1)
		drain(t, second, 1)
		prefix := ""
		if format != (Format{}) {
			prefix = "at: "
		}
		checkFile(t, path, prefix+"one\n"+prefix+"two\n")
		ends.Close()
	}
}

func TestAdoptRefuses(t *testing.T) {
	s, _ := newSet(t)
	before := countFDs(t)
	w := Worker{ID: 1, Label: "a:0", Out: FileConfig{Path: inDir(t, "out.log"), Format: hhmm}}
	for name, content := range map[string]string{"no spool": "short", "another's": strings.Repeat("x", 2*spoolData)} {
		r, end, _, err := newPipe(false, 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		unix.Close(end)
		fd, err := unix.MemfdCreate("x", unix.MFD_CLOEXEC)
		if err != nil {
			t.Fatal(err)
		}
		syscall.Write(fd, []byte(content))
		if err := s.Adopt(w, Pipes{r, -1, fd, -1}); err == nil || !strings.Contains(err.Error(), "cannot adopt a spool") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if after := countFDs(t); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
	s, facts := newLooseSet(t)
	sp, err := newSpool() // a damaged one is said, and goes on
	if err != nil {
		t.Fatal(err)
	}
	sp.put(record{done: 1 << 40})
	sp.unmap()
	r, end, _, err := newPipe(false, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(end)
	if err := s.Adopt(w, Pipes{r, -1, sp.fd, -1}); err != nil {
		t.Fatal(err)
	}
	s.Start(1)
	syscall.Write(end, []byte("one\n"))
	drain(t, s, 1)
	checkFile(t, w.Out.Path, "at: one\n")
	if len(facts.list()) == 0 {
		t.Error("nothing was said")
	}
}

// A spool that is lost is made anew, and can be asked for.
func TestAdoptWithoutSpool(t *testing.T) {
	s, _ := newLooseSet(t)
	w := Worker{ID: 1, Label: "a:0", Out: FileConfig{Path: inDir(t, "out.log"), Format: hhmm}}
	r, end, _, err := newPipe(false, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(end)
	if err := s.Adopt(w, Pipes{r, -1, -1, -1}); err != nil {
		t.Fatal(err)
	}
	if p, ok := s.Pipes(1); !ok || p.Out != r || p.SpoolOut < 0 || p.Err != -1 {
		t.Error(p, ok)
	}
	finish(t, s, 1)
	if _, ok := s.Pipes(1); ok {
		t.Error("after Finish")
	}
}

// What failed right after an adoption is quoted with what it said before.
func TestLastLinesAfterAdoption(t *testing.T) {
	dir := t.TempDir()
	w := Worker{ID: 1, Label: "a:0", Out: FileConfig{Path: dir + "/out.log"}, Err: FileConfig{Path: dir + "/err.log"}}
	first, _ := newLooseSet(t)
	ends, err := first.Open(w)
	if err != nil {
		t.Fatal(err)
	}
	defer ends.Close()
	syscall.Write(ends.Stdout, []byte("out 1\nout 2\n"))
	syscall.Write(ends.Stderr, []byte("err 1\n"))
	drain(t, first, 1)
	handed := ends.Pipes.handed(t)
	first.Quiesce()
	first.Close()
	second, _ := newLooseSet(t)
	if err := second.Adopt(w, handed); err != nil {
		t.Fatal(err)
	}
	second.Start(1)
	syscall.Write(ends.Stdout, []byte("out 3\n"))
	for range 2 { // once
		drain(t, second, 1)
		if got, want := second.LastLines(1, 10), []string{"out 1", "out 2", "err 1", "out 3"}; !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	}
	for i := range 2 * RingLines {
		syscall.Write(ends.Stdout, numbered("a", i))
	}
	drain(t, second, 1)
	if got := second.LastLines(1, 1); len(got) != 1 || got[0]+"\n" != string(numbered("a", 2*RingLines-1)) {
		t.Errorf("%q", got)
	}
}

// Whoever empties pipes for us knows the file of each raw stream at any time.
func TestOpened(t *testing.T) {
	s, _ := newLooseSet(t)
	dir := t.TempDir()
	inodes := map[Stream]uint64{}
	calls := 0
	s.cfg.Opened = func(worker uint64, kind Stream, fd int) {
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil || worker != 1 {
			t.Errorf("worker %d: %v", worker, err)
		}
		inodes[kind] = st.Ino
		calls++
	}
	w := Worker{ID: 1, Label: "a:0", Out: FileConfig{Path: dir + "/out.log", MaxSize: 100}, Err: FileConfig{Path: dir + "/err.log", Format: hhmm}}
	ends, err := s.Open(w)
	if err != nil {
		t.Fatal(err)
	}
	defer ends.Close()
	check := func(want int) {
		t.Helper()
		var st unix.Stat_t
		if err := unix.Stat(w.Out.Path, &st); err != nil || inodes[Stdout] != st.Ino || calls != want || len(inodes) != 1 {
			t.Errorf("%v after %d calls, the file is %d: %v", inodes, calls, st.Ino, err)
		}
	}
	check(1)
	for i := range 3 {
		syscall.Write(ends.Stdout, numbered("a", i))
		syscall.Write(ends.Stderr, numbered("a", i))
	}
	drain(t, s, 1)
	check(3)
	if err := s.Reopen(); err != nil {
		t.Fatal(err)
	}
	check(4)
	handed := ends.Pipes.handed(t)
	s.Quiesce()
	s.Close()
	inodes = map[Stream]uint64{}
	second, _ := newLooseSet(t)
	second.cfg.Opened = s.cfg.Opened
	if err := second.Adopt(w, handed); err != nil || len(inodes) > 0 {
		t.Fatal(inodes, err)
	}
	second.Start(1)
	drain(t, second, 1)
	check(5)
}

// Whatever a header says, nothing that is in the file is written over, and what the pipe has arrives.
func FuzzSpoolHeader(f *testing.F) {
	f.Add(int64(spoolData), int64(8), int64(3), int64(0), uint64(0), int64(5), true)
	f.Add(int64(spoolData), int64(8), int64(3), int64(65), uint64(5), int64(5), true) // more is written than there is
	f.Add(int64(spoolData+4), int64(1<<40), int64(1<<62), int64(-1), uint64(7), int64(-5), false)
	f.Fuzz(func(t *testing.T, done, raw, at, skip int64, flags uint64, end int64, mine bool) {
		path := t.TempDir() + "/out.log"
		const before = "one\ntwo\nthree"
		if err := os.WriteFile(path, []byte(before), 0o600); err != nil {
			t.Fatal(err)
		}
		sp, err := newSpool()
		if err != nil {
			t.Fatal(err)
		}
		syscall.Pwrite(sp.fd, []byte("spooled\nlines\nopen"), spoolData)
		r := record{done: done, raw: raw, at: at, skip: skip, flags: flags, end: end}
		if mine {
			var st unix.Stat_t
			unix.Stat(path, &st)
			r.dev, r.ino = st.Dev, st.Ino
		}
		sp.put(r)
		sp.unmap()
		rd, wr, _, err := newPipe(false, 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(wr)
		syscall.Write(wr, []byte("last\n"))
		s, _ := newLooseSet(t)
		if err := s.Adopt(Worker{ID: 1, Out: FileConfig{Path: path, Format: hhmm}}, Pipes{rd, -1, sp.fd, -1}); err != nil {
			t.Fatal(err)
		}
		s.Start(1)
		drain(t, s, 1)
		data, err := os.ReadFile(path)
		if err != nil || !strings.HasPrefix(string(data), before) || !strings.HasSuffix(string(data), "last\n") {
			t.Errorf("%q %v", data, err)
		}
		s.Close()
	})
}
