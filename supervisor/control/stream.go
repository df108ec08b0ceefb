package control

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"supervisor/supervisor/fault"
	"supervisor/supervisor/state"
)

// stream writes NDJSON: each value is flushed, and may wait only so long for
// its reader.
type stream struct {
	w       http.ResponseWriter
	rc      *http.ResponseController
	timeout time.Duration
}

func (s *Server) newStream(w http.ResponseWriter) *stream {
	st := &stream{w: w, rc: http.NewResponseController(w), timeout: s.streamTimeout}
	w.Header().Set("Content-Type", "application/x-ndjson")
	st.rc.SetWriteDeadline(time.Now().Add(st.timeout))
	w.WriteHeader(http.StatusOK)
	st.rc.Flush() // the client sees at once that it was heard
	return st
}

func (st *stream) send(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	st.rc.SetWriteDeadline(time.Now().Add(st.timeout))
	if _, err := st.w.Write(append(b, '\n')); err != nil {
		return err
	}
	return st.rc.Flush()
}

// doLine is one line of /v1/do's stream.
type doLine struct {
	Event  *state.Event  `json:"event,omitempty"`
	Result *state.Result `json:"result,omitempty"`
}

func (s *Server) do(w http.ResponseWriter, r *http.Request) {
	rc := http.NewResponseController(w)
	rc.SetReadDeadline(time.Now().Add(bodyTimeout))
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxBody))
	if err != nil {
		failWith(w, &state.Error{Code: state.ExitUsage, Message: "cannot read the request: " + err.Error()})
		return
	}
	// The deadline was for the body; net/http goes on reading to see whether the
	// client leaves, which may be long from now.
	rc.SetReadDeadline(time.Time{})
	req, err := decodeRequest(body)
	if err != nil {
		failWith(w, &state.Error{Code: state.ExitUsage, Message: err.Error()})
		return
	}

	fault.Point("control.read")
	var events <-chan state.Event // nil blocks for ever: no events
	touches := func(state.Event) bool { return false }
	if r.URL.Query().Get("quiet") == "" {
		touches = s.touched(r.Context(), req)
		ch, cancel := s.backend.Events()
		defer cancel()
		events = ch
	}
	cut, refused := s.begin(req.Verb)
	if refused != nil {
		refuse(w, refused)
		return
	}
	defer s.end(req.Verb)
	st := s.newStream(w)
	fault.Point("control.heard")
	done := make(chan state.Result, 1)
	go func() { // ends with the work, or with the client if the backend lets go then
		done <- s.backend.Do(r.Context(), req)
	}()
	for {
		select {
		case e, ok := <-events:
			if !ok {
				events = nil
			} else if touches(e) && st.send(doLine{Event: &e}) != nil {
				return
			}
		case res := <-done:
			fault.Point("control.done")
			flushEvents(st, events, touches)
			st.send(doLine{Result: &res})
			return
		case <-cut:
			if len(done) == 0 {
				breakOff()
			}
			cut = nil // its result is there
		case <-r.Context().Done():
			return
		}
	}
}

// flushEvents sends what was said before the result: select has no order.
func flushEvents(st *stream, events <-chan state.Event, touches func(state.Event) bool) {
	for {
		select {
		case e, ok := <-events:
			if !ok {
				return
			}
			if touches(e) && st.send(doLine{Event: &e}) != nil {
				return
			}
		default:
			return
		}
	}
}

// touched returns which events belong to a request: those of the apps that it
// names, else those of every app that isn't known to belong elsewhere.
func (s *Server) touched(ctx context.Context, req state.Request) func(state.Event) bool {
	named := map[string]bool{}
	for _, n := range req.Names {
		named[n] = true
	}
	for _, n := range req.Only {
		named[n] = true
	}
	if len(named) > 0 {
		return func(e state.Event) bool { return e.App == "" || named[e.App] }
	}
	foreign := map[string]bool{}
	if req.File != "" || req.Script != nil {
		snap, err := s.backend.List(ctx)
		if err == nil {
			for _, a := range snap.Apps {
				foreign[a.Name] = a.Spec.File != req.File || req.Script != nil && a.Spec.Script != req.Script.Path
			}
		}
	}
	return func(e state.Event) bool { return !foreign[e.App] }
}

func (s *Server) events(w http.ResponseWriter, r *http.Request) {
	ch, cancel := s.backend.Events()
	defer cancel()
	cut := s.streamCut()
	st := s.newStream(w)
	for {
		select {
		case e, ok := <-ch:
			if !ok || st.send(e) != nil {
				return
			}
		case <-cut:
			breakOff()
		case <-r.Context().Done():
			return
		}
	}
}

func (s *Server) logs(w http.ResponseWriter, r *http.Request) {
	lq, err := logQuery(w, r)
	if err != nil {
		failWith(w, err)
		return
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	ch, err := s.backend.Logs(ctx, lq)
	if err != nil {
		failWith(w, err)
		return
	}
	cut := s.streamCut()
	st := s.newStream(w)
	for {
		select {
		case line, ok := <-ch:
			if !ok || st.send(line) != nil {
				return
			}
		case <-cut:
			breakOff()
		case <-ctx.Done():
			return
		}
	}
}

// logQuery reads a query, or the form of a POST: many cursors are too long for the
// former.
func logQuery(w http.ResponseWriter, r *http.Request) (LogQuery, error) {
	if r.Method == http.MethodPost {
		rc := http.NewResponseController(w)
		rc.SetReadDeadline(time.Now().Add(bodyTimeout))
		r.Body = http.MaxBytesReader(w, r.Body, MaxBody)
		defer rc.SetReadDeadline(time.Time{}) // net/http goes on reading, as in do
	}
	if err := r.ParseForm(); err != nil {
		return LogQuery{}, &state.Error{Code: state.ExitUsage, Message: "cannot read the query: " + err.Error()}
	}
	q := r.Form
	n, err := number(q, "n", MaxLogLines)
	if err != nil {
		return LogQuery{}, err
	}
	switch {
	case len(q["app"]) > MaxNames:
		err = &state.Error{Code: state.ExitUsage, Message: "too many apps named"}
	case len(q["cursor"]) > MaxCursors:
		err = &state.Error{Code: state.ExitUsage, Message: "too many cursors"}
	case slices.ContainsFunc(q["cursor"], func(c string) bool { return c == "" || len(c) > MaxCursor }):
		err = &state.Error{Code: state.ExitUsage, Message: "a cursor is empty or too long"}
	}
	lq := LogQuery{Names: q["app"], N: n, Follow: on(q.Get("follow")), Out: on(q.Get("out")), Err: on(q.Get("err")), Cursors: q["cursor"]}
	if !lq.Out && !lq.Err {
		lq.Out, lq.Err = true, true
	}
	return lq, err
}

// on reads a boolean of a query.
func on(v string) bool { return v != "" && v != "0" && !strings.EqualFold(v, "false") }
