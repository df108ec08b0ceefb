package logs

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// crashed is a daemon that dies again and again while its workers write at full speed. The test holds the pipes and
// spools, as the keeper would.
type crashed struct {
	t       *testing.T
	mode    string // a name of formats, or mixed: every worker another
	path    string
	size    int
	handed  []*os.File // pipe and spool of each worker in turn
	workers []*process
	counts  []string
}

// formatOfWorker is the format of the i-th worker.
func formatOfWorker(mode string, i int) Format {
	if mode == "mixed" {
		return []Format{{}, formats["text"]}[i%2]
	}
	return formats[mode]
}

func newCrashed(t *testing.T, mode string, workers int, size int) *crashed {
	c := &crashed{t: t, mode: mode, path: filepath.Join(t.TempDir(), "out.log"), size: size}
	if err := os.WriteFile(c.path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for i := range workers {
		r, end, _, err := newPipe(true, 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		var spool *os.File
		if formatOfWorker(mode, i) != (Format{}) {
			sp, err := newSpool()
			if err != nil {
				t.Fatal(err)
			}
			sp.unmap()
			spool = os.NewFile(uintptr(sp.fd), "spool")
			t.Cleanup(func() { spool.Close() })
		}
		pipe := os.NewFile(uintptr(r), "pipe")
		t.Cleanup(func() { pipe.Close() })
		c.handed = append(c.handed, pipe, spool)
		errs, err := unix.Dup(2)
		if err != nil {
			t.Fatal(err)
		}
		count := filepath.Join(t.TempDir(), "count")
		c.counts = append(c.counts, count)
		c.workers = append(c.workers, startWriter(t, end, errs, fmt.Sprintf("count w%d 0 %s", i, count)))
	}
	return c
}

// daemon starts one that adopts everything; env is added to its environment.
func (c *crashed) daemon(env ...string) *process {
	c.t.Helper()
	cmd := exec.Command(os.Args[0])
	spec := fmt.Sprintf("daemon %s %s %d", c.mode, c.path, c.size)
	for _, f := range c.handed {
		if f == nil {
			spec += " -1"
			continue
		}
		spec += " " + strconv.Itoa(3+len(cmd.ExtraFiles))
		cmd.ExtraFiles = append(cmd.ExtraFiles, f)
	}
	cmd.Env = append(append(os.Environ(), writerEnv+"="+spec, "GORACE=atexit_sleep_ms=0"), env...)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		c.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	p := &process{c.t, cmd, stdin}
	c.t.Cleanup(p.kill)
	return p
}

// check ends the workers and wants each line of each of them once and whole.
func (c *crashed) check() {
	c.t.Helper()
	last := c.daemon()
	total := 0
	for _, w := range c.workers {
		w.stdin.Close()
		w.wait()
	}
	last.stdin.Close() // it drains
	if err := last.cmd.Wait(); err != nil {
		c.t.Fatal(err)
	}
	for _, file := range rotatedFiles(c.path) {
		if data, err := os.ReadFile(file); err != nil || !bytes.HasSuffix(data, []byte{'\n'}) {
			c.t.Errorf("%s does not end with a line: %v", file, err)
		}
	}
	next := map[string]int{}
	for line := range bytes.Lines(readSet(c.t, c.path)) {
		raw := unformatted(c.t, line)
		var id string
		var n int
		fmt.Sscan(string(raw), &id, &n)
		if want := numbered(id, next[id]); string(raw) != string(want) {
			c.t.Fatalf("%q is not line %d of %s", line, next[id], id)
		}
		next[id]++
	}
	for i, count := range c.counts {
		data, err := os.ReadFile(count)
		if err != nil {
			c.t.Fatal(err)
		}
		if got := next[fmt.Sprintf("w%d", i)]; strconv.Itoa(got) != string(data) {
			c.t.Errorf("%d lines of worker %d, it wrote %s", got, i, data)
		}
		total += next[fmt.Sprintf("w%d", i)]
	}
	c.t.Logf("%d lines in %d files", total, len(rotatedFiles(c.path))+1)
}

// playDaemon is the daemon's process.
func playDaemon(mode string, spec []string) {
	s, err := New(Config{})
	if err != nil {
		panic(err)
	}
	size, _ := strconv.ParseInt(spec[1], 10, 64)
	fds := spec[2:]
	for i := 0; i < len(fds); i += 2 {
		cfg := FileConfig{Path: spec[0], MaxSize: size, MaxFiles: 1 << 20, Format: formatOfWorker(mode, i/2)}
		pipe, _ := strconv.Atoi(fds[i])
		spool, _ := strconv.Atoi(fds[i+1])
		w := Worker{ID: uint64(i), Label: "a:" + fds[i], App: "a", Slot: i / 2, Out: cfg}
		if err := s.Adopt(w, Pipes{pipe, -1, spool, -1}); err != nil {
			panic(err)
		}
	}
	for i := 0; i < len(fds); i += 2 {
		s.Start(uint64(i))
	}
	io.Copy(io.Discard, os.Stdin)
	if err := s.Close(); err != nil {
		panic(err)
	}
}

// The daemon is killed at any instant, again and again: every line once, in every format, with rotation, with one
// worker and with several that share the file.
func TestSIGKILLAtRandom(t *testing.T) {
	kills := 40
	if testing.Short() {
		kills = 10
	}
	for _, mode := range []string{"raw", "text", "json", "mixed"} {
		for _, workers := range []int{1, 2} {
			if mode == "mixed" && workers == 1 {
				continue
			}
			t.Run(fmt.Sprintf("%s-%d", mode, workers), func(t *testing.T) {
				t.Parallel()
				c := newCrashed(t, mode, workers, 1<<20)
				for range kills {
					watch := watchFile(t, filepath.Dir(c.path))
					daemon := c.daemon()
					watch.wait(t, "") // for its first write
					<-time.After(rand.N(3 * time.Millisecond))
					daemon.kill()
					watch.Close()
				}
				c.check()
			})
		}
	}
}

// The same on a disk that is full most of the time: what there is no room for is lost, and nothing else. No line is cut,
// comes twice or out of order.
func TestSIGKILLOnAFullDisk(t *testing.T) {
	kills := 40
	if testing.Short() {
		kills = 10
	}
	for _, mode := range []string{"raw", "text", "json", "mixed"} {
		t.Run(mode, func(t *testing.T) {
			dir := t.TempDir()
			if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=512k"); err != nil {
				t.Skip("cannot mount a small filesystem: ", err)
			}
			defer unix.Unmount(dir, unix.MNT_DETACH)
			c := newCrashed(t, mode, 2, 40_000)
			c.path = filepath.Join(dir, "out.log")
			if err := os.WriteFile(c.path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			next := map[string]int{}
			for range kills {
				c.whole(next, 1+rand.N(5)) // gives room
				watch := watchFile(t, dir)
				daemon := c.daemon()
				watch.wait(t, "")
				<-time.After(rand.N(3 * time.Millisecond))
				daemon.kill()
				watch.Close()
			}
			c.whole(next, 5)
			last := c.daemon()
			for _, w := range c.workers {
				w.stdin.Close()
				w.wait()
			}
			last.stdin.Close()
			last.wait()
			c.whole(next, math.MaxInt)
			t.Logf("up to line %v", next)
		})
	}
}

// whole checks up to n of the oldest rotated files and removes them, or all there are, and the one that is written;
// next are the least numbers that may come.
func (c *crashed) whole(next map[string]int, n int) {
	c.t.Helper()
	files := rotatedFiles(c.path)
	files = files[:min(n, len(files))]
	if n == math.MaxInt {
		files = append(files, c.path)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			c.t.Fatal(err)
		}
		for line := range bytes.Lines(data) {
			raw := unformatted(c.t, line)
			var id string
			var i int
			fmt.Sscanf(string(raw), "%s %d", &id, &i)
			if string(raw) != string(numbered(id, i)) || i < next[id] {
				c.t.Fatalf("%s: %q, at least line %d of %s was next", filepath.Base(file), line, next[id], id)
			}
			next[id] = i + 1
		}
		if file != c.path {
			os.Remove(file)
		}
	}
}

// unformatted is what a worker printed, of a line in whichever format.
func unformatted(t *testing.T, line []byte) []byte {
	t.Helper()
	switch {
	case line[0] == '{':
		return unformat(t, line, formats["json"])
	case line[0] != 'w':
		return unformat(t, line, formats["text"])
	}
	return line
}
