package logs

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// The formats under test, by name.
var formats = map[string]Format{"raw": {}, "text": {DateFormat: "YYYY-MM-DD HH:mm:ss.SSS Z"}, "json": {JSON: true}}

var stamped = regexp.MustCompile(`^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} [+-]\d\d:\d\d: `)

// unformat is what the worker wrote, of what the file has.
func unformat(t testing.TB, data []byte, format Format) []byte {
	t.Helper()
	if format == (Format{}) {
		return data
	}
	var raw []byte
	for line := range bytes.Lines(data) {
		if format.JSON {
			var object struct{ Message, Timestamp, Type string }
			if err := json.Unmarshal(line, &object); err != nil || object.Timestamp == "" || object.Type != "out" {
				t.Fatalf("%q: %v", line, err)
			}
			raw = append(append(raw, object.Message...), '\n')
			continue
		}
		prefix := stamped.Find(line)
		if prefix == nil {
			t.Fatalf("%q has no time", line)
		}
		raw = append(raw, line[len(prefix):]...)
	}
	return raw
}

func TestFormattedEveryLineOnce(t *testing.T) {
	for name, format := range formats {
		for _, mode := range []string{"lines", "bulk"} {
			t.Run(name+"-"+mode, func(t *testing.T) {
				s, facts := newSet(t)
				cfg := FileConfig{Path: inDir(t, "out.log"), MaxSize: 1 << 19, MaxFiles: 1 << 20, Format: format}
				a := spawn(t, s, Worker{ID: 1, Label: "a:0", App: "a", Out: cfg}, mode+" a 15000")
				b := spawn(t, s, Worker{ID: 2, Label: "a:1", App: "a", Out: cfg}, "lines b 15000")
				a.wait()
				b.wait()
				finish(t, s, 1, 2)
				if mode == "lines" || format.JSON { // else an open line of a may be written after partialWait, and b get in between
					checkLines(t, unformat(t, readSet(t, cfg.Path), format), 15000, "a", "b")
				}
				for _, file := range rotatedFiles(cfg.Path) {
					if n := size(t, file); n > cfg.MaxSize {
						t.Errorf("%s has %d bytes", file, n)
					}
				}
				if n := len(rotatedFiles(cfg.Path)); n < 5 {
					t.Errorf("only %d rotations", n)
				}
				if f := facts.list(); len(f) > 0 {
					t.Error(f)
				}
			})
		}
	}
}

// hhmm is a time that tests can cut out.
var hhmm = Format{DateFormat: "[at]"}

// A line is stamped once, at its beginning; who writes into it in between gets a line of its own.
func TestOpenFormattedLine(t *testing.T) {
	s, _ := newSet(t)
	path := inDir(t, "out.log")
	cfg := FileConfig{Path: path, Format: hhmm}
	a, b := openOnly(t, s, 1, cfg), openOnly(t, s, 2, cfg)
	follower := s.Follow(Filter{})
	defer follower.Close()
	s.Start(1)
	syscall.Write(a.Stdout, []byte("one\nopen"))
	awaitFile(t, path, "at: one\nat: open")
	syscall.Write(a.Stdout, []byte("ed\ntwo"))
	awaitFile(t, path, "at: one\nat: opened\nat: two")
	syscall.Write(b.Stdout, []byte("other\n"))
	drain(t, s, 2)
	syscall.Write(a.Stdout, []byte(" goes on\n"))
	drain(t, s, 1)
	const want = "at: one\nat: opened\nat: two\nat: other\nat:  goes on\n"
	checkFile(t, path, want)
	lines, err := follower.Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range lines {
		if line.Text == "at: opened" && line.Cursor.Offset != int64(len("at: one\nat: opened\n")) {
			t.Errorf("%+v", line)
		}
	}
	if got := s.LastLines(1, 2); len(got) != 2 || got[0] != "opened" || got[1] != "two goes on" {
		t.Errorf("%q: last lines are as they were written", got)
	}
}

// A JSON line is whole: it waits for its end in the spool, costs nothing meanwhile, and has one when the worker ends.
func TestOpenJSONLine(t *testing.T) {
	s, _ := newSet(t)
	cfg := FileConfig{Path: inDir(t, "out.log"), Format: Format{JSON: true}}
	ends := openOnly(t, s, 1, cfg)
	st := s.streamsOf(1)[0]
	syscall.Write(ends.Stdout, []byte("be"))
	st.file.call(func() error { // a turn that has waited long enough
		st.file.steps(st, turnMax, false)
		return nil
	})
	checkFile(t, cfg.Path, "")
	syscall.Write(ends.Stdout, []byte("gin\nopen"))
	drain(t, s, 1)
	syscall.Write(ends.Stdout, bytes.Repeat([]byte("€"), chunkSize/2)) // longer than can be held
	finish(t, s, 1)
	data, err := os.ReadFile(cfg.Path)
	if err != nil {
		t.Fatal(err)
	}
	messages := strings.Split(string(unformat(t, data, cfg.Format)), "\n")
	if messages[0] != "begin" || messages[1] != "open" || strings.Join(messages[2:], "") != strings.Repeat("€", chunkSize/2) {
		t.Errorf("%.100q", messages)
	}
}

// Both streams in one file: JSON says which is which, text keeps their order.
func TestFormattedStreamsInOneFile(t *testing.T) {
	s, _ := newSet(t)
	asJSON := FileConfig{Path: inDir(t, "out.json"), Format: Format{JSON: true}}
	ends, err := s.Open(Worker{ID: 1, Label: "a:0", App: "a", Slot: 2, Out: asJSON, Err: asJSON})
	if err != nil {
		t.Fatal(err)
	}
	defer ends.Close()
	syscall.Write(ends.Stdout, []byte("one\n"))
	syscall.Write(ends.Stderr, []byte("two\n"))
	drain(t, s, 1)
	data, _ := os.ReadFile(asJSON.Path)
	for _, want := range []string{`"one"`, `"type":"out","process_id":2,"app_name":"a"`, `"two"`, `"type":"err","process_id":2`} {
		if !strings.Contains(string(data), want) {
			t.Errorf("no %s in %s", want, data)
		}
	}
	text := FileConfig{Path: inDir(t, "out.log"), Format: hhmm}
	ends, err = s.Open(Worker{ID: 2, Label: "a:0", Out: text, Err: text})
	if err != nil {
		t.Fatal(err)
	}
	defer ends.Close()
	if ends.Pipes.Err >= 0 || ends.Pipes.SpoolErr >= 0 || ends.Pipes.SpoolOut < 0 {
		t.Errorf("%+v", ends.Pipes)
	}
	syscall.Write(ends.Stderr, []byte("one\n"))
	syscall.Write(ends.Stdout, []byte("two\n"))
	drain(t, s, 2)
	checkFile(t, text.Path, "at: one\nat: two\n")
}

// The spool's memory is given back, and is bounded while a worker floods.
func TestSpoolIsBounded(t *testing.T) {
	s, _ := newSet(t)
	cfg := FileConfig{Path: inDir(t, "out.log"), MaxSize: -1, Format: hhmm}
	ends, err := s.Open(Worker{ID: 1, Label: "a:0", Out: cfg})
	if err != nil {
		t.Fatal(err)
	}
	sp := ends.Pipes.SpoolOut
	p := startWriter(t, ends.Stdout, ends.Stderr, "bulk a 200000")
	s.Start(1)
	p.wait()
	drain(t, s, 1)
	st := s.streamsOf(1)[0]
	if err := st.file.call(func() error { st.file.steps(st, turnMax, false); return nil }); err != nil {
		t.Fatal(err)
	}
	var stat unix.Stat_t
	if err := unix.Fstat(sp, &stat); err != nil || stat.Size != spoolData+200000*100 || stat.Blocks > 4*8 {
		t.Errorf("%d bytes, %d blocks: %v", stat.Size, stat.Blocks, err)
	}
	if err := unix.Ftruncate(sp, 0); !errors.Is(err, unix.EPERM) {
		t.Errorf("the header can be cut off: %v", err)
	}
}

func TestFullDiskFormatted(t *testing.T) {
	for name, format := range formats {
		t.Run(name, func(t *testing.T) {
			if name == "raw" {
				return
			}
			dir := t.TempDir()
			if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=256k"); err != nil {
				t.Skip("cannot mount a small filesystem: ", err)
			}
			defer unix.Unmount(dir, unix.MNT_DETACH)
			s, facts := newSet(t)
			cfg := FileConfig{Path: filepath.Join(dir, "out.log"), MaxSize: -1, Format: format}
			ends := openOnly(t, s, 1, cfg)
			s.Start(1)
			for i := range 10000 {
				if _, err := syscall.Write(ends.Stdout, numbered("a", i)); err != nil {
					t.Fatal(err)
				}
			}
			drain(t, s, 1)
			data, err := os.ReadFile(cfg.Path)
			if err != nil {
				t.Fatal(err)
			}
			kept := bytes.Count(data, []byte{'\n'})
			checkLines(t, unformat(t, data, format), kept, "a")
			if err := s.Flush(cfg.Path); err != nil {
				t.Fatal(err)
			}
			syscall.Write(ends.Stdout, []byte("again\n"))
			drain(t, s, 1)
			data, _ = os.ReadFile(cfg.Path)
			if got := unformat(t, data, format); string(got) != "again\n" {
				t.Errorf("%q", got)
			}
			facts.await(t, "Resumed", func(f Fact) bool { return f == Resumed{cfg.Path} })
			var lost Dropped
			for _, f := range facts.list() {
				if d, ok := f.(Dropped); ok {
					lost.Bytes += d.Bytes
					lost.Lines += d.Lines
				}
			}
			if int(lost.Lines)+kept != 10000 || lost.Bytes != lost.Lines*100 || kept == 0 {
				t.Errorf("%d written, lost %+v", kept, lost)
			}
		})
	}
}

// A fifo takes formatted lines as far as there is room.
func TestFormattedFifo(t *testing.T) {
	s, _ := newSet(t)
	path := t.TempDir() + "/fifo"
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	spawn(t, s, Worker{ID: 1, Label: "a:0", Out: FileConfig{Path: path, Format: formats["text"]}}, "lines a 10000")
	got := make([]byte, 10000*(100+len("2026-01-01 00:00:00.000 +00:00: ")))
	if _, err := io.ReadFull(r, got); err != nil {
		t.Fatal(err)
	}
	checkLines(t, unformat(t, got, formats["text"]), 10000, "a")
	flood := spawn(t, s, Worker{ID: 2, Label: "a:0", Out: FileConfig{Path: path, Format: formats["json"]}}, "forever a 0")
	if _, err := io.ReadFull(r, got[:100_000]); err != nil {
		t.Fatal(err)
	}
	finish(t, s, 2) // nobody reads: it does not wait
	flood.kill()
	finish(t, s, 1)
}

// Without a file nothing is spooled, and a wrong format is refused.
func TestFormatWithoutAFile(t *testing.T) {
	s, _ := newSet(t)
	ends := openOnly(t, s, 1, FileConfig{Format: hhmm})
	if ends.Pipes.SpoolOut != -1 {
		t.Error(ends.Pipes)
	}
	_, err := s.Open(Worker{ID: 2, Label: "b:0", Out: FileConfig{Path: inDir(t, "x"), Format: Format{DateFormat: "Q"}}})
	if err == nil || !strings.Contains(err.Error(), `"Q"`) {
		t.Error(err)
	}
}
