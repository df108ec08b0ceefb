package control

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"time"

	"supervisor/supervisor/state"
)

// Server answers on one listener until Close.
type Server struct {
	backend Backend
	gate    *gate
	http    *http.Server
	admit   func(peer) error // admit, but in tests

	streamTimeout time.Duration

	mu      sync.Mutex        // a leaf: counts the requests in work
	fresh   map[net.Conn]bool // connections that have not sent a whole head yet
	brief   int               // requests that are answered at once
	waiting int               // requests whose work has begun, and may take for ever
	all     int               // these, and the streams
	still   bool              // quiesced: a request on an old connection is refused
	idle    chan struct{}     // closed when brief is 0 while somebody waits
	cuts    cuts
	served  chan struct{} // closed when the accept loop has ended
}

// option changes a Server before it begins; tests have some.
type option func(*Server)

// Serve begins to answer on ln, which it owns from then on. It returns at once;
// its goroutines end with Close.
func Serve(ln net.Listener, b Backend, opts ...option) *Server {
	s := &Server{
		backend: b, gate: newGate(ln, MaxConnections), admit: admit,
		streamTimeout: streamTimeout, served: make(chan struct{}), fresh: map[net.Conn]bool{}, cuts: newCuts(),
	}
	s.http = &http.Server{
		Handler:           s,
		ReadHeaderTimeout: headTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    MaxHeader,
		ConnState:         s.track,
		// counted hides the unix connection's methods from net/http, not from us.
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			if cc, ok := c.(*counted); ok {
				c = cc.Conn
			}
			return withPeer(ctx, c)
		},
		// Garbage on the socket is its sender's problem, told to it by a 400.
		ErrorLog: log.New(io.Discard, "", 0),
	}
	for _, o := range opts {
		o(s)
	}
	go func() { // ends with Close
		defer close(s.served)
		s.http.Serve(s.gate)
	}()
	return s
}

// Close stops accepting, ends the streams, waits for the requests in work until
// ctx ends, then closes every connection and the listener. It says how many
// requests it cut short.
func (s *Server) Close(ctx context.Context) error {
	s.gate.Close()
	s.endStreams()
	s.dropFresh()
	err := s.http.Shutdown(ctx)
	s.http.Close()
	<-s.served
	if err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		return fmt.Errorf("cannot finish %d control requests: %w", s.brief+s.waiting, err)
	}
	return nil
}

// track is net/http's ConnState hook.
func (s *Server) track(c net.Conn, st http.ConnState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if st == http.StateNew {
		s.fresh[c] = true
	} else {
		delete(s.fresh, c)
	}
}

// dropFresh closes the connections that have asked nothing yet: Shutdown would
// wait five seconds for them.
func (s *Server) dropFresh() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.fresh {
		c.Close()
	}
}

// ServeHTTP admits the peer and finds the endpoint.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	who, ok := r.Context().Value(peerKey{}).(peer)
	if !ok {
		who.err = fmt.Errorf("no connection")
	}
	if err := s.admit(who); err != nil {
		fail(w, http.StatusForbidden, &state.Error{Code: state.ExitFailed, Message: err.Error()})
		return
	}
	e, ok := endpoints(r.URL.Path)
	if !ok {
		fail(w, http.StatusNotFound, &state.Error{Code: state.ExitFailed,
			Message: fmt.Sprintf("no such endpoint: %.100q (this daemon is version %s)", r.URL.Path, s.backend.Version())})
		return
	}
	if r.Method != e.method && !(e.form && r.Method == http.MethodPost) {
		w.Header().Set("Allow", e.method)
		fail(w, http.StatusMethodNotAllowed, &state.Error{Code: state.ExitFailed,
			Message: fmt.Sprintf("%s wants %s, not %.20q", r.URL.Path, e.method, r.Method)})
		return
	}
	if err := s.enter(e.endless); err != nil {
		refuse(w, err)
		return
	}
	defer s.leave(e.endless)
	e.serve(s, w, r)
}

type endpoint struct {
	method  string
	form    bool // its query may come as the form of a POST
	endless bool // a stream that has no end of its own
	serve   func(*Server, http.ResponseWriter, *http.Request)
}

// endpoints is a switch and not a ServeMux: it costs nothing at init and has no
// redirects.
func endpoints(path string) (endpoint, bool) {
	switch path {
	case "/v1/ping":
		return endpoint{method: http.MethodGet, serve: (*Server).ping}, true
	case "/v1/list":
		return endpoint{method: http.MethodGet, serve: (*Server).list}, true
	case "/v1/describe":
		return endpoint{method: http.MethodGet, serve: (*Server).describe}, true
	case "/v1/do":
		return endpoint{method: http.MethodPost, serve: (*Server).do}, true
	case "/v1/events":
		return endpoint{method: http.MethodGet, endless: true, serve: (*Server).events}, true
	case "/v1/history":
		return endpoint{method: http.MethodGet, serve: (*Server).history}, true
	case "/v1/logs":
		return endpoint{method: http.MethodGet, form: true, endless: true, serve: (*Server).logs}, true
	}
	return endpoint{}, false
}
