package control

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"supervisor/supervisor/state"
)

// script is a Backend's Logs that gives some lines, and then waits or ends.
func script(asked chan<- LogQuery, lines ...LogLine) func(context.Context, LogQuery) (<-chan LogLine, error) {
	return func(ctx context.Context, q LogQuery) (<-chan LogLine, error) {
		ch := make(chan LogLine)
		go func() { // ends after its lines or with ctx
			defer close(ch)
			for _, l := range lines {
				select {
				case ch <- l:
				case <-ctx.Done():
					return
				}
			}
			asked <- q
			if q.Follow {
				<-ctx.Done()
			}
		}()
		return ch, nil
	}
}

func TestLogsGoOnAtTheirCursors(t *testing.T) {
	line := func(app string, slot int, stream, cursor, text string) LogLine {
		return LogLine{App: app, Slot: slot, Stream: stream, Cursor: cursor, Text: text, Mark: text == ""}
	}
	tests := []struct {
		name string
		with []LogLine
		want LogQuery // of the successor
	}{
		{"nothing came", nil, LogQuery{N: 7}},
		{"no cursors", []LogLine{line("web", 0, "out", "", "a")}, LogQuery{N: 0}},
		{"one source", []LogLine{line("web", 0, "out", "c=1", "a"), line("web", 0, "out", "c=2", "b")}, LogQuery{N: 7, Cursors: []string{"c=2"}}},
		{"a source in two files, while its old worker drains", []LogLine{
			line("web", 0, "out", "old=1", "a"), line("web", 0, "out", "new=1", "b"), line("web", 0, "out", "old=2", "c")},
			LogQuery{N: 7, Cursors: []string{"new=1", "old=2"}}},
		{"two sources in one file", []LogLine{line("web", 0, "out", "c=1", "a"), line("web", 1, "out", "c=2", "b")}, LogQuery{N: 7, Cursors: []string{"c=2"}}},
		{"sources, and one that is silent", []LogLine{
			line("web", 0, "err", "quiet=0", ""), line("web", 0, "out", "o=1", "a"), line("web", 1, "out", "p=1", "b"), line("web", 0, "out", "o=2", "c")},
			LogQuery{N: 7, Cursors: []string{"quiet=0", "p=1", "o=2"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := hold(t)
			asked := make(chan LogQuery, 1)
			first := h.serve(&fake{logs: script(asked, tt.with...)})
			shown := make(chan string, 16)
			errs := make(chan error, 1)
			go func() {
				errs <- Dial(h.path).Logs(guarded(t), LogQuery{Names: []string{"web"}, N: 7, Follow: true, Out: true}, func(l LogLine) bool {
					shown <- l.Text
					return l.Text != "last"
				})
			}()
			if q := <-asked; q.N != 7 || len(q.Cursors) != 0 {
				t.Errorf("first asked %+v", q)
			}
			for _, l := range tt.with {
				if !l.Mark {
					if got := <-shown; got != l.Text {
						t.Errorf("%q came, not %q", got, l.Text)
					}
				}
			}
			crash(first)
			h.serve(&fake{logs: script(asked, line("web", 0, "out", "z", "last"))})
			if err := <-errs; err != nil {
				t.Error(err)
			}
			q := <-asked
			if q.N != tt.want.N || !slices.Equal(q.Cursors, tt.want.Cursors) || !q.Follow || !slices.Equal(q.Names, []string{"web"}) {
				t.Errorf("asked the successor %+v", q)
			}
			if got := <-shown; got != "last" || len(shown) > 0 {
				t.Errorf("%q came, %d more", got, len(shown))
			}
		})
	}
}

// What is quiesced ends no answer as if it were whole.
func TestLogsThatAreNotFollowedAreCutNotEnded(t *testing.T) {
	h := hold(t)
	stuck := make(chan struct{})
	s := h.serve(&fake{logs: func(ctx context.Context, _ LogQuery) (<-chan LogLine, error) {
		ch := make(chan LogLine)
		go func() { // ends with ctx
			ch <- LogLine{Text: "a"}
			close(stuck)
			<-ctx.Done()
		}()
		return ch, nil
	}})
	got := make(chan error, 1)
	go func() {
		got <- Dial(h.path).Logs(guarded(t), LogQuery{N: 2}, func(LogLine) bool { return true })
	}()
	<-stuck
	s.Quiesce(guarded(t))
	var be *BrokenError // "a" was shown already, and it had no cursor
	if err := <-got; !errors.As(err, &be) {
		t.Errorf("Logs = %v", err)
	}
}

func TestEventsGoOn(t *testing.T) {
	h := hold(t)
	b := &fake{}
	s := h.serve(b)
	got, errs := make(chan state.Event), make(chan error, 1)
	go func() {
		errs <- Dial(h.path).Events(guarded(t), func(e state.Event) bool {
			got <- e
			return e.App != "last"
		})
	}()
	flood := func(b *fake, app string) func() { // until it is told to end: nobody knows when the stream listens
		stop, done := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(done)
			for {
				select {
				case <-stop:
					return
				default:
					b.publish(state.Event{App: app})
				}
			}
		}()
		return func() { close(stop); <-done }
	}
	end := flood(b, "first")
	if e := <-got; e.App != "first" {
		t.Errorf("%+v", e)
	}
	end()
	crash(s)
	b = &fake{}
	h.serve(b)
	end = flood(b, "last")
	defer end()
	note := false
	for e := range got {
		note = note || e.Kind == state.EventNote && strings.Contains(e.Text, "not shown")
		if e.App == "last" {
			break
		}
	}
	if !note {
		t.Error("the gap was not told")
	}
	if err := <-errs; err != nil {
		t.Error(err)
	}
}
