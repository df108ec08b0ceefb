package logs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestFollowerGetsAllLines(t *testing.T) {
	s, _ := newSet(t)
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	both := s.Follow(Filter{})
	defer both.Close()
	errs := s.Follow(Filter{Err: true, Match: func(_ uint64, label string) bool { return label == "a:0" }})
	defer errs.Close()
	ends := openOnly(t, s, 1, FileConfig{})
	s.Start(1)
	for i := range 1000 {
		fmt.Fprintf(fdWriter(ends.Stdout), "out %d\n", i)
		fmt.Fprintf(fdWriter(ends.Stderr), "err %d\r\n", i)
	}
	next := [2]int{}
	for next != [2]int{1000, 1000} {
		lines, err := both.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range lines {
			if want := fmt.Sprintf("%s %d", line.Stream, next[line.Stream]); line.Text != want || line.Lost > 0 || line.Cut {
				t.Fatalf("%+v, want %q", line, want)
			}
			next[line.Stream]++
		}
	}
	for n := 0; n < 1000; {
		lines, err := errs.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range lines {
			if line.Stream != Stderr {
				t.Fatal(line)
			}
			n++
		}
	}
}

func TestSlowFollowerIsToldItsLoss(t *testing.T) {
	s, _ := newSet(t)
	slow := s.Follow(Filter{})
	cfg := FileConfig{Path: inDir(t, "out.log"), MaxSize: -1}
	spawn(t, s, Worker{ID: 1, Label: "a:0", Out: cfg}, "lines a 50000").wait()
	finish(t, s, 1)
	first, err := slow.Next(t.Context())
	if err != nil || len(first) == 0 || len(first) > followBytes/lineCost {
		t.Fatal(len(first), err)
	}
	ends := openOnly(t, s, 2, FileConfig{})
	syscall.Write(ends.Stdout, []byte("last\n"))
	drain(t, s, 2)
	lines, err := slow.Next(t.Context())
	if err != nil || len(lines) != 1 || lines[0].Lost+int64(len(first)) != 50000 {
		t.Fatal(len(first), lines, err)
	}
	slow.Close()
	if _, err := slow.Next(t.Context()); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
	checkLines(t, readSet(t, cfg.Path), 50000, "a")
}

func TestFollowerOfLongLines(t *testing.T) {
	s, _ := newSet(t)
	f := s.Follow(Filter{})
	defer f.Close()
	ends := openOnly(t, s, 1, FileConfig{})
	syscall.Write(ends.Stdout, []byte(strings.Repeat("x", LineMax+1)+"\n"+strings.Repeat("y", LineMax)+"\nshort\n"))
	drain(t, s, 1)
	lines, err := f.Next(t.Context())
	if err != nil || len(lines) != 3 {
		t.Fatal(len(lines), err)
	}
	for i, cut := range []bool{true, false, false} {
		if lines[i].Cut != cut || len(lines[i].Text) > LineMax {
			t.Errorf("line %d: %d bytes, cut %v", i, len(lines[i].Text), lines[i].Cut)
		}
	}
}

func TestFollowersEndWithTheSet(t *testing.T) {
	s, _ := newSet(t)
	f := s.Follow(Filter{})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Next(t.Context()); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
	if _, err := s.Follow(Filter{}).Next(t.Context()); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
	if _, err := s.Open(Worker{ID: 1, Label: "a:0"}); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
}

func TestConsole(t *testing.T) {
	s, _ := newSet(t)
	out, errs := testPipe(t), testPipe(t)
	console, err := s.Console(out.w, errs.w)
	if err != nil {
		t.Fatal(err)
	}
	ends := openOnly(t, s, 1, FileConfig{})
	syscall.Write(ends.Stdout, []byte("one\ntwo\n"))
	syscall.Write(ends.Stderr, []byte("three\n"))
	drain(t, s, 1)
	out.expect(t, "a:0 | one\na:0 | two\n")
	errs.expect(t, "a:0 | three\n")
	console.Close()
}

// Nobody reads the console: workers go on, and it can be closed.
func TestConsoleIsStuck(t *testing.T) {
	s, _ := newSet(t)
	stuck := testPipe(t)
	console, err := s.Console(stuck.w, stuck.w)
	if err != nil {
		t.Fatal(err)
	}
	cfg := FileConfig{Path: inDir(t, "out.log"), MaxSize: -1}
	spawn(t, s, Worker{ID: 1, Label: "a:0", Out: cfg}, "lines a 100000").wait()
	finish(t, s, 1)
	checkLines(t, readSet(t, cfg.Path), 100000, "a")
	console.Close()
}

// Whoever read the console is gone.
func TestConsoleIsClosed(t *testing.T) {
	s, _ := newSet(t)
	gone, errs := testPipe(t), testPipe(t)
	console, err := s.Console(gone.w, errs.w)
	if err != nil {
		t.Fatal(err)
	}
	gone.r.Close()
	ends := openOnly(t, s, 1, FileConfig{})
	for range 3 {
		syscall.Write(ends.Stdout, []byte("one\n"))
		drain(t, s, 1)
	}
	syscall.Write(ends.Stderr, []byte("three\n"))
	drain(t, s, 1)
	errs.expect(t, "a:0 | three\n")
	console.Close()
}

type fdWriter int

func (fd fdWriter) Write(b []byte) (int, error) { return unix.Write(int(fd), b) }

// pipeEnds is a pipe whose write end blocks.
type pipeEnds struct {
	r *os.File
	w int
}

func testPipe(t *testing.T) pipeEnds {
	t.Helper()
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	ends := pipeEnds{os.NewFile(uintptr(p[0]), "r"), p[1]}
	t.Cleanup(func() {
		ends.r.Close()
		unix.Close(ends.w)
	})
	return ends
}

func (p pipeEnds) expect(t *testing.T, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(p.r, got); err != nil || string(got) != want {
		t.Errorf("%q, want %q: %v", got, want, err)
	}
}

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"plain":                           "plain",
		"tab\there\r":                     "tab\there",
		"\x1b[1;31mred\x1b[0m":            "red",
		"\x1b]0;title\x07x\x1b]8;;\x1b\\": "x",
		"\x1b[2J\x1bc":                    `\x1bc`,
		"a\x00b\x7f":                      `a\x00b\x7f`,
		"\xff\xc3(ü)":                     `\xff\xc3(ü)`,
		"\u202eright to left":             `\xe2\x80\xaeright to left`,
		"\x1b[":                           `\x1b[`,
	} {
		if got := Printable(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func FuzzPrintable(f *testing.F) {
	f.Add("plain\x1b[31m\x00")
	f.Fuzz(func(t *testing.T, in string) {
		out := Printable(in)
		if again := Printable(out); again != out {
			t.Errorf("%q, then %q", out, again)
		}
		if strings.ContainsAny(out, "\x1b\r\n\x00\x07\u009b") {
			t.Errorf("%q", out)
		}
	})
}

func TestTail(t *testing.T) {
	path := inDir(t, "out.log")
	if _, err := Tail(path, 5); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	s, _ := newSet(t)
	ends := openOnly(t, s, 1, FileConfig{Path: path, MaxSize: 30})
	syscall.Write(ends.Stdout, []byte("one-------\ntwo-------\nthree-----\nfour------\nfive"))
	drain(t, s, 1)
	if n := len(rotatedFiles(path)); n != 1 {
		t.Fatal(n)
	}
	all := []string{"one-------", "two-------", "three-----", "four------", "five"}
	for n := range 7 {
		want := all[max(len(all)-n, 0):]
		if got, err := Tail(path, n); err != nil || !slices.Equal(got, want) {
			t.Errorf("%d: %q, want %q: %v", n, got, want, err)
		}
	}
}

func TestTailOfALongFile(t *testing.T) {
	path := t.TempDir() + "/out.log"
	var data []byte
	for i := range 100000 {
		data = append(data, numbered("a", i)...)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{1, 10, 5000, 50000} {
		lines, err := Tail(path, n)
		if err != nil || len(lines) != n {
			t.Fatal(n, len(lines), err)
		}
		first, last := numbered("a", 100000-n), numbered("a", 99999)
		if lines[0]+"\n" != string(first) || lines[n-1]+"\n" != string(last) {
			t.Error(n, lines[0], lines[n-1])
		}
	}
}
