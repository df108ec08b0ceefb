package daemon

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"supervisor/supervisor/metrics"
	"supervisor/supervisor/state"
	"supervisor/supervisor/usage"
)

// Limits of the meters: whoever may connect may be anybody on the machine.
const (
	maxLooking     = 4                // requests that look at the daemon at once
	maxScrapers    = 32               // connections of one address
	scrapeTimeout  = 10 * time.Second // of reading a request, and of writing its answer
	scrapeIdle     = time.Minute      // until an idle connection is ended
	maxScrapeBytes = 8 << 10          // of a request's header
	healthTimeout  = 2 * time.Second  // for the loop to answer
)

// errHung is a loop that does not answer in time.
var errHung = errors.New("the supervisor does not answer within " + healthTimeout.String())

// meter answers at one address.
type meter struct {
	of     *meters
	tally  *tally
	server *http.Server
	work   sync.WaitGroup // the server, and answers in the making

	mu     sync.Mutex // a leaf
	closed bool       // no further answer is begun
}

func newMeter(ln net.Listener, of *meters, t *tally) *meter {
	m := &meter{of: of, tally: t}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", m.counted(m.healthz))
	mux.HandleFunc("GET /readyz", m.counted(m.readyz))
	mux.HandleFunc("GET /metrics", m.counted(m.metrics))
	m.server = &http.Server{
		Handler: mux, ReadTimeout: scrapeTimeout, WriteTimeout: scrapeTimeout, IdleTimeout: scrapeIdle,
		MaxHeaderBytes: maxScrapeBytes, ErrorLog: log.New(io.Discard, "", 0),
	}
	m.work.Go(func() {
		m.server.Serve(&bounded{Listener: ln, places: make(chan struct{}, maxScrapers), closed: make(chan struct{})})
	}) // ends with close
	return m
}

// close returns when nobody looks at the daemon any more.
func (m *meter) close() {
	m.server.Close()
	m.mu.Lock()
	m.closed = true
	m.mu.Unlock()
	m.work.Wait()
}

// begin counts an answer, unless there is to be none.
func (m *meter) begin() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.closed {
		m.work.Add(1)
	}
	return !m.closed
}

func (m *meter) counted(answer http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !m.begin() {
			return // the connection is closed
		}
		defer m.work.Done()
		m.of.touched()
		answer(w, r)
	}
}

// snapshot asks the loop, for a bounded time. What still waits for a loop that hangs keeps
// one of the few places to look.
func (m *meter) snapshot(ctx context.Context) (state.Snapshot, error) {
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	select {
	case m.of.looking <- struct{}{}:
	case <-ctx.Done():
		return state.Snapshot{}, errHung
	}
	type answer struct {
		snap state.Snapshot
		err  error
	}
	answered := make(chan answer, 1)
	go func() { // ends with the loop's answer, or its end
		defer func() { <-m.of.looking }()
		snap, err := m.of.loop.Snapshot(ctx)
		answered <- answer{snap, err}
	}()
	select {
	case a := <-answered:
		if errors.Is(a.err, context.DeadlineExceeded) {
			a.err = errHung
		}
		return a.snap, a.err
	case <-ctx.Done():
		return state.Snapshot{}, errHung
	}
}

// look is snapshot, or the answer that there is none.
func (m *meter) look(w http.ResponseWriter, r *http.Request) (state.Snapshot, bool) {
	snap, err := m.snapshot(r.Context())
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
	}
	return snap, err == nil
}

// healthz says that the loop answers.
func (m *meter) healthz(w http.ResponseWriter, r *http.Request) {
	if _, ok := m.look(w, r); ok {
		io.WriteString(w, "ok\n")
	}
}

// readyz says that every app that is wanted is online, or which are not.
func (m *meter) readyz(w http.ResponseWriter, r *http.Request) {
	snap, ok := m.look(w, r)
	if !ok {
		return
	}
	if missing := metrics.Missing(snap); len(missing) > 0 {
		http.Error(w, "not online: "+strings.Join(missing, ", "), http.StatusServiceUnavailable)
		return
	}
	io.WriteString(w, "ok\n")
}

func (m *meter) metrics(w http.ResponseWriter, r *http.Request) {
	snap, ok := m.look(w, r)
	if !ok {
		return
	}
	now := metrics.Now{Snapshot: snap, Go: runtime.Version()}
	for _, a := range snap.Apps {
		now.Listeners = append(now.Listeners, m.of.world.queues(a.Name)...)
	}
	var text []byte
	if !m.tally.ask(func(c *metrics.Counts) { now.Counts = c; text = now.Write() }) {
		http.Error(w, "the supervisor ends", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", metrics.ContentType)
	w.Write(text)
}

// queues are the figures of an app's listeners, those of one address added up.
func (w *world) queues(app string) []metrics.Listener {
	var all []metrics.Listener
	w.table.Each(app, func(fd int) {
		local, err := usage.LocalOf(fd)
		if err != nil {
			return
		}
		addr := "unix:" + local.Path
		if local.Path == "" {
			addr = "tcp://" + local.Addr.String()
		}
		i := slices.IndexFunc(all, func(l metrics.Listener) bool { return l.Addr == addr })
		if i < 0 {
			i = len(all)
			all = append(all, metrics.Listener{App: app, Addr: addr})
		}
		if q, err := usage.AcceptQueue(fd); err == nil {
			all[i].Queue, all[i].Max = plus(all[i].Queue, q.Length), plus(all[i].Max, q.Max)
		}
		if n, err := usage.Drops(fd); err == nil {
			all[i].Drops = plus(all[i].Drops, int64(n))
		}
	})
	return all
}

// plus adds to what may not be known yet.
func plus[N int | int64](to *N, n N) *N {
	if to != nil {
		n += *to
	}
	return &n
}

// bounded is a listener with a limit to its open connections; who comes beyond it waits
// in the kernel's queue.
type bounded struct {
	net.Listener
	places chan struct{}
	closed chan struct{}
	once   sync.Once
}

func (b *bounded) Accept() (net.Conn, error) {
	select {
	case b.places <- struct{}{}:
	case <-b.closed:
		return nil, net.ErrClosed
	}
	conn, err := b.Listener.Accept()
	if err != nil {
		<-b.places
		return nil, err
	}
	return &placed{Conn: conn, places: b.places}, nil
}

// Close may be called again, as net/http does.
func (b *bounded) Close() error {
	var err error
	b.once.Do(func() {
		close(b.closed)
		err = b.Listener.Close()
	})
	return err
}

// placed gives its place back when it is closed.
type placed struct {
	net.Conn
	places chan struct{}
	once   sync.Once
}

func (p *placed) Close() error {
	p.once.Do(func() { <-p.places })
	return p.Conn.Close()
}
