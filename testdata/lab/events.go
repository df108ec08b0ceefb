package lab

import (
	"bufio"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"testing"

	"supervisor/supervisor/state"
)

// Events is what a supervisor says while a test goes on. One goroutine reads it.
type Events struct {
	t    testing.TB
	body *bufio.Scanner
}

// Events subscribes: what happens after it returned is read by Next, until ctx ends.
// The daemon has to run, or to be started again by whoever holds its socket: one that
// dies before it has answered is followed by the next.
func (s *Supervisor) Events(ctx context.Context) *Events {
	s.T.Helper()
	connected := false
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			conn, err := d.DialContext(ctx, "unix", s.Socket())
			connected = err == nil
			return conn, err
		},
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://supervisor/v1/events", nil)
	if err != nil {
		s.T.Fatal(err)
	}
	resp, err := client.Do(req)                       // its head says that we are subscribed
	for err != nil && connected && ctx.Err() == nil { // it broke: net/http has many words for that
		connected = false
		resp, err = client.Do(req)
	}
	if err != nil {
		s.T.Fatal(err)
	}
	s.T.Cleanup(func() { resp.Body.Close() })
	return &Events{s.T, bufio.NewScanner(resp.Body)}
}

// Limit lets an event be that many bytes long, instead of bufio.MaxScanTokenSize. It has
// to be called before the first Next.
func (e *Events) Limit(n int) { e.body.Buffer(nil, n) }

// Next waits for the next event; false says that there is none, for the reason Err. A
// line that is no event fails the test and is the last.
func (e *Events) Next() (event state.Event, ok bool) {
	e.t.Helper()
	if !e.body.Scan() {
		return event, false
	}
	if err := json.Unmarshal(e.body.Bytes(), &event); err != nil {
		e.t.Error(err)
		return event, false
	}
	return event, true
}

// Until waits for an event that is as meant; that there is none fails the test at once.
func (e *Events) Until(is func(state.Event) bool) {
	e.t.Helper()
	for {
		event, ok := e.Next()
		if !ok {
			e.t.Fatal(e.Err())
		}
		if is(event) {
			return
		}
	}
}

// Err is why there are no more events; nil if the supervisor ended them.
func (e *Events) Err() error { return e.body.Err() }
