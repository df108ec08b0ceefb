package crash

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"supervisor/testdata/lab"
	"supervisor/testdata/load"
)

// A second supervisor on a home says who has it and ends, also after the first has died
// and come back.
func TestTwoSupervisorsOnOneHome(t *testing.T) {
	s := newSite(t, web(t))
	s.Must("start")
	before := s.steady()
	lab.Under(t, func([]*load.Load) {
		for range 2 {
			pid := s.daemon().PID
			s.Fails(1, []string{fmt.Sprintf("pid %d", pid)}, "start", "--no-daemon")
			s.same("a second supervisor", before, s.steady())
			if now := s.daemon().PID; now != pid {
				t.Errorf("the daemon was %d, is %d", pid, now)
			}
			s.daemon().Kill()
		}
		s.same("its death", before, s.steady())
	}, s.loads(s.apps...)...)
}

// stranger is a process that has nothing to do with any supervisor: the leader of its
// group, as a worker is.
func stranger(t *testing.T) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("sleep", "1000")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		if err := cmd.Wait(); cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != unix.SIGKILL {
			t.Errorf("somebody has ended a stranger: %v", err)
		}
	})
	return cmd
}

// unharmed checks that a stranger runs; its end, by whom else, is checked with the test.
func unharmed(t *testing.T, strangers []*exec.Cmd) {
	t.Helper()
	for _, cmd := range strangers {
		if h := lab.Hold(t, cmd.Process.Pid); h == nil || h.Ended() {
			t.Errorf("pid %d, a stranger's, has been ended", cmd.Process.Pid)
		}
	}
}

// The state names processes that are none of ours: after a reboot, or since the pids
// have come round. They are left alone, and the apps run as they did.
func TestRecycledPids(t *testing.T) {
	for _, recycled := range []string{"after a reboot", "the pids have come round", "the boot and the start times are others"} {
		t.Run(recycled, func(t *testing.T) {
			s := newSite(t, web(t), job(t))
			s.lossy = true // what is in the pipe of a dead worker goes with the last who holds it
			s.Must("start")
			s.Must("scale", "web", "3")
			s.app("web").instances = 3
			workers := s.steady()
			keeper, daemon := s.keeper(), s.daemon()
			daemon.Signal(unix.SIGSTOP)
			keeper.Kill()
			daemon.Kill()
			var strangers []*exec.Cmd
			replace := make(map[string]string)
			for _, pid := range workers {
				h := lab.Hold(t, pid)
				start := started(t, pid)
				h.Kill()
				strangers = append(strangers, stranger(t))
				other := strangers[len(strangers)-1].Process.Pid
				replace[fmt.Sprint(pid)] = fmt.Sprint(other)
				if recycled == "after a reboot" { // which alone tells that it is not the worker
					replace[start] = started(t, other)
				}
			}
			if recycled != "the pids have come round" {
				replace[boot(t)] = strings.Repeat("0", 8) + "-0000-4000-8000-" + strings.Repeat("0", 12)
			}
			s.rewrite(replace)
			if recycled != "the pids have come round" {
				s.app("web").instances = 2 // the file counts, as after every reboot
			}
			s.Must("start")
			after := s.steady()
			for at, pid := range after {
				if slices.ContainsFunc(strangers, func(cmd *exec.Cmd) bool { return cmd.Process.Pid == pid }) {
					t.Errorf("%v is said to have pid %d, a stranger's", at, pid)
				}
			}
			unharmed(t, strangers)
			after = s.perform(reload(s.app("web")), after)
			s.perform(toggle(s.app("job")), after)
			s.Must("kill")
			unharmed(t, strangers)
		})
	}
}

// started is the start time of a process as /proc/PID/stat has it (field 22).
func started(t *testing.T, pid int) string {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))[19]
}

func boot(t *testing.T) string {
	t.Helper()
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(id))
}

// rewrite replaces words in every file of the state. Each has to be in one of them.
func (s *site) rewrite(words map[string]string) {
	s.t.Helper()
	files, _ := filepath.Glob(filepath.Join(s.Home, "state", "*.json"))
	found := make(map[string]bool)
	word := regexp.MustCompile(`[0-9a-f]+(-[0-9a-f]+){4}|\d+`)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			s.t.Fatal(err)
		}
		text = word.ReplaceAllFunc(text, func(old []byte) []byte {
			if to, ok := words[string(old)]; ok {
				found[string(old)] = true
				return []byte(to)
			}
			return old
		})
		if err := os.WriteFile(file, text, 0o600); err != nil {
			s.t.Fatal(err)
		}
	}
	for old := range words {
		if !found[old] {
			s.t.Errorf("%s is in no file of the state: %v", old, files)
		}
	}
}
