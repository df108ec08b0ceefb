package main

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"
)

// newLimit is how long a connection without a request holds up the drain;
// Shutdown of net/http has the same limit.
const newLimit = 5 * time.Second

// drainer makes a net/http server lose nothing when it ends. Shutdown alone
// does: it drops a request that is read after it was called, on a connection
// that was accepted before (net/http looks at shuttingDown between reading a
// request and handling it), and it closes idle connections, on which a request
// may be on its way. So the drain closes the listeners first, answers with
// `Connection: close` until no connection waits for an answer, and calls
// Shutdown then.
type drainer struct {
	linger time.Duration // for idle connections

	mu       sync.Mutex // leaf
	conns    map[net.Conn]http.ConnState
	draining bool
	changed  chan struct{} // holds one token after a change
}

func newDrainer(linger time.Duration) *drainer {
	return &drainer{linger: linger, conns: make(map[net.Conn]http.ConnState), changed: make(chan struct{}, 1)}
}

// watch is the server's ConnState hook.
func (d *drainer) watch(c net.Conn, s http.ConnState) {
	d.mu.Lock()
	if s == http.StateClosed || s == http.StateHijacked {
		delete(d.conns, c)
	} else {
		d.conns[c] = s
	}
	d.mu.Unlock()
	select {
	case d.changed <- struct{}{}:
	default:
	}
}

// wrap announces the end of the connection in every answer of a drain.
func (d *drainer) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(&closing{ResponseWriter: w, d: d}, r)
	})
}

// closing adds the header when the answer begins, not when the request came.
type closing struct {
	http.ResponseWriter
	d    *drainer
	once sync.Once
}

func (c *closing) announce() {
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	if c.d.draining {
		c.Header().Set("Connection", "close")
	}
}

func (c *closing) WriteHeader(status int) {
	c.once.Do(c.announce)
	c.ResponseWriter.WriteHeader(status)
}

func (c *closing) Write(b []byte) (int, error) {
	c.once.Do(c.announce)
	return c.ResponseWriter.Write(b)
}

// drain ends srv. served delivers one value when each Serve has returned:
// from then on every connection that was accepted is known to watch.
func (d *drainer) drain(srv *http.Server, lns []net.Listener, served <-chan error, stopped func()) error {
	d.mu.Lock()
	d.draining = true
	d.mu.Unlock()
	for _, ln := range lns {
		ln.Close()
	}
	for range lns {
		<-served
	}
	stopped()
	idle, fresh := time.NewTimer(d.linger), time.NewTimer(max(newLimit, d.linger))
	defer idle.Stop()
	defer fresh.Stop()
	wait := map[http.ConnState]bool{http.StateNew: true, http.StateActive: true, http.StateIdle: true}
	for d.any(wait) {
		select {
		case <-d.changed:
		case <-idle.C:
			delete(wait, http.StateIdle)
		case <-fresh.C:
			delete(wait, http.StateNew)
		}
	}
	return srv.Shutdown(context.Background())
}

// any says whether a connection is in one of the states.
func (d *drainer) any(states map[http.ConnState]bool) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, s := range d.conns {
		if states[s] {
			return true
		}
	}
	return false
}
