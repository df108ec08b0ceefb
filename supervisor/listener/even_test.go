package listener_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"supervisor/supervisor/listener"
)

// held is a connection that has got an answer and stays open.
func held(t testing.TB, addr string) (c net.Conn, pid string) {
	t.Helper()
	c, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(patience))
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	answer, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	body := make([]byte, 10)
	n, _ := answer.Body.Read(body)
	return c, string(body[:n])
}

// spread is how many of n connections, one by one, each worker gets: each is made when
// that before it is counted, if they are.
func (r *rig) spread(addr string, n int) map[string]int {
	r.t.Helper()
	to := netip.MustParseAddrPort(addr)
	got := map[string]int{}
	for range n {
		before, counted := r.Counted(to.Port())
		c, pid := held(r.t, addr)
		defer c.Close()
		got[pid]++
		await(r.t, "the connection to be counted", func() bool {
			now, still := r.Counted(to.Port())
			return !counted || !still || now > before
		})
	}
	return got
}

// even starts an even worker that is not admitted.
func (r *rig) even(s spec) *worker {
	r.t.Helper()
	s.app, s.even = "web", true
	w := r.start(s)
	r.listening(w)
	return w
}

func (r *rig) admitted(s spec) *worker {
	w := r.even(s)
	r.Admit(w.id)
	return w
}

// preDrain is how long a worker that was withdrawn may still accept what is on its way.
const preDrain = 100 * time.Millisecond

// replace is what a reload does with one worker: start gives the next, which is admitted.
func (w *worker) replace(start func() *worker, pause time.Duration) *worker {
	w.r.t.Helper()
	next := start()
	w.r.Withdraw(w.id)
	time.Sleep(pause) // it is a time, not a state
	await(w.r.t, "its queue to be empty", func() bool { return w.r.Waiting(w.id) == 0 })
	w.stop(syscall.SIGINT)
	return next
}

func TestEvenIsEven(t *testing.T) {
	parallel(t)
	for _, name := range []string{"go", "node", "python"} {
		t.Run(name, func(t *testing.T) {
			parallel(t)
			r := newRig(t)
			port := freePort(t)
			addr := fmt.Sprintf("127.0.0.1:%d", port)
			s := servers(t, port)[name]
			var workers []*worker
			for range 2 {
				workers = append(workers, r.admitted(s))
			}
			for range 3 {
				got := r.spread(addr, 8)
				t.Logf("8 on 2: %v", got)
				for _, w := range workers {
					if n := got[strconv.Itoa(w.cmd.Process.Pid)]; n != 4 {
						t.Errorf("%d of 8", n)
					}
				}
			}
			for range 2 {
				workers = append(workers, r.admitted(s))
			}
			got := r.spread(addr, 100)
			t.Logf("100 on 4: %v", got)
			for _, w := range workers {
				if n := got[strconv.Itoa(w.cmd.Process.Pid)]; n != 25 {
					t.Errorf("%d of 100", n)
				}
			}
			held := r.Sockets("web")
			if len(held) != 1 || len(held[0].Shares) != 4 || len(held[0].Workers) != 4 {
				t.Errorf("%+v", held)
			}
			for _, w := range workers {
				w.stop(syscall.SIGKILL)
			}
			r.Release("web")
		})
	}
}

// Under more connections than are counted the choice is random, which is fair too.
func TestEvenUnderLoad(t *testing.T) {
	parallel(t)
	r := newRig(t)
	port := freePort(t)
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	s := servers(t, port)["go"]
	workers := []*worker{r.admitted(s), r.admitted(s), r.admitted(s)}
	var mu sync.Mutex
	got := map[string]int{}
	var wg sync.WaitGroup
	const each = 600
	for range 3 {
		wg.Go(func() {
			for range each {
				pid, err := get("tcp", addr)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				got[pid]++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	t.Log(got)
	for _, w := range workers {
		if n := got[strconv.Itoa(w.cmd.Process.Pid)]; n < each*8/10 || n > each*12/10 {
			t.Errorf("%d of %d", n, 3*each)
		}
	}
	for _, w := range workers {
		w.stop(syscall.SIGKILL)
	}
}

// A worker that listens and is not admitted gets nothing while others serve; one
// that is withdrawn gets nothing more.
func TestAdmitAndWithdraw(t *testing.T) {
	parallel(t)
	r := newRig(t)
	port := freePort(t)
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	s := servers(t, port)["go"]
	one := r.admitted(s)
	var mu sync.Mutex
	answers := map[string]int{} // by pid, of connections begun since the last change
	requests, change := 0, 0
	changed := func() { // what was begun before doesn't count any more
		mu.Lock()
		defer mu.Unlock()
		clear(answers)
		change++
	}
	seen := func(pid string) int { mu.Lock(); defer mu.Unlock(); return answers[pid] }
	stop := make(chan struct{})
	more := make(chan struct{}, 1)
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				mu.Lock()
				begun := change
				mu.Unlock()
				pid, err := get("tcp", addr)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				if begun == change {
					answers[pid]++
				}
				requests++
				mu.Unlock()
				select {
				case more <- struct{}{}:
				default:
				}
			}
		})
	}
	pass := func(n int) { // waits for n answers
		mu.Lock()
		until := requests + n
		mu.Unlock()
		for {
			<-more
			mu.Lock()
			enough := requests >= until
			mu.Unlock()
			if enough {
				return
			}
		}
	}
	for range 5 {
		two := r.even(s)
		pid := strconv.Itoa(two.cmd.Process.Pid)
		pass(300)
		if n := seen(pid); n > 0 {
			t.Errorf("%d connections before it is admitted", n)
		}
		r.Admit(two.id)
		pass(300)
		if seen(pid) == 0 {
			t.Error("none though it is admitted")
		}
		r.Withdraw(one.id)
		changed()
		pass(300)
		if n := seen(strconv.Itoa(one.cmd.Process.Pid)); n > 0 {
			t.Errorf("%d connections after it was withdrawn", n)
		}
		one.stop(syscall.SIGINT)
		one = two
	}
	close(stop)
	wg.Wait()
	one.stop(syscall.SIGINT)
	if held := r.Sockets("web"); len(held) != 1 || len(held[0].Shares) != 2 {
		t.Errorf("%+v", held)
	}
}

// Declared sockets are reserved by Files, before the worker is attached.
func TestEvenDeclared(t *testing.T) {
	r := newRig(t)
	port := freePort(t)
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	list := []listener.Declared{tcp("127.0.0.1:%d", port)}
	if err := r.Open("web", list); err != nil {
		t.Fatal(err)
	}
	files := func(id uint64) int {
		f, err := r.Files(listener.Worker{ID: id, App: "web", Even: true}, list)
		if err != nil {
			t.Fatal(err)
		}
		return f[0].FD
	}
	one, two := files(1001), files(1002)
	if one == two || files(1001) != one {
		t.Errorf("descriptors %d %d", one, two)
	}
	r.Detach(1001) // never attached
	if again := files(1003); again != one {
		t.Errorf("descriptor %d, the free one is %d", again, one)
	}
	r.Detach(1002)
	r.Detach(1003)
	s := servers(t, port)["node"]
	workers := []*worker{r.admitted(s), r.admitted(s)}
	if held := r.Sockets("web"); len(held) != 1 || len(held[0].Shares) != 2 {
		t.Errorf("%+v", held)
	}
	got := r.spread(addr, 20)
	for _, w := range workers {
		if n := got[strconv.Itoa(w.cmd.Process.Pid)]; n < 8 {
			t.Errorf("%v of 20", got)
		}
		w.stop(syscall.SIGKILL)
	}
	r.Release("web")
	if _, err := net.Dial("tcp", addr); err == nil {
		t.Error("released, and it accepts")
	}
}

// A share that was shut down is another number in the kernel's order; it serves
// again, and so do the others.
func TestEvenShutdown(t *testing.T) {
	parallel(t)
	r := newRig(t)
	port := freePort(t)
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	s := servers(t, port)["go"]
	bad := spec{app: "web", even: true, role: "shutdown", env: []string{"PORT=" + strconv.Itoa(port)}}
	workers := []*worker{r.admitted(s), r.admitted(s)}
	broken := r.start(bad)
	want(r, func(f listener.Hung) bool { return f.Worker == broken.id || f.Worker == 0 })
	workers = append(workers, r.admitted(s), r.admitted(s))
	// The first share hangs: the last takes its number.
	stopped := workers[0]
	stopped.stop(syscall.SIGKILL)
	one := r.start(bad)
	want(r, func(f listener.Hung) bool { return f.Worker == one.id })
	broken.stop(syscall.SIGINT)
	one.stop(syscall.SIGINT)
	got := r.spread(addr, 30)
	for _, w := range workers[1:] {
		if n := got[strconv.Itoa(w.cmd.Process.Pid)]; n < 8 {
			t.Errorf("%v of 30", got)
		}
		w.stop(syscall.SIGKILL)
	}
}

// Nothing grows with the workers that come and go, but for one share too many.
func TestEvenIsFlat(t *testing.T) {
	r := newRig(t)
	port := freePort(t)
	s := servers(t, port)["go"]
	start := func() *worker { return r.admitted(s) }
	w := start().replace(start, 0)
	if _, err := get("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err != nil {
		t.Error(err)
	}
	fds, goroutines := descriptors(), runtime.NumGoroutine()
	for range 20 {
		w = w.replace(start, 0)
	}
	await(t, "descriptors and goroutines to be as few as before", func() bool {
		return descriptors() <= fds && runtime.NumGoroutine() <= goroutines
	})
	if shares := r.Sockets("web")[0].Shares; len(shares) != 2 {
		t.Errorf("%+v", shares)
	}
	w.stop(syscall.SIGKILL)
}
