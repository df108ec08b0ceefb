package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"time"

	"supervisor/supervisor/state"
)

func (s *Server) ping(w http.ResponseWriter, r *http.Request) {
	binary, _ := os.Readlink("/proc/self/exe") // unknown is ""
	p := Pong{PID: os.Getpid(), Version: s.backend.Version(), Binary: binary}
	if i, ok := s.backend.(Introducer); ok {
		i.Introduce(&p)
	}
	answer(w, p)
}

func (s *Server) list(w http.ResponseWriter, r *http.Request) {
	snap, err := s.backend.List(r.Context())
	if err != nil {
		failWith(w, err)
		return
	}
	answer(w, snap)
}

// described is the answer of /v1/describe.
type described struct {
	Apps []state.Describe `json:"apps"`
}

func (s *Server) describe(w http.ResponseWriter, r *http.Request) {
	apps, err := s.backend.Describe(r.Context(), r.URL.Query().Get("app"))
	if err != nil {
		failWith(w, err)
		return
	}
	answer(w, described{Apps: apps})
}

// receipts is the answer of /v1/history.
type receipts struct {
	Receipts []json.RawMessage `json:"receipts"`
}

func (s *Server) history(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	n, err := number(q, "n", MaxReceipts)
	if err != nil {
		failWith(w, err)
		return
	}
	list, err := s.backend.History(r.Context(), q.Get("app"), n)
	if err != nil {
		failWith(w, err)
		return
	}
	if list == nil {
		list = []json.RawMessage{}
	}
	answer(w, receipts{Receipts: list})
}

// number reads a count from a query; absent is 0.
func number(q url.Values, key string, max int) (int, error) {
	v := q.Get(key)
	if v == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 0 || n > max {
		return 0, &state.Error{Code: state.ExitUsage, Message: fmt.Sprintf("%s must be a number from 0 to %d, not %.40q", key, max, v)}
	}
	return n, nil
}

// answer sends one value.
func answer(w http.ResponseWriter, v any) {
	send(w, http.StatusOK, v)
}

func send(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		status, b = http.StatusInternalServerError, []byte(`{"error":{"code":1,"message":"cannot encode the answer","details":[]}}`)
	}
	rc := http.NewResponseController(w)
	rc.SetWriteDeadline(time.Now().Add(answerTimeout))
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(append(b, '\n'))
}

// failure is the shape of every failed request.
type failure struct {
	Error *state.Error `json:"error"`
}

func fail(w http.ResponseWriter, status int, e *state.Error) {
	if e.Details == nil {
		e.Details = []string{}
	}
	send(w, status, failure{Error: e})
}

// failWith sends an error of the backend; one that isn't a *state.Error is
// code 1.
func failWith(w http.ResponseWriter, err error) {
	var e *state.Error
	if !errors.As(err, &e) {
		e = &state.Error{Code: state.ExitFailed, Message: err.Error()}
	}
	status := http.StatusInternalServerError
	if e.Code == state.ExitUsage {
		status = http.StatusBadRequest
	}
	copied := *e // the backend's may be shared
	fail(w, status, &copied)
}
