package control

import (
	"context"
	"fmt"
	"net/http"

	"supervisor/supervisor/state"
)

// cuts are what a handler that may take long waits for beside its work: a closed
// one breaks its answer off in the middle, so that the client knows that there
// was more and asks the successor for it.
type cuts struct {
	streams chan struct{} // closed by Quiesce and Close, renewed by Resume
	waits   chan struct{} // closed by Quiesce, renewed by Resume
}

func newCuts() cuts { return cuts{make(chan struct{}), make(chan struct{})} }

// Quiesce makes the server touch nothing, for a successor that gets the socket:
// it stops accepting, breaks off every stream and every answer that waits for
// work (their clients connect again, see Client.Do), and waits until the requests that
// are answered at once have been, or ctx ends. It returns how many have not. The answer
// to an upgrade is not broken off: it tells how this very handover went. The work is
// the Backend's; Quiesce does not stop it.
//
// Nothing is closed: who connects waits in the accept queue for Resume or for
// another process that holds the socket. A request that was on its way is refused
// before anything of it is begun, and its client sends it again by itself.
func (s *Server) Quiesce(ctx context.Context) int {
	parked := s.gate.pause()
	s.mu.Lock()
	if !s.still {
		s.still = true
		close(s.cuts.waits)
	}
	s.cutStreams()
	idle := s.idleChan()
	s.mu.Unlock()
	select {
	case <-parked:
	case <-s.served:
	case <-ctx.Done():
	}
	select {
	case <-idle:
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.brief
}

// Resume takes a Quiesce back.
func (s *Server) Resume() {
	s.mu.Lock()
	if s.still {
		s.still, s.cuts = false, newCuts()
	}
	s.mu.Unlock()
	s.gate.resume()
}

// endStreams breaks the streams off, and nothing else.
func (s *Server) endStreams() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cutStreams()
}

// cutStreams may be called again. The caller holds mu.
func (s *Server) cutStreams() {
	select {
	case <-s.cuts.streams:
	default:
		close(s.cuts.streams)
	}
}

// streamCut returns what breaks a stream off.
func (s *Server) streamCut() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cuts.streams
}

// breakOff ends the handler and closes its connection, without what ends an HTTP
// body: the client reads an unexpected EOF.
func breakOff() { panic(http.ErrAbortHandler) }

// idleChan returns a channel that is closed when no brief request is in work. The
// caller holds mu.
func (s *Server) idleChan() <-chan struct{} {
	if s.brief == 0 {
		done := make(chan struct{})
		close(done)
		return done
	}
	if s.idle == nil {
		s.idle = make(chan struct{})
	}
	return s.idle
}

// replaced is the refusal of a quiesced server. Nothing of the request was begun.
var replaced = &state.Error{Code: state.ExitFailed, Message: "the daemon is being replaced; try again", Details: []string{}}

// refuse answers 503. Retry-After tells the client that it may send the same
// request again, and at once: the next connection waits for the successor.
func refuse(w http.ResponseWriter, err *state.Error) {
	w.Header().Set("Connection", "close")
	if err == replaced {
		w.Header().Set("Retry-After", "0")
	}
	fail(w, http.StatusServiceUnavailable, err)
}

// enter counts a request in, or says why it can't be served now.
func (s *Server) enter(endless bool) *state.Error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.still:
		return replaced
	case s.all >= MaxRequests:
		return &state.Error{Code: state.ExitFailed,
			Message: fmt.Sprintf("the daemon has %d control requests in work; try again", s.all)}
	}
	s.all++
	if !endless {
		s.brief++
	}
	return nil
}

func (s *Server) leave(endless bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all--
	if !endless {
		s.lessBrief()
	}
}

// begin is called by a request that now begins its work and waits for it, end when it does
// no longer. What it returns breaks the wait off.
func (s *Server) begin(verb state.Verb) (cut <-chan struct{}, err *state.Error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.still {
		return nil, replaced
	}
	if isBrief(verb) {
		return nil, nil
	}
	s.waiting++
	s.lessBrief()
	if verb == state.VerbUpgrade {
		return nil, nil
	}
	return s.cuts.waits, nil
}

func (s *Server) end(verb state.Verb) {
	if isBrief(verb) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting--
	s.brief++
}

// isBrief reports whether what is asked for waits for nothing and nobody: a Quiesce waits
// for its answer, since done twice it is not the same as once.
func isBrief(verb state.Verb) bool {
	return verb == state.VerbSignal || verb == state.VerbReset || verb == state.VerbFlush
}

// lessBrief takes one from brief. The caller holds mu.
func (s *Server) lessBrief() {
	s.brief--
	if s.brief == 0 && s.idle != nil {
		close(s.idle)
		s.idle = nil
	}
}
