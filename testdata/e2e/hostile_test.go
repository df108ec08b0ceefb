package e2e

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"supervisor/testdata/lab"
)

// hostile returns the program hostile, built by the first who asks.
func hostile(t *testing.T) string {
	t.Helper()
	path, err := buildHostile()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

var buildHostile = sync.OnceValues(func() (string, error) {
	path := filepath.Join(lab.Built, "hostile")
	cmd := exec.Command("go", "build", "-o", path, sourcePath("hostile"))
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("cannot build hostile: %w\n%s", err, out)
	}
	return path, nil
})

// behaves is an app that runs hostile, with more keys behind.
func behaves(t *testing.T, name, behaviour string, keys ...string) string {
	return fmt.Sprintf("name: %s\nscript: %s\nargs: %s\nlisten_timeout: 60s\nwait_ready: true\n%s",
		name, hostile(t), behaviour, strings.Join(keys, "\n"))
}

// steady starts two calm workers and returns a check that they still run.
func steady(t *testing.T, s *supervisor) (unharmed func()) {
	t.Helper()
	s.ecosystem(behaves(t, "calm", "calm", "instances: 2"))
	file := filepath.Join(s.Dir, "calm.yaml")
	if err := os.Rename(filepath.Join(s.Dir, "ecosystem.yaml"), file); err != nil {
		t.Fatal(err)
	}
	s.Must("start", file)
	before := s.Pids("calm")
	return func() {
		t.Helper()
		if after := s.Pids("calm"); !slices.Equal(after, before) {
			t.Errorf("what ran was touched: pids %v became %v", before, after)
		}
		if app := s.App("calm"); app.Status != "online" || app.Restarts != 0 {
			t.Errorf("what ran was touched: %+v", app)
		}
	}
}

// resident is the memory of the daemon, in bytes.
func (s *supervisor) resident() int {
	s.t.Helper()
	pid := s.List().Daemon.PID
	for line := range strings.Lines(s.read(fmt.Sprintf("/proc/%d/status", pid))) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, err := strconv.Atoi(strings.Fields(rest)[0])
			if err == nil {
				return kb << 10
			}
		}
	}
	s.t.Fatal("no VmRSS")
	return 0
}

// maxGrowth is how much memory the daemon may take for what a worker does to it.
const maxGrowth = 20 << 20

// flat checks the daemon's memory.
func (s *supervisor) flat(before int) {
	s.t.Helper()
	after := s.resident()
	s.t.Logf("the daemon's memory: %d kB before, %d kB after", before>>10, after>>10)
	if after-before > maxGrowth {
		s.t.Errorf("the daemon grew by %d bytes", after-before)
	}
}

// reader gives the lines of a command that goes on.
type reader struct {
	t     *testing.T
	cmd   *exec.Cmd
	lines *bufio.Scanner
}

// watch starts a command whose stdout is read line by line. Its end is a deadline,
// so that no read waits for ever.
func (s *supervisor) watch(args ...string) *reader {
	s.t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		s.t.Fatal(err)
	}
	r.SetReadDeadline(time.Now().Add(guard))
	cmd := s.Command(args...)
	cmd.Stdout, cmd.Stderr = w, os.Stderr
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	w.Close()
	s.t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		r.Close()
	})
	return &reader{s.t, cmd, bufio.NewScanner(r)}
}

// until reads to the first line that has a text.
func (r *reader) until(text string) string {
	r.t.Helper()
	var seen []string
	for r.lines.Scan() {
		seen = append(seen, r.lines.Text())
		if strings.Contains(r.lines.Text(), text) {
			return r.lines.Text()
		}
	}
	r.t.Fatalf("it ended without %q: %v\n%s", text, r.lines.Err(), strings.Join(seen, "\n"))
	return ""
}

// end sends a signal and returns the exit code.
func (r *reader) end(sig os.Signal) int {
	r.t.Helper()
	if err := r.cmd.Process.Signal(sig); err != nil {
		r.t.Fatal(err)
	}
	r.cmd.Wait()
	return r.cmd.ProcessState.ExitCode()
}
