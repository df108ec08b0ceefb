package logs

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// deadline guards waits; nothing here depends on how long anything takes.
const deadline = 60 * time.Second

// writerEnv makes the test binary a writer: "MODE ID COUNT".
const writerEnv = "LOGS_TEST_WRITER"

func TestMain(m *testing.M) {
	if spec := os.Getenv(writerEnv); spec != "" {
		write(strings.Fields(spec))
		return
	}
	r, w, err := os.Pipe() // Go's poller opens its descriptors now, before any are counted
	if err != nil {
		panic(err)
	}
	r.Close()
	w.Close()
	goleak.VerifyTestMain(m)
}

// write is the worker: numbered lines of 100 bytes on stdout.
func write(spec []string) {
	count, _ := strconv.Atoi(spec[2])
	switch spec[0] {
	case "lines": // one write(2) each
		for i := range count {
			os.Stdout.Write(numbered(spec[1], i))
		}
	case "bulk": // 64 KiB writes, which end in the middle of a line
		w := bufio.NewWriterSize(os.Stdout, 64<<10)
		for i := range count {
			w.Write(numbered(spec[1], i))
		}
		w.Flush()
	case "both": // every second line to stderr
		for i := range count {
			out := os.Stdout
			if i%2 == 1 {
				out = os.Stderr
			}
			out.Write(numbered(spec[1], i))
		}
	case "forever":
		for i := 0; ; i++ {
			if _, err := os.Stdout.Write(numbered(spec[1], i)); err != nil {
				os.Exit(1)
			}
		}
	case "garbage": // one line without end, count KiB of it
		block := bytes.Repeat([]byte{0xff, 0x1b, 'x', 0}, 256)
		for range count {
			os.Stdout.Write(block)
		}
	case "say": // what follows, as it is, and a death
		os.Stdout.WriteString(strings.Join(spec[3:], "\n"))
		os.Exit(3)
	case "child": // a grandchild that holds the pipes until its stdin ends
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), writerEnv+"=hold x 0")
		cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
		if cmd.Start() != nil {
			os.Exit(4)
		}
	case "capture": // a supervisor that captures the pipe at fd 3 into a file, until it is killed
		s, err := New(Config{})
		cfg := FileConfig{Path: spec[3], MaxSize: int64(count), MaxFiles: 1 << 20}
		if err == nil {
			err = s.Adopt(Worker{ID: 1, Label: "a:0", Out: cfg}, Pipes{3, -1, -1, -1})
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(5)
		}
		s.Start(1)
		io.Copy(io.Discard, os.Stdin)
		s.Close()
	case "daemon": // the same with the streams that are handed to it, see crashed
		playDaemon(spec[1], spec[2:])
	case "count": // until stdin ends; then how many these were goes to a file
		var ended atomic.Bool
		go func() { // ends with stdin, and the process with it
			io.Copy(io.Discard, os.Stdin)
			ended.Store(true)
		}()
		i := 0
		for ; !ended.Load(); i++ {
			os.Stdout.Write(numbered(spec[1], i))
		}
		os.WriteFile(spec[3], []byte(strconv.Itoa(i)), 0o600)
	case "hold":
		fmt.Println("held")
		io.Copy(io.Discard, os.Stdin)
	}
}

// numbered is line i of id. It is cheap, so that a writer's speed is that of its writes.
func numbered(id string, i int) []byte {
	line := make([]byte, 0, 100)
	line = append(append(line, id...), ' ')
	for div := 100_000_000; div > 0; div /= 10 {
		line = append(line, byte('0'+i/div%10))
	}
	line = append(line, ' ')
	line = append(line, dots[:99-len(line)]...)
	return append(line, '\n')
}

const dots = "...................................................................................................."

// facts collects what a Set tells.
type facts struct {
	mu  sync.Mutex
	all []Fact
	new chan struct{}
}

func (f *facts) tell(fact Fact) {
	f.mu.Lock()
	f.all = append(f.all, fact)
	f.mu.Unlock()
	select {
	case f.new <- struct{}{}:
	default:
	}
}

func (f *facts) list() []Fact {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]Fact(nil), f.all...)
}

// await returns when some fact satisfies ok.
func (f *facts) await(t *testing.T, what string, ok func(Fact) bool) {
	t.Helper()
	guard := time.After(deadline)
	for {
		for _, fact := range f.list() {
			if ok(fact) {
				return
			}
		}
		select {
		case <-f.new:
		case <-guard:
			t.Fatalf("no %s among %v", what, f.list())
		}
	}
}

func newSet(t testing.TB) (*Set, *facts) {
	t.Helper()
	before := countFDs(t)
	s, f := newLooseSet(t)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if after := countFDs(t); after != before {
			t.Errorf("%d descriptors before, %d after", before, after)
		}
	})
	return s, f
}

// newLooseSet is one whose descriptors are not counted, since it gets some of others.
func newLooseSet(t testing.TB) (*Set, *facts) {
	t.Helper()
	f := &facts{new: make(chan struct{}, 1)}
	s, err := New(Config{Facts: f.tell})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s, f
}

func countFDs(t testing.TB) int {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(fds)
}

// process is a running writer.
type process struct {
	t     testing.TB
	cmd   *exec.Cmd
	stdin io.WriteCloser
}

// spawn opens w and starts a writer in it.
func spawn(t testing.TB, s *Set, w Worker, spec string) *process {
	t.Helper()
	ends, err := s.Open(w)
	if err != nil {
		t.Fatal(err)
	}
	p := startWriter(t, ends.Stdout, ends.Stderr, spec)
	s.Start(w.ID)
	return p
}

// startWriter starts a writer on descriptors, which it closes here.
func startWriter(t testing.TB, stdout, stderr int, spec string) *process {
	t.Helper()
	out, errs := os.NewFile(uintptr(stdout), "out"), os.NewFile(uintptr(stderr), "err")
	defer out.Close()
	defer errs.Close()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), writerEnv+"="+spec, "GORACE=atexit_sleep_ms=0")
	cmd.Stdout, cmd.Stderr = out, errs
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

func (p *process) wait() {
	p.t.Helper()
	p.cmd.Wait()
}

// kill ends it, if it has not ended.
func (p *process) kill() {
	p.cmd.Process.Kill()
	p.cmd.Wait()
}

// readSet returns the content of the rotated files of path and of path, in order.
func readSet(t testing.TB, path string) []byte {
	t.Helper()
	var all []byte
	for _, name := range append(rotatedFiles(path), path) {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(name, gzSuffix) {
			z, err := gzip.NewReader(bytes.NewReader(data))
			if err != nil {
				t.Fatal(err)
			}
			if data, err = io.ReadAll(z); err != nil {
				t.Fatal(err)
			}
		}
		all = append(all, data...)
	}
	return all
}

// checkLines wants lines 0..count-1 of each id, each once, whole and in the order of their id.
func checkLines(t testing.TB, data []byte, count int, ids ...string) {
	t.Helper()
	next := map[string]int{}
	for i, line := range bytes.SplitAfter(data, []byte{'\n'}) {
		if len(line) == 0 {
			continue
		}
		id, _, _ := strings.Cut(string(line), " ")
		if want := numbered(id, next[id]); !bytes.Equal(line, want) {
			t.Fatalf("line %d is %q, want %q", i, line, want)
		}
		next[id]++
	}
	for _, id := range ids {
		if next[id] != count {
			t.Fatalf("%d lines of %s, want %d", next[id], id, count)
		}
		delete(next, id)
	}
	if len(next) > 0 {
		t.Fatalf("lines of others: %v", next)
	}
}

func inDir(t testing.TB, name string) string { return filepath.Join(t.TempDir(), "logs", name) }
