package listener_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"supervisor/supervisor/listener"
)

// Programs of all kinds replace each other at one address.
func TestEvenIsReplaced(t *testing.T) {
	parallel(t)
	r := newRig(t)
	port := freePort(t)
	kinds := servers(t, port)
	order := []string{"go", "node", "python"}
	workers := []*worker{r.admitted(kinds["node"]), r.admitted(kinds["go"])}
	l := startLoad(t, "tcp", fmt.Sprintf("127.0.0.1:%d", port), 4)
	for i := range 12 {
		workers[i%2] = workers[i%2].replace(func() *worker { return r.admitted(kinds[order[i%3]]) }, preDrain)
	}
	l.finish()
	held := r.Sockets("web")
	if len(held) != 1 || len(held[0].Shares) != 3 {
		t.Errorf("%+v", held)
	}
	for _, w := range workers {
		w.stop(syscall.SIGKILL)
	}
}

// A program that closes what it has accepted and not read loses connections where
// it accepts until the signal, and none where it was withdrawn before.
func TestCloserLosesNothing(t *testing.T) {
	parallel(t)
	closer := func(t *testing.T) (addr string, s spec) {
		addr = fmt.Sprintf("127.0.0.1:%d", freePort(t))
		return addr, spec{app: "web", role: "closer", env: []string{"ADDR=" + addr}}
	}
	t.Run("even", func(t *testing.T) {
		parallel(t)
		addr, s := closer(t)
		r := newRig(t)
		workers := []*worker{r.admitted(s), r.admitted(s)}
		l := startLoad(t, "tcp", addr, 3)
		for i := range 18 {
			workers[i%2] = workers[i%2].replace(func() *worker { return r.admitted(s) }, preDrain)
		}
		l.finish()
		for _, w := range workers {
			w.stop(syscall.SIGKILL)
		}
	})
	t.Run("shared", func(t *testing.T) {
		parallel(t)
		addr, s := closer(t)
		r := newRig(t)
		start := func() *worker { w := r.start(s); r.listening(w); return w }
		workers := []*worker{start(), start()}
		l := startLoad(t, "tcp", addr, 3)
		for i := 0; i < 50 && l.failed.Load() == 0; i++ {
			next := start()
			workers[i%2].stop(syscall.SIGINT)
			workers[i%2] = next
		}
		l.end()
		t.Logf("%d of %d lost", l.failed.Load(), l.failed.Load()+l.ok.Load())
		if l.failed.Load() == 0 {
			t.Error("nothing is lost: the other half of this test shows nothing")
		}
		for _, w := range workers {
			w.stop(syscall.SIGKILL)
		}
	})
}

// What waits in a crashed worker's share is served by its successor, beside
// others that serve meanwhile.
func TestCrashKeepsTheQueue(t *testing.T) {
	parallel(t)
	for _, lost := range []bool{true, false} {
		t.Run(fmt.Sprintf("lost=%v", lost), func(t *testing.T) {
			parallel(t)
			r := newRig(t)
			port := freePort(t)
			addr := fmt.Sprintf("127.0.0.1:%d", port)
			s := servers(t, port)["go"]
			one, two := r.admitted(s), r.admitted(s)
			two.freeze()
			const n = 20
			answers := make(chan string, n)
			for range n {
				go func() { // ends with its answer
					pid, err := get("tcp", addr)
					if err != nil {
						t.Error(err)
					}
					answers <- pid
				}()
			}
			by := map[string]int{}
			await(t, "connections to wait", func() bool {
				select {
				case pid := <-answers:
					by[pid]++
				default:
				}
				return len(answers)+r.Waiting(two.id)+by[strconv.Itoa(one.cmd.Process.Pid)] == n
			})
			waiting := r.Waiting(two.id)
			if waiting == 0 {
				t.Error("none waits")
			}
			two.cmd.Process.Kill()
			two.wait()
			if lost {
				r.Lost(two.id)
			} else {
				r.Detach(two.id)
			}
			for range 20 { // nothing goes there now
				if pid, err := get("tcp", addr); err != nil || pid != strconv.Itoa(one.cmd.Process.Pid) {
					t.Errorf("%s: %v", pid, err)
				}
			}
			three := r.even(s)
			r.Detach(two.id)
			for len(by) == 0 || total(by) < n {
				by[<-answers]++
			}
			if got := by[strconv.Itoa(three.cmd.Process.Pid)]; got != waiting {
				t.Errorf("the successor served %d of %d: %v", got, waiting, by)
			}
			if held := r.Sockets("web"); len(held[0].Shares) != 2 {
				t.Errorf("%+v", held)
			}
			one.stop(syscall.SIGKILL)
			three.stop(syscall.SIGKILL)
		})
	}
}

func total(by map[string]int) (n int) {
	for _, k := range by {
		n += k
	}
	return n
}

// What waits for a worker that was withdrawn, and that nobody takes, is reset.
func TestAbandoned(t *testing.T) {
	parallel(t)
	r := newRig(t)
	port := freePort(t)
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	s := servers(t, port)["go"]
	one := r.admitted(s)
	two := r.admitted(s)
	two.freeze()
	failed := make(chan error, 100)
	n := 0
	for r.Waiting(two.id) < 3 {
		go func() { _, err := get("tcp", addr); failed <- err }() // ends with its answer
		n++
		await(t, "it to be answered or to wait", func() bool { return len(failed)+r.Waiting(two.id) == n })
	}
	r.Withdraw(two.id)
	two.stop(syscall.SIGKILL)
	f := want(r, func(f listener.Abandoned) bool { return true })
	lost := 0
	for range n {
		if <-failed != nil {
			lost++
		}
	}
	if f.Count < 3 || lost == 0 || f.Addr != "tcp://"+addr {
		t.Errorf("%+v, %d of %d lost", f, lost, n)
	}
	one.stop(syscall.SIGKILL)
}

// A reload may change the policy, either way.
func TestPolicyChanges(t *testing.T) {
	parallel(t)
	for _, name := range []string{"go", "node"} {
		t.Run(name, func(t *testing.T) {
			parallel(t)
			r := newRig(t)
			port := freePort(t)
			addr := fmt.Sprintf("127.0.0.1:%d", port)
			s := servers(t, port)[name]
			start := func(even bool) *worker {
				s.app, s.even = "web", even
				w := r.start(s)
				r.listening(w)
				r.Admit(w.id)
				return w
			}
			workers := []*worker{start(false), start(false)}
			l := startLoad(t, "tcp", addr, 3)
			for _, even := range []bool{true, false, true} {
				for i := range workers {
					workers[i] = workers[i].replace(func() *worker { return start(even) }, preDrain)
				}
			}
			l.finish()
			got := r.spread(addr, 20)
			for _, w := range workers {
				if n := got[strconv.Itoa(w.cmd.Process.Pid)]; n == 0 { // at random, just after load
					t.Errorf("%v of 20", got)
				}
				w.stop(syscall.SIGKILL)
			}
		})
	}
}

// freeze stops a program, and waits until none of its threads runs any more.
func (w *worker) freeze() {
	w.r.t.Helper()
	w.cmd.Process.Signal(syscall.SIGSTOP)
	await(w.r.t, "the program to stand still", func() bool {
		stats, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", w.cmd.Process.Pid))
		for _, stat := range stats {
			b, err := os.ReadFile(stat)
			if i := bytes.LastIndexByte(b, ')'); err == nil && b[i+2] != 'T' {
				return false
			}
		}
		return len(stats) > 0
	})
}
