package handover

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// ample are limits that a busy machine does not reach.
var ample = [3]time.Duration{guard / 4, guard / 4, guard / 4}

// upgradeStage is a folder in which players follow each other.
type upgradeStage struct {
	t       *testing.T
	dir     string
	journal chan string
	first   *exec.Cmd
}

// newUpgradeStage starts the first player. Those that come after it become children of
// the test.
func newUpgradeStage(t *testing.T, env ...string) *upgradeStage {
	t.Helper()
	adoptOrphans(t)
	s := &upgradeStage{t: t, dir: t.TempDir(), journal: make(chan string, 100)}
	path := filepath.Join(s.dir, "journal")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	fifo, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	read := make(chan struct{})
	go func() { // ends with the test
		defer close(read)
		for lines := bufio.NewScanner(fifo); lines.Scan(); {
			s.journal <- lines.Text()
		}
	}()
	log, err := os.Create(filepath.Join(s.dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	s.first = exec.Command(playerBinary(), "-test.run=^TestUpgradePlayer$")
	s.first.Env = append(os.Environ(), playerDir+"="+s.dir, "GORACE=atexit_sleep_ms=0",
		"LISTEN_FDS=7", "LISTEN_PID=1", "WATCHDOG_PID=1", "UPGRADE_TEST_TOKEN=mine")
	s.first.Env = append(s.first.Env, env...)
	s.first.Stdout, s.first.Stderr = log, log
	if err := s.first.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.first.Process.Kill()
		s.first.Wait()
		endOrphans()
		fifo.Close()
		<-read
		text, _ := os.ReadFile(filepath.Join(s.dir, "log"))
		if strings.Contains(string(text), "DATA RACE") {
			t.Error("a race in a player")
		}
		if t.Failed() {
			t.Logf("log:\n%s", text)
		}
	})
	s.await("serving")
	return s
}

// orphans are the processes that players have left to the test, and that have not ended.
func (s *upgradeStage) orphans() (pids []int) {
	for _, pid := range children() {
		// One that has ended has no environment.
		env, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		if pid != s.first.Process.Pid && strings.Contains(string(env), playerDir+"="+s.dir) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// endOrphans ends whoever was left behind by a player, and takes those who have ended. The
// first one must be gone.
func endOrphans() {
	for _, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); err != unix.ECHILD; _, err = unix.Wait4(-1, nil, 0, nil) {
		for _, pid := range children() {
			unix.Kill(pid, unix.SIGKILL)
		}
	}
}

// await waits for an event of the journal and returns its pid.
func (s *upgradeStage) await(event string) (pid int) {
	s.t.Helper()
	late := time.After(guard)
	for {
		select {
		case line := <-s.journal:
			if strings.HasPrefix(line, event+" ") {
				fmt.Sscan(strings.TrimPrefix(line, event+" "), &pid)
				return pid
			}
		case <-late:
			s.t.Fatalf("no %s in the journal", event)
		}
	}
}

func (s *upgradeStage) call(o order) (a answer, err error) {
	conn, err := net.Dial("unix", filepath.Join(s.dir, "sock"))
	if err != nil {
		return a, err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(guard))
	if err := json.NewEncoder(conn).Encode(o); err != nil {
		return a, err
	}
	return a, json.NewDecoder(conn).Decode(&a)
}

func (s *upgradeStage) ask(o order) answer {
	s.t.Helper()
	a, err := s.call(o)
	if err != nil {
		s.t.Fatalf("%s: %v", o.Verb, err)
	}
	return a
}

// upgrade asks for one, of this very binary unless the order says otherwise.
func (s *upgradeStage) upgrade(o order) answer {
	s.t.Helper()
	return s.ask(s.order(o))
}

func (s *upgradeStage) order(o order) order {
	o.Verb = "upgrade"
	if o.Binary == "" {
		o.Binary = playerBinary()
	}
	if o.Limits == ([3]time.Duration{}) {
		o.Limits = ample
	}
	return o
}

// took checks an upgrade that went well, and returns the new process.
func (s *upgradeStage) took(a answer) int {
	s.t.Helper()
	if a.Error != "" {
		s.t.Fatalf("%s %q", a.Error, a.Words)
	}
	if pid := s.await("serving"); pid != a.N {
		s.t.Fatalf("pid %d serves, not %d", pid, a.N)
	}
	return a.N
}

// fine checks whoever serves, and returns how many descriptors it has.
func (s *upgradeStage) fine() (pid, fds int) {
	s.t.Helper()
	a := s.ask(order{Verb: "look"})
	if a.Error != "" {
		s.t.Fatalf("pid %d: %s", a.PID, a.Error)
	}
	return a.PID, a.N % 1_000_000
}

// load asks all the time until it is stopped; no request may fail.
func (s *upgradeStage) load() (stop func()) {
	var group sync.WaitGroup
	var done atomic.Bool
	var asked atomic.Int64
	for range 4 {
		group.Go(func() {
			for !done.Load() {
				asked.Add(1)
				if a, err := s.call(order{Verb: "ping"}); err != nil || a.PID == 0 {
					s.t.Errorf("a request: %v", err)
					return
				}
			}
		})
	}
	stop = func() {
		if !done.Swap(true) {
			group.Wait()
			s.t.Logf("%d requests", asked.Load())
		}
	}
	s.t.Cleanup(stop)
	return stop
}

// ended waits for the end of a process whose parent is gone, or is the test.
func ended(t *testing.T, pid int) unix.WaitStatus {
	t.Helper()
	var status unix.WaitStatus
	done := make(chan error, 1)
	go func() { // ends with the process
		_, err := unix.Wait4(pid, &status, 0, nil)
		done <- err
	}()
	select {
	case err := <-done:
		if err != nil {
			t.Fatalf("waiting for %d: %v", pid, err)
		}
	case <-time.After(guard):
		t.Fatalf("%d has not ended", pid)
	}
	return status
}
