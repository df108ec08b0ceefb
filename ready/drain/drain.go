// Package drain ends an HTTP server of a Go program without losing a request.
//
//	func main() {
//		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
//		defer stop()
//		ln, err := net.Listen("tcp", ":8080")
//		if err != nil {
//			log.Fatal(err)
//		}
//		ready.Notify()
//		log.Fatal(drain.Serve(ctx, &http.Server{Handler: handler}, ln))
//	}
//
// http.Server.Shutdown alone is not enough: it drops a request that is read after
// the call, on a connection that was accepted before it (net/http looks whether it
// shuts down between reading a request and handling it, golang/go issue 75591), and
// it closes idle connections on which a request may be on its way.
//
// Invariants:
//   - what was accepted before the end of ctx is answered, as long as its request
//     comes within NewLimit;
//   - an idle connection has IdleLimit to send one more request, which is answered
//     with `Connection: close`;
//   - what the queue of the socket still holds is left to whoever else listens on
//     it: the program's successor.
package drain

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"
)

const (
	// NewLimit is how long a connection that has sent no request holds up the end,
	// as in http.Server.Shutdown.
	NewLimit = 5 * time.Second
	// IdleLimit is how long one that has had an answer does.
	IdleLimit = time.Second
)

// Serve serves on the listeners until ctx ends, then drains: it stops accepting,
// answers what is under way, and returns nil. Requests under way are waited for
// without limit (the supervisor's kill_timeout is one). It sets the server's Handler
// and ConnState around those that are there. An error of a listener ends it too.
func Serve(ctx context.Context, server *http.Server, listeners ...net.Listener) error {
	d := &drainer{conns: map[net.Conn]http.ConnState{}, changed: make(chan struct{}, 1)}
	d.wrap(server)
	served := make(chan error, len(listeners))
	for _, ln := range listeners {
		go func() { served <- server.Serve(ln) }() // ends with its listener
	}
	running := len(listeners)
	var failed error
	select {
	case failed = <-served:
		running--
	case <-ctx.Done():
	}
	d.begin()
	for _, ln := range listeners {
		ln.Close()
	}
	for range running {
		<-served // from here on every accepted connection is known
	}
	d.wait()
	server.Shutdown(context.Background())
	return failed
}

// drainer knows the state of every connection.
type drainer struct {
	mu       sync.Mutex // a leaf
	conns    map[net.Conn]http.ConnState
	draining bool
	changed  chan struct{} // holds one token after a change
}

func (d *drainer) wrap(server *http.Server) {
	next, watch := server.Handler, server.ConnState
	if next == nil {
		next = http.DefaultServeMux
	}
	server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if d.isDraining() {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
	server.ConnState = func(c net.Conn, s http.ConnState) {
		if watch != nil {
			watch(c, s)
		}
		d.note(c, s)
	}
}

func (d *drainer) isDraining() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.draining
}

func (d *drainer) begin() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.draining = true
}

func (d *drainer) note(c net.Conn, s http.ConnState) {
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

// wait returns when no connection waits for an answer any more.
func (d *drainer) wait() {
	idle, fresh := time.NewTimer(IdleLimit), time.NewTimer(NewLimit)
	defer idle.Stop()
	defer fresh.Stop()
	waited := map[http.ConnState]bool{http.StateNew: true, http.StateActive: true, http.StateIdle: true}
	for d.any(waited) {
		select {
		case <-d.changed:
		case <-idle.C:
			delete(waited, http.StateIdle)
		case <-fresh.C:
			delete(waited, http.StateNew)
		}
	}
}

// any reports whether a connection is in one of the states.
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
