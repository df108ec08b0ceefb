package daemon

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"supervisor/supervisor/state"
)

// The storm: so many operations, at once from so many clients.
const (
	stormOps     = 50
	stormClients = 8
)

func TestAStormOfOperationsEndsAsAsked(t *testing.T) {
	for _, seed := range []uint64{0, 1, rand.Uint64()} { // the last one's name tells it
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			leaktight(t)
			i := begin(t, Options{})
			// Nothing gives up: what is killed at random is started again.
			apps := []string{
				fmt.Sprintf("name: web\nargs: [worker, serve]\ninstances: 2\nsoak: 0\nlisten_timeout: 60s\nmax_restarts: 1000\nexp_backoff_restart_delay: 1ms\nenv: {PORT: %d}", port(t)),
				"name: job\nargs: [worker, ready]\ninstances: 3\nwait_ready: true\nlisten_timeout: 60s\nmax_restarts: 1000\nexp_backoff_restart_delay: 1ms",
			}
			file := i.yaml(apps...)
			i.must(state.Request{Verb: state.VerbStart, File: file})
			i.storm(seed)
			web, job := i.settle(seed, file)
			i.holds("web", web)
			i.holds("job", job)
			i.kill()
		})
	}
}

// storm does random operations at once.
func (i *instance) storm(seed uint64) {
	ops := make(chan func(), stormOps)
	r := rand.New(rand.NewPCG(seed, 1))
	for range stormOps {
		ops <- i.operation(r)
	}
	close(ops)
	var clients sync.WaitGroup
	for range stormClients {
		clients.Go(func() {
			for op := range ops {
				op()
			}
		})
	}
	clients.Wait()
}

// operation is a random one. Each may be made void by another, and says so; no
// other failure is right.
func (i *instance) operation(r *rand.Rand) func() {
	name := []string{"web", "job"}[r.IntN(2)]
	count, pick := fmt.Sprint(1+r.IntN(4)), r.IntN(4)
	// A stop makes everything before it void, so there are few.
	verbs := []state.Verb{state.VerbReload, state.VerbReload, state.VerbScale, state.VerbScale, state.VerbStop, state.VerbStart, state.VerbRestart}
	kind := r.IntN(len(verbs) + 2)
	if kind >= len(verbs) {
		return func() { i.strike(name, pick) }
	}
	return func() {
		req := state.Request{Verb: verbs[kind], Names: []string{name}, Count: count, Env: i.env()}
		res, err := i.client.Do(i.t.Context(), req, nil)
		if err != nil {
			i.t.Errorf("%s %s: %v", req.Verb, name, err)
		} else if res.Error != nil && !strings.Contains(res.Error.Message, "superseded") && !killed(res.Error) {
			i.t.Errorf("%s %s: %s %v", req.Verb, name, res.Error.Message, res.Error.Details)
		}
	}
}

// killed reports whether an operation failed since a worker of its own was killed.
func killed(e *state.Error) bool { return strings.Contains(e.Message, "killed by SIGKILL") }

// strike kills one worker of an app.
func (i *instance) strike(name string, pick int) {
	snap, err := i.client.List(i.t.Context())
	if err != nil {
		i.t.Error(err)
		return
	}
	for _, a := range snap.Apps {
		if a.Name == name && len(a.Workers) > 0 {
			if pid := a.Workers[pick%len(a.Workers)].PID; pid > 0 {
				unix.Kill(pid, unix.SIGKILL)
			}
		}
	}
}

// settle asks for a known state, in another way for each seed, and returns it.
func (i *instance) settle(seed uint64, file string) (web, job int) {
	i.t.Helper()
	if seed%2 == 0 {
		i.must(state.Request{Verb: state.VerbStop})
		i.must(state.Request{Verb: state.VerbScale, Names: []string{"web"}, Count: "3"})
		i.must(state.Request{Verb: state.VerbScale, Names: []string{"job"}, Count: "1"})
		i.must(state.Request{Verb: state.VerbStart, File: file})
	} else {
		i.do(state.Request{Verb: state.VerbStart, Names: []string{"web", "job"}})
		i.must(state.Request{Verb: state.VerbReload, File: file})
		i.must(state.Request{Verb: state.VerbScale, Names: []string{"web"}, Count: "3"})
		i.must(state.Request{Verb: state.VerbScale, Names: []string{"job"}, Count: "1"})
	}
	return 3, 1
}

// holds checks that an app has so many workers, all ready, and no other process.
func (i *instance) holds(name string, count int) {
	i.t.Helper()
	for _, a := range i.list().Apps {
		if a.Name != name {
			continue
		}
		var pids []int
		for slot, w := range a.Workers {
			if w.State != "online" || !w.Ready || w.Slot != slot || w.Generation != a.Generation {
				i.t.Errorf("%s: %+v", name, w)
			}
			pids = append(pids, w.PID)
		}
		found := i.workers()[name]
		slices.Sort(pids)
		slices.Sort(found)
		if a.Status != state.AppOnline || a.Instances != count || len(pids) != count || !slices.Equal(pids, found) {
			i.t.Errorf("%s is %s, %d instances, want %d; listed %v, processes %v", name, a.Status, a.Instances, count, pids, found)
		}
		return
	}
	i.t.Errorf("no app %s", name)
}

func TestNothingStartsOnceTheDaemonEnds(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			leaktight(t)
			i := begin(t, Options{})
			file := i.yaml(two(t)...)
			i.must(state.Request{Verb: state.VerbStart, File: file})
			r := rand.New(rand.NewPCG(seed, 2))
			var clients sync.WaitGroup
			for n := range stormClients {
				verb := []state.Verb{state.VerbStart, state.VerbReload, state.VerbRestart, state.VerbScale}[r.IntN(4)]
				clients.Go(func() {
					for { // until there is no daemon any more
						req := state.Request{Verb: verb, Env: i.env(), Count: fmt.Sprint(1 + n%4)}
						if verb == state.VerbStart {
							req.File = file
						}
						if _, err := i.client.Do(t.Context(), req, nil); err != nil {
							return
						}
					}
				})
			}
			if seed%2 == 0 {
				i.must(state.Request{Verb: state.VerbKill})
			} else {
				unix.Kill(os.Getpid(), unix.SIGTERM)
			}
			if code := i.ended(); code != state.ExitOK {
				t.Errorf("exit code %d", code)
			}
			clients.Wait()
			i.gone()
		})
	}
}
