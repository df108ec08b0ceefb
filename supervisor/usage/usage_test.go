package usage

import (
	"os"
	"testing"
	"time"
)

func TestTreeOfAWorkerIsSummed(t *testing.T) {
	w := start(t, "family", nil)
	pid := w.cmd.Process.Pid
	var s Sampler
	figures, err := s.Sample([]int{pid, 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := figures[1<<30]; ok {
		t.Error("figures of a pid that does not exist")
	}
	f := figures[pid]
	if f.Processes != 3 {
		t.Errorf("%d processes, want 3: the worker, a child of its group, one of another", f.Processes)
	}
	if f.RSSBytes < 64<<20 || f.RSSBytes > 1<<30 {
		t.Errorf("rss %d bytes, want a little over 64 MB", f.RSSBytes)
	}
	if f.CPUPercent <= 0 {
		t.Errorf("cpu %v %% since start, want more than 0", f.CPUPercent)
	}
}

func TestCPUIsOfTheTimeSinceTheLastLook(t *testing.T) {
	w := start(t, "family", nil)
	pid := w.cmd.Process.Pid
	var s Sampler
	look := func() float64 {
		t.Helper()
		figures, err := s.Sample([]int{pid})
		if err != nil {
			t.Fatal(err)
		}
		return figures[pid].CPUPercent
	}
	look()
	before, err := bootTime()
	if err != nil {
		t.Fatal(err)
	}
	// Spin until the window is surely over, by the clock that it is told in.
	for now := before; now-before < 2*minWindow; now, _ = bootTime() {
		if _, err := w.in.Write([]byte("\n")); err != nil {
			t.Fatal(err)
		}
		w.hear(t, "spun")
	}
	busy := look()
	if busy <= 0 || busy > 400 {
		t.Errorf("a spinning worker uses %v %%", busy)
	}
	if again := look(); again <= 0 {
		t.Errorf("a look right after the last says %v %%, want the figure of the longer window", again)
	}
}

func TestPercentOfTwoReadings(t *testing.T) {
	key := treeKey{pid: 7, start: 1000} // 10 s after boot
	at := func(at, cpu time.Duration) reading { return reading{at: at, cpu: cpu} }
	var s Sampler
	for _, step := range []struct {
		story string
		now   reading
		want  float64
	}{
		{"first look: since start", at(20*time.Second, 5*time.Second), 50},
		{"second: since the first", at(22*time.Second, 6*time.Second), 50},
		{"idle", at(24*time.Second, 6*time.Second), 0},
		{"10 ms later: over the longer window", at(24010*time.Millisecond, 6010*time.Millisecond), 100 * 10.0 / 2010},
		{"three cpus", at(25*time.Second, 9*time.Second), 300},
		{"an orphan of the group ended: not negative", at(26*time.Second, 8*time.Second), 0},
	} {
		if got := s.percent(key, step.now); got < step.want-0.001 || got > step.want+0.001 {
			t.Errorf("%s: %v %%, want %v", step.story, got, step.want)
		}
	}
}

func TestEndedTreesAreForgotten(t *testing.T) {
	w, err := spawn("idle", true, nil)
	if err != nil {
		t.Fatal(err)
	}
	pid := w.cmd.Process.Pid
	var s Sampler
	if _, err := s.Sample([]int{pid, os.Getpid()}); err != nil {
		t.Fatal(err)
	}
	w.end()
	figures, err := s.Sample([]int{pid})
	if err != nil {
		t.Fatal(err)
	}
	if len(figures) != 0 || len(s.trees) != 1 {
		t.Errorf("figures %v, %d trees kept; want none and our own", figures, len(s.trees))
	}
}

// A look at a few workers does not see all processes, and knows all the same which
// of the others have ended.
func TestEndedTreesAreForgottenByALookAtOthers(t *testing.T) {
	w, err := spawn("idle", true, nil)
	if err != nil {
		t.Fatal(err)
	}
	alive := start(t, "idle", nil).cmd.Process.Pid
	var s Sampler
	if _, err := s.Sample([]int{w.cmd.Process.Pid, alive, os.Getpid()}); err != nil {
		t.Fatal(err)
	}
	w.end()
	if _, err := s.Sample([]int{os.Getpid()}); err != nil {
		t.Fatal(err)
	}
	for key := range s.trees {
		if key.pid == w.cmd.Process.Pid {
			t.Error("one that has ended is kept")
		}
	}
	if len(s.trees) != 2 {
		t.Errorf("%d trees are kept, want our own and the one that lives", len(s.trees))
	}
}

func TestZombieIsNoProcess(t *testing.T) {
	w, err := spawn("idle", true, nil)
	if err != nil {
		t.Fatal(err)
	}
	w.in.Close()
	if err := waitid(w.cmd.Process.Pid); err != nil { // ended, not reaped
		t.Fatal(err)
	}
	var s Sampler
	figures, err := s.Sample([]int{w.cmd.Process.Pid})
	w.cmd.Wait()
	if err != nil || len(figures) != 0 {
		t.Errorf("figures of a zombie: %v, %v", figures, err)
	}
}

func TestParseStat(t *testing.T) {
	const tail = " S 7 42 42 0 -1 4194560 1 2 3 4 10 20 30 40 20 0 1 0 12345 1000000 250 18446744073709551615 1 1 0\n"
	for _, name := range []string{"node", "a b", "((x)", ") S 1 1 (", "new\nline", ""} {
		p, err := parseStat([]byte("99 (" + name + ")" + tail))
		want := process{pid: 99, parent: 7, group: 42, state: 'S', ownTicks: 30, childTicks: 70, startTicks: 12345, rssPages: 250}
		if err != nil || p != want {
			t.Errorf("name %q: %+v, %v; want %+v", name, p, err, want)
		}
	}
	for _, bad := range []string{"", "(", "1 (", "x (y) S", "1 (y) S 1 2", "1 (y) S a b" + tail} {
		if p, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("%q is accepted as %+v", bad, p)
		}
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte("99 (node) S 7 42 42 0 -1 0 1 2 3 4 10 20 30 40 20 0 1 0 12345 1000000 250 1"))
	f.Add([]byte("1 (a) b) Z 0 0"))
	f.Fuzz(func(t *testing.T, line []byte) {
		if p, err := parseStat(line); err == nil && p.rssPages < 0 {
			t.Errorf("%q: %+v", line, p)
		}
	})
}
