// Package load is a load client that counts every lost request. It is what
// the promise "0 failed requests" is measured with, so it follows these rules:
//
//   - a request is lost unless its whole answer arrived with status 200 within
//     the time limit; nothing is retried;
//   - a connection that the server closed before the client sent a request on
//     it costs nothing (every client notices that), one that was closed after
//     costs the request, on reused connections too;
//   - the client's own end is no loss: Stop lets what is in flight finish.
//
// The HTTP/1.1 client is written by hand on net.Conn: net/http retries
// requests on reused connections behind the caller's back.
package load

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

const (
	// DefaultTimeout is the time after which a request is lost.
	DefaultTimeout = 15 * time.Second
	// DefaultThink is the pause between two requests of a client. Without
	// one, 16 clients leave nothing of two cpus to what is tested.
	DefaultThink = time.Millisecond
	// maxExamples is the number of failures that are described.
	maxExamples = 20
	// failurePause keeps clients of a dead server from spinning.
	failurePause = 5 * time.Millisecond
)

// Config says what to ask for and how.
type Config struct {
	// Address is "host:port", or the path of a unix socket when Network is
	// "unix". Host is an IP address.
	Network, Address string
	// Path of the request; default "/".
	Path string
	// Body is sent by POST; without one the request is a GET.
	Body []byte
	// Clients is the number of concurrent clients; default 16.
	Clients int
	// KeepAlive reuses connections; else each request has one of its own and
	// says "Connection: close".
	KeepAlive bool
	// Think is the pause of a client between two requests; 0 means
	// DefaultThink, negative none.
	Think time.Duration
	// Timeout of one request with its connect; default DefaultTimeout.
	Timeout time.Duration
}

// Result is what happened between Run and Stop.
type Result struct {
	// Requests were sent or attempted; Failed of them were lost.
	Requests, Failed int
	// Failures counts the lost ones by kind.
	Failures map[Kind]int
	// Examples describes the first of the failures, with their time.
	Examples []string
	// Connections were made; IdleClosed of them were closed by the server
	// while idle, which costs no request.
	Connections, IdleClosed int
	// Max and P99 are latencies of the answered requests, connect included.
	Max, P99 time.Duration
	// ByPid counts the answers by the worker that gave them: the header
	// X-Pid, else a body that is a number.
	ByPid map[string]int
	// Elapsed is the time from Run to Stop.
	Elapsed time.Duration
}

// String is a summary in one line, and the examples below it.
func (r Result) String() string {
	s := fmt.Sprintf("%d requests in %.1f s, %d failed %v, %d connections, p99 %.1f ms, max %.1f ms, %d pids",
		r.Requests, r.Elapsed.Seconds(), r.Failed, r.Failures, r.Connections,
		float64(r.P99)/1e6, float64(r.Max)/1e6, len(r.ByPid))
	for _, e := range r.Examples {
		s += "\n  " + e
	}
	return s
}

// Load is a running load.
type Load struct {
	cfg     Config
	started time.Time
	stop    context.CancelFunc
	done    sync.WaitGroup

	mu        sync.Mutex // leaf
	result    Result
	answered  int
	running   int // clients
	latencies []time.Duration
	waiters   []*waiter
	ended     bool
}

// waiter is a call of Wait or WaitPid: open until done says so.
type waiter struct {
	reached func(answered int, pid string) bool
	open    chan struct{}
}

// ErrEnded says that the load ended before what was waited for came.
var ErrEnded = errors.New("the load has ended")

// Run starts the clients. They end with Stop, or when ctx does; Stop must be
// called in any case.
func Run(ctx context.Context, cfg Config) *Load {
	if cfg.Network == "" {
		cfg.Network = "tcp"
	}
	if cfg.Path == "" {
		cfg.Path = "/"
	}
	if cfg.Clients == 0 {
		cfg.Clients = 16
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = DefaultTimeout
	}
	if cfg.Think == 0 {
		cfg.Think = DefaultThink
	}
	ctx, stop := context.WithCancel(ctx)
	l := &Load{
		cfg: cfg, stop: stop, started: time.Now(), running: cfg.Clients,
		result: Result{Failures: make(map[Kind]int), ByPid: make(map[string]int)},
	}
	for i := range cfg.Clients {
		c := newClient(l, i)
		l.done.Go(func() { c.run(ctx) }) // ended by Stop
	}
	return l
}

// Wait returns when n more requests have been answered: an event that says
// that the load flows. ErrEnded if the load, or its context, ends first.
func (l *Load) Wait(n int) error {
	l.mu.Lock()
	goal := l.answered + n
	l.mu.Unlock()
	return l.wait(func(answered int, _ string) bool { return answered >= goal })
}

// WaitPid returns when the worker with this pid has answered a request from
// now on.
func (l *Load) WaitPid(pid string) error {
	return l.wait(func(_ int, got string) bool { return got == pid })
}

func (l *Load) wait(reached func(int, string) bool) error {
	w := &waiter{reached: reached, open: make(chan struct{})}
	l.mu.Lock()
	if l.ended {
		l.mu.Unlock()
		return ErrEnded
	}
	if reached(l.answered, "") {
		l.mu.Unlock()
		return nil
	}
	l.waiters = append(l.waiters, w)
	l.mu.Unlock()
	<-w.open
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended && slices.Contains(l.waiters, w) {
		return ErrEnded
	}
	return nil
}

// Stop ends the load: no new request is begun, those in flight are finished,
// and the result is final. It may be called again.
func (l *Load) Stop() Result {
	l.stop()
	l.done.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.result.Elapsed == 0 {
		l.result.Elapsed = time.Since(l.started)
		if n := len(l.latencies); n > 0 {
			slices.Sort(l.latencies)
			l.result.P99, l.result.Max = l.latencies[n*99/100], l.latencies[n-1]
		}
	}
	l.end()
	return l.result
}

// end opens the gates of all who still wait; their waiter stays listed, which
// tells them that it was not what they waited for. mu is held.
func (l *Load) end() {
	if l.ended {
		return
	}
	l.ended = true
	for _, w := range l.waiters {
		close(w.open)
	}
}

// clientEnded is called by the last act of each client: when all have left
// because ctx ended, nobody must wait for more.
func (l *Load) clientEnded() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.running--; l.running == 0 {
		l.end()
	}
}

// record counts one request.
func (l *Load) record(took time.Duration, pid string, lost *Failure) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.result.Requests++
	if lost != nil {
		l.result.Failed++
		l.result.Failures[lost.Kind]++
		if len(l.result.Examples) < maxExamples {
			at := time.Since(l.started).Seconds()
			l.result.Examples = append(l.result.Examples, fmt.Sprintf("%.3f s, after %.1f ms: %s", at, float64(took)/1e6, lost))
		}
		return
	}
	l.answered++
	l.latencies = append(l.latencies, took)
	if pid != "" {
		l.result.ByPid[pid]++
	}
	if l.ended {
		return
	}
	l.waiters = slices.DeleteFunc(l.waiters, func(w *waiter) bool {
		if !w.reached(l.answered, pid) {
			return false
		}
		close(w.open)
		return true
	})
}

// count adds to the connection figures.
func (l *Load) count(connections, idleClosed int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.result.Connections += connections
	l.result.IdleClosed += idleClosed
}
