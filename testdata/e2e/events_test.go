package e2e

import (
	"context"
	"strings"
	"testing"

	"supervisor/supervisor/control"
	"supervisor/supervisor/state"
	"supervisor/testdata/lab"
)

// stream is what a supervisor says while a test goes on.
type stream struct {
	*lab.Events
	t *testing.T
}

// events subscribes; what happens after it returned is in the stream.
func (s *supervisor) events() *stream {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), guard)
	s.t.Cleanup(cancel)
	return &stream{s.Events(ctx), s.t}
}

// until reads to the first event that is what is waited for.
func (st *stream) until(what string, is func(state.Event) bool) (last state.Event) {
	st.t.Helper()
	for {
		e, ok := st.Next()
		if !ok {
			st.t.Fatalf("the events ended before %s: %v; the last was %+v", what, st.Err(), last)
		}
		if last = e; is(e) {
			return e
		}
	}
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
	client := control.Dial(s.Socket())
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
