package control

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"supervisor/supervisor/state"
)

func TestMain(m *testing.M) {
	switch {
	case os.Getenv("CONTROL_TEST_FOREIGN") != "":
		foreignMain()
		return
	case os.Getenv("CONTROL_TEST_DAEMON") != "":
		daemonMain()
		return
	}
	goleak.VerifyTestMain(m)
}

// guard is how long a test waits for what must come: a failure guard, no timing.
const guard = 30 * time.Second

// fake is a backend whose answers a test scripts.
type fake struct {
	do   func(ctx context.Context, req state.Request) state.Result
	snap state.Snapshot
	logs func(ctx context.Context, q LogQuery) (<-chan LogLine, error)
	list func(ctx context.Context)

	mu   sync.Mutex
	subs map[chan state.Event]int // lost events per subscriber
}

func (f *fake) Do(ctx context.Context, req state.Request) state.Result {
	if f.do == nil {
		return state.Result{Touched: req.Names}
	}
	return f.do(ctx, req)
}

func (f *fake) List(ctx context.Context) (state.Snapshot, error) {
	if f.list != nil {
		f.list(ctx)
	}
	return f.snap, nil
}

func (f *fake) Describe(_ context.Context, name string) ([]state.Describe, error) {
	if name == "nope" {
		return nil, &state.Error{Code: 1, Message: "no app is named nope"}
	}
	return []state.Describe{{App: state.App{Name: name}}}, nil
}

func (f *fake) Events() (<-chan state.Event, func()) {
	ch := make(chan state.Event, 16)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.subs == nil {
		f.subs = map[chan state.Event]int{}
	}
	f.subs[ch] = 0
	return ch, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.subs, ch)
	}
}

// publish never blocks, as the loop doesn't.
func (f *fake) publish(e state.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for ch, lost := range f.subs {
		if lost > 0 {
			select {
			case ch <- state.Event{Kind: state.EventLost, Lost: lost}:
				f.subs[ch] = 0
			default:
				f.subs[ch]++
				continue
			}
		}
		select {
		case ch <- e:
		default:
			f.subs[ch]++
		}
	}
}

func (f *fake) subscribers() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.subs)
}

func (f *fake) History(_ context.Context, name string, n int) ([]json.RawMessage, error) {
	return []json.RawMessage{json.RawMessage(`{"name":"web","result":"complete"}`)}, nil
}

func (f *fake) Logs(ctx context.Context, q LogQuery) (<-chan LogLine, error) {
	if f.logs != nil {
		return f.logs(ctx, q)
	}
	ch := make(chan LogLine)
	go func() { // ends after its lines or with ctx
		defer close(ch)
		for i := range q.N {
			select {
			case ch <- LogLine{App: "web", Slot: i, Stream: "out", Text: "line"}:
			case <-ctx.Done():
				return
			}
		}
		if q.Follow {
			<-ctx.Done()
		}
	}()
	return ch, nil
}

func (f *fake) Version() string { return "test" }

// introduced is a fake that says who it is.
type introduced struct {
	*fake
	as Pong
}

func (i introduced) Introduce(p *Pong) { p.KeeperPID, p.Unit = i.as.KeeperPID, i.as.Unit }

// serve starts a server on a socket of its own and stops it with the test.
func serve(t testing.TB, b Backend, opts ...option) (*Server, *Client, string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "ctl") // short: sun_path
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "s")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := Serve(ln, b, opts...)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), guard)
		defer cancel()
		if err := s.Close(ctx); err != nil {
			t.Errorf("Close: %v", err)
		}
		os.RemoveAll(dir)
	})
	return s, Dial(path), path
}

func guarded(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), guard)
	t.Cleanup(cancel)
	return ctx
}

func TestShortCalls(t *testing.T) {
	rss := int64(7)
	b := &fake{snap: state.Snapshot{Daemon: state.DaemonInfo{PID: 4}, Apps: []state.App{{
		Name: "web", Workers: []state.Worker{{Slot: 1, RSSBytes: &rss}}}}}}
	_, c, _ := serve(t, b)
	ctx := guarded(t)
	if p, err := c.Ping(ctx); err != nil || p.PID != os.Getpid() || p.Version != "test" || !filepath.IsAbs(p.Binary) {
		t.Errorf("Ping = %+v, %v", p, err)
	}
	snap, err := c.List(ctx)
	if err != nil || len(snap.Apps) != 1 || *snap.Apps[0].Workers[0].RSSBytes != 7 {
		t.Errorf("List = %+v, %v", snap, err)
	}
	if d, err := c.Describe(ctx, "a b&c"); err != nil || len(d) != 1 || d[0].Name != "a b&c" {
		t.Errorf("Describe = %+v, %v", d, err)
	}
	if h, err := c.History(ctx, "", 3); err != nil || len(h) != 1 {
		t.Errorf("History = %s, %v", h, err)
	}
	n := 0
	if err := c.Logs(ctx, LogQuery{N: 5}, func(LogLine) bool { n++; return true }); err != nil || n != 5 {
		t.Errorf("Logs: %d lines, %v", n, err)
	}
}

func TestBackendErrorKeepsItsCode(t *testing.T) {
	_, c, _ := serve(t, &fake{})
	_, err := c.Describe(guarded(t), "nope")
	var e *state.Error
	if !errors.As(err, &e) || e.Code != 1 || e.Message != "no app is named nope" || e.Details == nil {
		t.Fatalf("err = %#v", err)
	}
}

func TestDoStreamsEventsThenResult(t *testing.T) {
	b := &fake{}
	b.do = func(_ context.Context, req state.Request) state.Result {
		b.publish(state.Event{Kind: state.EventWorker, App: "web", What: state.WhatSpawned})
		b.publish(state.Event{Kind: state.EventWorker, App: "other", What: state.WhatSpawned})
		b.publish(state.Event{Kind: state.EventWorker, App: "web", What: state.WhatReady})
		return state.Result{Touched: req.Names}
	}
	s, c, _ := serve(t, b)
	var got []string
	res, err := c.Do(guarded(t), state.Request{Verb: state.VerbReload, Names: []string{"web"}},
		func(e state.Event) { got = append(got, e.App+" "+e.What) })
	if err != nil || len(res.Touched) != 1 {
		t.Fatalf("Do = %+v, %v", res, err)
	}
	if len(got) != 2 || got[0] != "web spawned" || got[1] != "web ready" {
		t.Errorf("events = %q", got)
	}
	if err := s.Close(guarded(t)); err != nil { // the handler has returned
		t.Error(err)
	}
	if n := b.subscribers(); n != 0 {
		t.Errorf("%d subscriptions left", n)
	}
}

func TestDoOfAFileLeavesOutForeignApps(t *testing.T) {
	b := &fake{snap: state.Snapshot{Apps: []state.App{
		{Name: "old", Spec: state.Spec{File: "/a.yaml"}},
		{Name: "foreign", Spec: state.Spec{File: "/b.yaml"}},
		{Name: "script", Spec: state.Spec{Script: "x.js"}},
	}}}
	b.do = func(context.Context, state.Request) state.Result {
		for _, n := range []string{"old", "foreign", "script", "new"} {
			b.publish(state.Event{App: n})
		}
		return state.Result{}
	}
	_, c, _ := serve(t, b)
	var got []string
	if _, err := c.Do(guarded(t), state.Request{Verb: state.VerbStart, File: "/a.yaml"},
		func(e state.Event) { got = append(got, e.App) }); err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 || got[0] != "old" || got[1] != "new" {
		t.Errorf("events of %q", got)
	}
}

func TestWorkGoesOnWhenTheClientLeaves(t *testing.T) {
	begun, left, ended := make(chan struct{}), make(chan struct{}), make(chan struct{})
	b := &fake{do: func(ctx context.Context, _ state.Request) state.Result {
		close(begun)
		<-ctx.Done() // the client left
		close(left)
		<-ended
		return state.Result{}
	}}
	_, c, _ := serve(t, b)
	ctx, cancel := context.WithCancel(guarded(t))
	errc := make(chan error, 1)
	go func() {
		_, err := c.Do(ctx, state.Request{Verb: state.VerbStop}, nil)
		errc <- err
	}()
	<-begun
	cancel()
	if err := <-errc; !errors.Is(err, context.Canceled) {
		t.Errorf("Do = %v", err)
	}
	<-left
	if _, err := c.Ping(guarded(t)); err != nil {
		t.Error(err)
	}
	close(ended)
}

func TestNoDaemon(t *testing.T) {
	dir := t.TempDir()
	ctx := guarded(t)
	if _, err := Dial(filepath.Join(dir, "s")).Ping(ctx); !errors.Is(err, ErrNoDaemon) {
		t.Errorf("no socket: %v", err)
	}
	if _, err := Dial(filepath.Join(dir, "no", "s")).Ping(ctx); !errors.Is(err, ErrNoDaemon) {
		t.Errorf("no home: %v", err)
	}
	// What a daemon killed by SIGKILL leaves: a socket file that nobody listens on.
	short, _ := os.MkdirTemp("", "ctl")
	defer os.RemoveAll(short)
	stale := filepath.Join(short, "s")
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: stale, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	ln.SetUnlinkOnClose(false)
	ln.Close()
	if _, err := Dial(stale).Ping(ctx); !errors.Is(err, ErrNoDaemon) {
		t.Errorf("stale socket: %v", err)
	}
	long := filepath.Join("/tmp", string(make([]byte, 0)), "x/"+longName)
	if _, err := Dial(long).Ping(ctx); err == nil || errors.Is(err, ErrNoDaemon) {
		t.Errorf("long path: %v", err)
	}
}

const longName = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

// A daemon that goes away in the middle of an answer, and nobody holds its socket.
func TestBrokenStream(t *testing.T) {
	answers := []string{
		"",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1c\r\n{\"event\":{\"seq\":1,\"slot\":0}}\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n{\"result\"\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	}
	for _, a := range answers {
		h := hold(t)
		ln := h.listen()
		h.drop()
		errc := make(chan error, 1)
		go func() {
			_, err := Dial(h.path).Do(guarded(t), state.Request{Verb: state.VerbReload}, func(state.Event) {})
			errc <- err
		}()
		c, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		ln.Close()
		answerRaw(c, a)
		var be *BrokenError
		if err := <-errc; !errors.As(err, &be) {
			t.Errorf("after %q: %v", a, err)
		}
	}
}

// answerRaw reads what fits of a request, answers it with some bytes, and closes.
func answerRaw(c net.Conn, answer string) {
	defer c.Close()
	buf := make([]byte, 4096)
	c.Read(buf)
	c.Write([]byte(answer))
}
