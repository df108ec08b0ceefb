package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"supervisor/supervisor/control"
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

// line is a wait for a line of a worker's log.
type line struct {
	t     *testing.T
	found chan error
}

// follow begins to wait for a line of an app's log that contains a text, from now on.
func (s *supervisor) follow(app, text string) line {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), guard)
	s.t.Cleanup(cancel)
	found := make(chan error, 1)
	client := control.Dial(filepath.Join(s.home, "supervisor.sock"))
	go func() { // ends with the line, or with the test
		// What was written before the daemon heard us is among the last lines.
		found <- client.Logs(ctx, control.LogQuery{Names: []string{app}, N: 100, Follow: true}, func(l control.LogLine) bool {
			return !strings.Contains(l.Text, text)
		})
	}()
	return line{s.t, found}
}

func (l line) wait() {
	l.t.Helper()
	if err := <-l.found; err != nil {
		l.t.Fatalf("the line did not come: %v", err)
	}
}
