package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"path/filepath"
	"testing"

	"supervisor/supervisor/state"
)

// stream is what a supervisor says while a test goes on.
type stream struct {
	t    *testing.T
	body *bufio.Scanner
}

// events subscribes; what happens after it returned is in the stream.
func (s *supervisor) events() *stream {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), guard)
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", filepath.Join(s.home, "supervisor.sock"))
		},
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://supervisor/v1/events", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		cancel()
		resp.Body.Close()
	})
	return &stream{s.t, bufio.NewScanner(resp.Body)}
}

// until reads to the first event that is what is waited for.
func (st *stream) until(what string, is func(state.Event) bool) state.Event {
	st.t.Helper()
	var last state.Event
	for st.body.Scan() {
		last = state.Event{}
		if err := json.Unmarshal(st.body.Bytes(), &last); err != nil {
			st.t.Fatal(err)
		}
		if is(last) {
			return last
		}
	}
	st.t.Fatalf("the events ended before %s: %v; the last was %+v", what, st.body.Err(), last)
	return last
}

// worker waits until something happens to a worker of a slot.
func (st *stream) worker(app string, slot int, what string) state.Event {
	st.t.Helper()
	return st.until(what, func(e state.Event) bool {
		return e.Kind == state.EventWorker && e.App == app && e.Slot == slot && e.What == what
	})
}
