package cli

import (
	"context"
	"encoding/json"
	"sync"

	"supervisor/supervisor/control"
	"supervisor/supervisor/state"
)

// fakeBackend answers by what a test put in.
type fakeBackend struct {
	snap     state.Snapshot
	results  map[state.Verb]state.Result
	describe []state.Describe
	events   []state.Event // published by every Do, before its result
	lines    []control.LogLine
	hold     chan struct{} // non-nil: Do waits for it
	begun    chan struct{} // gets one for every Do that begins
	pong     control.Pong  // what it says of itself beside the server's, where not 0
	killed   chan struct{}

	mu       sync.Mutex
	requests []state.Request
	subs     []chan state.Event
}

func newFake() *fakeBackend {
	return &fakeBackend{results: map[state.Verb]state.Result{}, killed: make(chan struct{}), begun: make(chan struct{}, 64),
		snap: state.Snapshot{Daemon: state.DaemonInfo{PID: 77, Version: "1.2.3", UptimeMS: 5}}}
}

func (f *fakeBackend) Do(ctx context.Context, req state.Request) state.Result {
	f.mu.Lock()
	f.requests = append(f.requests, req)
	for _, e := range f.events {
		for _, s := range f.subs {
			s <- e
		}
	}
	f.mu.Unlock()
	f.begun <- struct{}{}
	if f.hold != nil {
		select {
		case <-f.hold:
		case <-ctx.Done():
		}
	}
	if req.Verb == state.VerbKill {
		close(f.killed)
	}
	if res, ok := f.results[req.Verb]; ok {
		return res
	}
	return state.Result{Touched: req.Names}
}

// last is the request that came last.
func (f *fakeBackend) last() state.Request {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.requests) == 0 {
		return state.Request{}
	}
	return f.requests[len(f.requests)-1]
}

func (f *fakeBackend) List(context.Context) (state.Snapshot, error) { return f.snap, nil }

func (f *fakeBackend) Describe(_ context.Context, name string) ([]state.Describe, error) {
	if name == "" {
		return f.describe, nil
	}
	for _, d := range f.describe {
		if d.Name == name {
			return []state.Describe{d}, nil
		}
	}
	return nil, &state.Error{Code: 1, Message: "cannot describe " + name + ": no app has this name"}
}

func (f *fakeBackend) Events() (<-chan state.Event, func()) {
	ch := make(chan state.Event, 64)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.subs = append(f.subs, ch)
	return ch, func() {}
}

func (f *fakeBackend) History(context.Context, string, int) ([]json.RawMessage, error) {
	b, err := json.Marshal(receipt())
	return []json.RawMessage{b}, err
}

func (f *fakeBackend) Logs(ctx context.Context, q control.LogQuery) (<-chan control.LogLine, error) {
	ch := make(chan control.LogLine)
	go func() { // ends after its lines or with ctx
		defer close(ch)
		for _, l := range f.lines {
			if l.Stream == "err" && !q.Err || l.Stream == "out" && !q.Out {
				continue
			}
			select {
			case ch <- l:
			case <-ctx.Done():
				return
			}
		}
		if q.Follow {
			f.begun <- struct{}{}
			<-ctx.Done()
		}
	}()
	return ch, nil
}

func (f *fakeBackend) Version() string { return "1.2.3" }

func (f *fakeBackend) Introduce(p *control.Pong) {
	p.KeeperPID, p.Unit = f.pong.KeeperPID, f.pong.Unit
	if f.pong.PID != 0 {
		p.PID, p.Version, p.Binary = f.pong.PID, f.pong.Version, f.pong.Binary
	}
}
