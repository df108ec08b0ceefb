package daemon

import (
	"fmt"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"

	"supervisor/ready/gate"
	"supervisor/supervisor"
	"supervisor/supervisor/handover"
	"supervisor/supervisor/listener"
	"supervisor/supervisor/logs"
	"supervisor/supervisor/process"
	"supervisor/supervisor/state"
)

// testWorld is a world without a loop.
type testWorld struct {
	*world
	t *testing.T
}

// aWorld tells its facts to tell, and ends with the test.
func aWorld(t *testing.T, tell func(supervisor.Fact)) testWorld {
	t.Helper()
	w := &world{
		records: handover.Dir(t.TempDir()), home: home(t.TempDir()), say: t.Logf,
		tell: tell, record: tell, apps: map[string]*lane{}, attendants: map[uint64]*attendant{},
	}
	w.table = listener.New(listener.Config{})
	w.exits = handover.NewExits(-1)
	var err error
	if w.store, err = handover.NewHolder("", nil); err == nil {
		w.hands, err = listener.NewHands(-1)
	}
	if err == nil {
		w.logs, err = logs.New(logs.Config{})
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		w.working.Wait()
		w.table.Close()
		w.logs.Close()
		w.hands.Close()
	})
	return testWorld{w, t}
}

// aCommand starts a command in a group of its own, and returns its pid and start time.
func aCommand(t *testing.T, argv ...string) (pid int, start uint64) {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid = cmd.Process.Pid
	start, err := process.StartTime(pid)
	if err != nil {
		t.Fatal(err)
	}
	cmd.Process.Release() // who adopts it waits for it
	return pid, start
}

// takenOver is the attendant of a command as of a worker that was adopted.
func (w testWorld) takenOver(id uint64, spec state.Spec, channels gate.Config, argv ...string) *attendant {
	w.t.Helper()
	pid, start := aCommand(w.t, argv...)
	p := &attendant{w: w.world, lane: lane{all: &w.working}, hand: -1, kept: map[string]int{}}
	p.order = supervisor.SpawnOrder{ID: id, App: "web", Spec: spec}
	var err error
	if p.child, err = process.Adopt(process.Adoption{Recorded: process.Recorded{PID: pid, StartTime: start}, PidFD: -1}); err != nil {
		w.t.Fatal(err)
	}
	channels.Worker = id
	if p.gates, _, err = gate.Open(channels, p.heard); err == nil {
		p.prober, err = p.newProber(process.Spec{})
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

// A program may end as a shim does that nobody has told to go. If it is on record that it
// ran, its end is its own.
func TestAProgramThatEndsAsAShimDoes(t *testing.T) {
	for known, pid := range map[string]int{"that it ran is on record": 1, "it is not": 0} {
		t.Run(known, func(t *testing.T) {
			leaktight(t)
			w := aWorld(t, func(supervisor.Fact) {})
			r := handover.Record{ID: 7, App: "web", Hand: -1}
			r.PID, r.StartTime = aCommand(t, "sh", "-c", fmt.Sprint("exit ", process.ShimExit))
			if err := unix.Waitid(unix.P_PID, r.PID, nil, unix.WEXITED|unix.WNOWAIT, nil); err != nil {
				t.Fatal(err)
			}
			of := supervisor.Recorded{PID: pid}
			of.Order.ID = 7
			adopted, begun := w.adopt(leftovers{records: map[uint64]handover.Record{7: r}}, []supervisor.Recorded{of})
			if ran := pid != 0; begun[7] != ran || (adopted[7] != nil) != ran {
				t.Errorf("adopted %v, begun %v", adopted, begun)
			}
			for _, p := range adopted {
				if exit := <-p.child.Exited(); exit.Status.Code != process.ShimExit {
					t.Errorf("it ended with %v", exit.Status)
				}
				p.child.Release()
			}
		})
	}
}
