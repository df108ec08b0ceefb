package logs

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// A supervisor is killed at any instant, and its successor goes on with the same pipe: every line once.
func TestSIGKILLOfTheSupervisor(t *testing.T) {
	for _, mode := range []string{"lines", "bulk"} {
		t.Run(mode, func(t *testing.T) {
			path := inDir(t, "out.log")
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			r, end, _, err := newPipe(true, 0, 0)
			if err != nil {
				t.Fatal(err)
			}
			pipe := os.NewFile(uintptr(r), "pipe")
			defer pipe.Close()
			errs, err := unix.Dup(2)
			if err != nil {
				t.Fatal(err)
			}
			p := startWriter(t, end, errs, mode+" a 150000")
			for range 20 {
				watch := watchFile(t, filepath.Dir(path))
				daemon := startCapture(t, pipe, path)
				watch.wait(t, "") // for a first write; the kill comes somewhere in those that follow
				daemon.kill()
				watch.Close()
			}
			last := startCapture(t, pipe, path)
			p.wait()
			last.stdin.Close() // it drains
			last.wait()
			checkLines(t, readSet(t, path), 150000, "a")
		})
	}
}

func startCapture(t *testing.T, pipe *os.File, path string) *process {
	return startCaptureOn(t, pipe, path, nil)
}

func startCaptureOn(t *testing.T, pipe *os.File, path string, stdout *os.File) *process {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), writerEnv+"=capture x 1000000 "+path, "GORACE=atexit_sleep_ms=0")
	if stdout != nil {
		cmd.Stdout = stdout
	}
	cmd.Stderr, cmd.ExtraFiles = os.Stderr, []*os.File{pipe}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &process{t, cmd, stdin}
	t.Cleanup(p.kill)
	return p
}

func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=256k"); err != nil {
		t.Skip("cannot mount a small filesystem: ", err)
	}
	defer unix.Unmount(dir, unix.MNT_DETACH)
	testFull(t, filepath.Join(dir, "out.log"), func() error { return nil })
}

func TestFileSizeLimit(t *testing.T) {
	signal.Ignore(syscall.SIGXFSZ)
	defer signal.Reset(syscall.SIGXFSZ)
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &old); err != nil {
		t.Fatal(err)
	}
	limit := old
	limit.Cur = 256 << 10
	path := inDir(t, "out.log")
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	defer unix.Setrlimit(unix.RLIMIT_FSIZE, &old)
	testFull(t, path, func() error { return unix.Setrlimit(unix.RLIMIT_FSIZE, &old) })
}

// testFull writes 1 MB to path, which takes 256 KiB: the worker goes on, whole lines are in the file, each other line is
// counted, and with space again the next line is written.
func testFull(t *testing.T, path string, free func() error) {
	s, facts := newSet(t)
	cfg := FileConfig{Path: path, MaxSize: -1}
	ends := openOnly(t, s, 1, cfg)
	s.Start(1)
	for i := range 10000 {
		if _, err := syscall.Write(ends.Stdout, numbered("a", i)); err != nil {
			t.Fatal(err)
		}
	}
	drain(t, s, 1)
	facts.await(t, "Failed", func(f Fact) bool {
		failed, ok := f.(Failed)
		return ok && failed.Path == path && (errors.Is(failed.Err, unix.ENOSPC) || errors.Is(failed.Err, unix.EFBIG))
	})
	written := size(t, path) / 100
	if n := size(t, path); n%100 != 0 || n > 256<<10 || n < 100<<10 {
		t.Errorf("%d bytes in the file", n)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	checkLines(t, data, int(written), "a")
	if err := errors.Join(free(), s.Flush(path)); err != nil {
		t.Fatal(err)
	}
	syscall.Write(ends.Stdout, []byte("again\n"))
	drain(t, s, 1)
	checkFile(t, path, "again\n")
	facts.await(t, "Resumed", func(f Fact) bool { return f == Resumed{path} })
	var lost Dropped
	for _, f := range facts.list() {
		if d, ok := f.(Dropped); ok {
			lost.Bytes += d.Bytes
			lost.Lines += d.Lines
		}
	}
	if lost.Lines+written != 10000 || lost.Bytes != lost.Lines*100 {
		t.Errorf("%d written, lost %+v", written, lost)
	}
}

// Where a file can't be renamed it grows, and that is said.
func TestRotationIsRefused(t *testing.T) {
	s, facts := newSet(t)
	path := filepath.Join(t.TempDir(), strings.Repeat("x", 250)) // there is no room for a stamp
	ends := openOnly(t, s, 1, FileConfig{Path: path, MaxSize: 1000})
	for i := range 50 {
		syscall.Write(ends.Stdout, numbered("a", i))
		drain(t, s, 1)
	}
	finish(t, s, 1)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	checkLines(t, data, 50, "a")
	n := 0
	for _, fact := range facts.list() {
		if _, ok := fact.(Failed); ok {
			n++
		}
	}
	if n == 0 || n > 6 {
		t.Errorf("said %d times", n)
	}
}

// A file that does not take splice(2).
func TestCopied(t *testing.T) {
	s, facts := newSet(t)
	path := inDir(t, "out.log")
	ends := openOnly(t, s, 1, FileConfig{Path: path})
	f := s.openFiles()[canonical(path)]
	f.call(func() error { // O_APPEND makes splice(2) say EINVAL
		_, err := unix.FcntlInt(uintptr(f.fd), unix.F_SETFL, unix.O_APPEND)
		return err
	})
	syscall.Write(ends.Stdout, []byte("one\n"))
	drain(t, s, 1)
	syscall.Write(ends.Stdout, []byte("two\nthree"))
	drain(t, s, 1)
	checkFile(t, path, "one\ntwo\nthree")
	if all := facts.list(); len(all) != 1 || all[0] != (Copied{path, unix.EINVAL}) {
		t.Error(all)
	}
}

// A fifo takes what its reader reads; while nobody does, the worker waits, and Finish does not.
func TestFifo(t *testing.T) {
	s, _ := newSet(t)
	path := t.TempDir() + "/fifo"
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Open(Worker{ID: 1, Label: "a:0", Out: FileConfig{Path: path}}); !errors.Is(err, unix.ENXIO) {
		t.Fatal(err)
	}
	r, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	p := spawn(t, s, Worker{ID: 1, Label: "a:0", Out: FileConfig{Path: path}}, "lines a 10000")
	got := make([]byte, 10000*100)
	if _, err := io.ReadFull(r, got); err != nil {
		t.Fatal(err)
	}
	p.wait()
	checkLines(t, got, 10000, "a")
	flood := spawn(t, s, Worker{ID: 2, Label: "a:0", Out: FileConfig{Path: path}}, "forever a 0")
	if _, err := io.ReadFull(r, got[:1000]); err != nil {
		t.Fatal(err)
	}
	finish(t, s, 2)
	flood.kill()
	finish(t, s, 1)
}

// As in a container: out_file is /dev/stdout, a pipe or a file that somebody else opened.
func TestDevStdout(t *testing.T) {
	file := t.TempDir() + "/stdout"
	for _, path := range []string{"", file} {
		r, end, _, err := newPipe(false, 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		pipe := os.NewFile(uintptr(r), "pipe")
		out, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		if path != "" {
			w.Close()
			if w, err = os.Create(path); err != nil {
				t.Fatal(err)
			}
		}
		daemon := startCaptureOn(t, pipe, "/dev/stdout", w)
		w.Close()
		syscall.Write(end, []byte("hello\n"))
		unix.Close(end)
		if path == "" {
			got := make([]byte, 6)
			if _, err := io.ReadFull(out, got); err != nil || string(got) != "hello\n" {
				t.Errorf("%q %v", got, err)
			}
		}
		daemon.stdin.Close()
		daemon.wait()
		if path != "" {
			checkFile(t, path, "hello\n")
		}
		pipe.Close()
		out.Close()
	}
}

// Without descriptors no worker can be opened, and those that run go on; without a scratch pipe they wait for one.
func TestNoDescriptors(t *testing.T) {
	s, facts := newSet(t)
	path := inDir(t, "out.log")
	ends := openOnly(t, s, 1, FileConfig{Path: path})
	s.Start(1)
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	restore := func() { unix.Setrlimit(unix.RLIMIT_NOFILE, &old) }
	defer restore()
	before := countFDs(t)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 3, Max: old.Max}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Open(Worker{ID: 2, Label: "b:0"}); !errors.Is(err, unix.EMFILE) {
		t.Error(err)
	}
	syscall.Write(ends.Stdout, []byte("hello\n"))
	facts.await(t, "Failed", func(f Fact) bool {
		failed, ok := f.(Failed)
		return ok && errors.Is(failed.Err, unix.EMFILE)
	})
	restore()
	if after := countFDs(t); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
	awaitFile(t, path, "hello\n")
	facts.await(t, "Resumed", func(f Fact) bool { return f == Resumed{path} })
}

// A spawn that failed: the ends are closed before Start.
func TestFinishWithoutStart(t *testing.T) {
	s, _ := newSet(t)
	ends, err := s.Open(Worker{ID: 1, Label: "a:0"})
	if err != nil {
		t.Fatal(err)
	}
	syscall.Write(ends.Stderr, []byte("cannot exec\n"))
	ends.Close()
	finish(t, s, 1)
	if got := s.LastLines(1, 1); len(got) != 1 || got[0] != "cannot exec" {
		t.Error(got)
	}
	finish(t, s, 1, 99) // again, and one that never was
}

// Many workers cost two goroutines and four descriptors each, and leave nothing.
func TestNothingIsLeft(t *testing.T) {
	s, _ := newSet(t)
	dir := t.TempDir()
	others, fds := goleak.IgnoreCurrent(), countFDs(t)
	for round := range 3 {
		for i := range 100 {
			id := uint64(round*100 + i)
			cfg := FileConfig{Path: filepath.Join(dir, strconv.Itoa(i))}
			ends, err := s.Open(Worker{ID: id, Label: "a:0", Out: cfg})
			if err != nil {
				t.Fatal(err)
			}
			s.Start(id)
			syscall.Write(ends.Stdout, []byte("hello\n"))
			ends.Close()
		}
		for i := range 100 {
			id := uint64(round*100 + i)
			finish(t, s, id)
			if got := s.LastLines(id, 1); len(got) != 1 || got[0] != "hello" {
				t.Fatal(got)
			}
		}
	}
	goleak.VerifyNone(t, others)
	if n := countFDs(t); n > fds+2*scratchCount {
		t.Errorf("%d descriptors before, %d after", fds, n)
	}
	if n := s.reg.bigPipes; n != 0 {
		t.Errorf("%d big pipes", n)
	}
	if n := len(s.reg.workers); n != finishedRings {
		t.Errorf("%d rings are kept", n)
	}
	data, err := os.ReadFile(filepath.Join(dir, "99"))
	if want := bytes.Repeat([]byte("hello\n"), 3); err != nil || !bytes.Equal(data, want) {
		t.Errorf("%q %v", data, err)
	}
}

// The worker's end does not block us, does not raise SIGPIPE, and blocks the worker as stdout does.
func TestWorkersEnd(t *testing.T) {
	s, _ := newSet(t)
	ends := openOnly(t, s, 1, FileConfig{})
	for fd, want := range map[int]int{ends.Stdout: unix.O_RDWR, ends.Pipes.Out: unix.O_RDONLY | unix.O_NONBLOCK} {
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
		if err != nil || flags&(unix.O_ACCMODE|unix.O_NONBLOCK) != want {
			t.Errorf("flags %o, want %o: %v", flags, want, err)
		}
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags != unix.FD_CLOEXEC {
			t.Errorf("not close-on-exec: %d %v", flags, err)
		}
	}
	if os.Getuid() == 0 {
		ends, err := s.Open(Worker{ID: 2, Label: "a:0", UID: 65534, GID: 65534})
		if err != nil {
			t.Fatal(err)
		}
		defer ends.Close()
		var st unix.Stat_t
		if err := unix.Fstat(ends.Stdout, &st); err != nil || st.Uid != 65534 || st.Gid != 65534 {
			t.Error(st.Uid, st.Gid, err)
		}
	}
	finish(t, s, 1)
	if _, err := syscall.Write(ends.Stdout, []byte("nobody reads\n")); err != nil {
		t.Error(err)
	}
}
