package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"supervisor/supervisor/state"
	"supervisor/testdata/lab"
)

// A daemon that has too few descriptors says so, goes on with what it has, and is
// well again when there is room.
func TestTooFewDescriptors(t *testing.T) {
	t.Parallel()
	s := newSupervisor(t)
	s.ecosystem(behaves(t, "calm", "calm"))
	s.startUnder("ulimit -n 96")
	before := s.Pids("calm")
	s.write("many.yaml", "apps:\n  - "+strings.ReplaceAll(behaves(t, "many", "calm", "instances: 40\nautorestart: false"), "\n", "\n    ")+"\n")
	s.Fails(1, []string{"many", "too many open files"}, "start", "many.yaml")
	if after := s.Pids("calm"); after[0] != before[0] {
		t.Errorf("pids %v became %v", before, after)
	}
	s.Must("stop", "many")
	s.Must("scale", "many", "2")
	s.Must("start", "many")
	if app := s.App("many"); app.Status != "online" || len(app.Workers) != 2 {
		t.Errorf("with room again: %+v", app)
	}
	s.Must("reload", "calm")
}

// startUnder starts the daemon under what a shell sets first.
func (s *supervisor) startUnder(set string) {
	s.t.Helper()
	cmd := exec.Command(need(s.t, "sh"), "-c", set+` && exec "$0" start`, lab.Binary)
	cmd.Env, cmd.Dir = s.Env, s.Dir
	if out, err := cmd.CombinedOutput(); err != nil {
		s.t.Fatalf("start: %v\n%s", err, out)
	}
}

func TestFloodsOnTheReadyChannels(t *testing.T) {
	t.Parallel()
	for _, protocol := range []string{"auto", "node"} {
		t.Run(protocol, func(t *testing.T) {
			s := newSupervisor(t)
			unharmed := steady(t, s)
			before := s.resident()
			events := s.events()
			s.ecosystem(behaves(t, "loud", "channels", "instances: 2", "protocol: "+protocol, "autorestart: false"))
			loud := s.Command("start", "--json")
			if err := loud.Start(); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				events.until("spawned", func(e state.Event) bool { return e.App == "loud" && e.What == state.WhatSpawned })
			}
			for range 5 { // the time that it takes is that of the flood
				unharmed()
				s.Must("scale", "calm", "3")
				s.Must("scale", "calm", "2")
			}
			s.flat(before)
			s.Must("stop", "loud")
			if err := loud.Wait(); loud.ProcessState.ExitCode() != 1 {
				t.Errorf("a start that was stopped: %v", err)
			}
			unharmed()
		})
	}
}

func TestAWorkerThatClosesItsChannelsIsNotReady(t *testing.T) {
	t.Parallel()
	s := newSupervisor(t)
	unharmed := steady(t, s)
	s.ecosystem(strings.Replace(behaves(t, "mute", "mute", "autorestart: false"), "listen_timeout: 60s", "listen_timeout: 500ms", 1))
	s.Fails(1, []string{"mute", "not said ready within 500ms"}, "start")
	unharmed()
}

func TestALogFloodDelaysNobody(t *testing.T) {
	t.Parallel()
	s := newSupervisor(t)
	unharmed := steady(t, s)
	before := s.resident()
	s.ecosystem(behaves(t, "loud", "flood", "instances: 2", "log: {max_size: 4M, max_files: 2}"))
	s.Must("start")
	for range 10 {
		unharmed()
	}
	s.Must("reload", "calm")
	s.follow("loud", "says nothing").wait()
	out := s.Must("logs", "loud", "-n", "5", "--out")
	if lines := strings.Split(strings.TrimSpace(out.Stdout), "\n"); len(lines) != 10 || !strings.Contains(lines[0], "says nothing at all") {
		t.Errorf("logs: %q", out.Stdout)
	}
	s.Must("flush", "loud")
	s.Must("reload", "loud")
	s.flat(before)
	s.Must("kill") // which waits for whoever removes what is too much
	var total int64
	files, _ := filepath.Glob(filepath.Join(s.Home, "logs", "loud-*"))
	for _, f := range files {
		if info, err := os.Stat(f); err == nil {
			total += info.Size()
		}
	}
	if most := int64(2 * 4 * 4 << 20); total > most {
		t.Errorf("%d bytes of logs, at most %d are right: %v", total, most, files)
	}
}

// A full disk takes neither a worker nor the daemon down, and is said.
func TestAFullDisk(t *testing.T) {
	t.Parallel()
	s := newSupervisor(t)
	if os.Geteuid() != 0 {
		t.Skip("needs to mount a small disk")
	}
	if err := os.MkdirAll(s.Home, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", s.Home, "tmpfs", 0, "size=512k,mode=0700"); err != nil {
		t.Skipf("cannot mount a small disk: %v", err)
	}
	t.Cleanup(func() { unix.Unmount(s.Home, unix.MNT_DETACH) })
	t.Cleanup(s.end) // before the disk is gone
	unharmed := steady(t, s)
	s.ecosystem(behaves(t, "loud", "flood"))
	s.Must("start")
	unharmed()
	full := func() bool {
		f, err := os.OpenFile(filepath.Join(s.Home, "probe"), os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			return true
		}
		defer os.Remove(f.Name())
		defer f.Close()
		_, err = f.Write(make([]byte, 64<<10))
		return err != nil
	}
	for deadline := time.Now().Add(guard); !full(); {
		s.Must("list")
		if time.Now().After(deadline) {
			t.Fatal("the disk does not fill")
		}
	}
	unharmed()
	s.Must("reload", "calm", "--json")
	s.Must("scale", "loud", "2")
	s.Must("stop", "loud")
	s.Must("flush", "loud")
	if full() {
		t.Error("flush does not make room")
	}
	s.Must("start", "loud")
	s.Must("stop", "loud")
	s.Must("delete", "loud")
	if app := s.App("calm"); app.Status != "online" {
		t.Errorf("%+v", app)
	}
}

func TestASwarmIsKilledWithItsGroup(t *testing.T) {
	t.Parallel()
	s := newSupervisor(t)
	s.ecosystem(behaves(t, "swarm", "swarm 40", "kill_timeout: 300ms"))
	s.Must("start")
	if got := len(s.Processes()); got != 43 {
		t.Errorf("%d processes, want the keeper, the daemon, the worker and its 40 children", got)
	}
	out := s.Must("stop", "swarm")
	if left := s.Processes(); len(left) != 2 { // keeper and daemon
		t.Errorf("left: %v\n%s", left, out.All())
	}
}

func TestUserUmaskNiceAndLimits(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	s := newSupervisor(t)
	for _, dir := range []string{filepath.Dir(s.Dir), s.Dir} {
		os.Chmod(dir, 0o755)
	}
	data, err := os.ReadFile(hostile(t))
	if err != nil {
		t.Fatal(err)
	}
	os.WriteFile(filepath.Join(s.Dir, "own"), data, 0o755)
	s.ecosystem("name: self\nscript: ./own\nargs: self\nwait_ready: true\nlisten_timeout: 60s\nuser: nobody\numask: \"027\"\nnice: 5\nlimits: {nofile: 123}")
	s.Must("start")
	s.follow("self", "nofile").wait()
	out := s.Must("logs", "self", "--out", "-n", "1").Stdout
	for _, want := range []string{fmt.Sprintf("uid %d ", nobody), "umask 027", "nice 5", "nofile 123", "user nobody"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in: %s", want, out)
		}
	}
	s.ecosystem("name: self\nscript: ./own\nargs: self\nwait_ready: true\nuser: nosuchuser")
	s.Fails(1, []string{"nosuchuser"}, "reload", "self")
	if app := s.App("self"); app.Status != "online" {
		t.Errorf("%+v", app)
	}
}

// SIGHUP is a reload of all.
func TestSighupReloads(t *testing.T) {
	t.Parallel()
	s := newSupervisor(t)
	s.ecosystem(behaves(t, "web", "calm", "instances: 2"))
	s.Must("start")
	before := s.Pids("web")
	events := s.events()
	unix.Kill(s.List().Daemon.PID, unix.SIGHUP)
	e := events.until("the end of the reload", func(e state.Event) bool { return e.Receipt != nil })
	if after := s.Pids("web"); e.Receipt.Result != state.Complete || slices.ContainsFunc(after, func(pid int) bool { return slices.Contains(before, pid) }) {
		t.Errorf("%s: pids %v became %v", e.Receipt.Result, before, after)
	}
	unix.Kill(s.List().Daemon.PID, unix.SIGUSR2) // which is not supported yet, and no harm
	if now := s.Pids("web"); !slices.Equal(now, []int{e.Receipt.Workers[0].NewPID, e.Receipt.Workers[1].NewPID}) {
		t.Errorf("after SIGUSR2: %v", now)
	}
}

// What comes and goes leaves no descriptor and no thread in the daemon.
func TestTheDaemonStaysAsLargeAsItIs(t *testing.T) {
	t.Parallel()
	s := newSupervisor(t)
	s.ecosystem(behaves(t, "web", "bind", "instances: 2", fmt.Sprintf("env: {PORT: %d}", freePort(t))))
	s.Must("start")
	held := func() int {
		entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.List().Daemon.PID))
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	cycle := func() {
		s.Must("scale", "web", "8")
		s.Must("reload", "web")
		s.Must("scale", "web", "2")
		unix.Kill(s.Pids("web")[0], unix.SIGKILL)
		s.Must("stop", "web")
		s.Must("start", "web")
	}
	cycle() // a few pipes are kept for the next who needs them
	before, memory := held(), s.resident()
	for range 5 {
		cycle()
	}
	after := held()
	t.Logf("%d descriptors before, %d after", before, after)
	if after > before+2 { // the request that is being answered
		t.Errorf("%d descriptors became %d", before, after)
	}
	s.flat(memory)
}
