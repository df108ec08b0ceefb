package control

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"supervisor/supervisor/state"
)

// raw sends bytes and returns what comes back until the server closes.
func raw(t *testing.T, path string, request string) string {
	t.Helper()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(guard))
	go c.Write([]byte(request)) // ends with the connection
	b, _ := io.ReadAll(c)
	return string(b)
}

func post(body string) string {
	return fmt.Sprintf("POST /v1/do HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

func TestGarbage(t *testing.T) {
	called := false
	b := &fake{do: func(context.Context, state.Request) state.Result { called = true; return state.Result{} }}
	_, c, path := serve(t, b)
	tests := []struct{ name, send, want string }{
		{"binary", strings.Repeat("\x00\xff\x16\x03", 64) + "\r\n\r\n", "400 Bad Request"},
		{"huge head", "GET /v1/list HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("a", 64<<10) + "\r\n\r\n", "431 "},
		{"no json", post("hello"), "cannot read the request"},
		{"empty", post(""), "it ends too early"},
		{"half", post(`{"verb":"st`), "it ends too early"},
		{"two values", post(`{"verb":"stop"}{"verb":"stop"}`), "more than one JSON value"},
		{"unknown key", post(`{"verb":"stop","force":true}`), "unknown field"},
		{"unknown verb", post(`{"verb":"explode"}`), "unknown verb"},
		{"relative file", post(`{"verb":"start","file":"a.yaml"}`), "not an absolute path"},
		{"relative binary", post(`{"verb":"upgrade","binary":"a"}`), "not an absolute path"},
		{"resume of nothing", post(`{"verb":"reload","resume":true}`), "which one it was"},
		{"resume since never", post(`{"verb":"reload","resume":true,"id":"x"}`), "which one it was"},
		{"huge id", post(`{"verb":"reload","id":"` + strings.Repeat("a", MaxID+1) + `"}`), "its id is longer"},
		{"empty name", post(`{"verb":"stop","names":[""]}`), "no app's name"},
		{"deep", post(strings.Repeat("[", 100000)), "cannot read the request"},
		{"huge body", post(`{"verb":"` + strings.Repeat("a", MaxBody) + `"}`), "too large"},
		{"wrong method", "GET /v1/do HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "405 "},
		{"unknown path", "GET /v1/../etc HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "no such endpoint"},
		{"bad n", "GET /v1/logs?n=-1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "n must be a number"},
		{"huge cursor", "GET /v1/logs?cursor=" + strings.Repeat("a", MaxCursor+1) + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "a cursor is empty or too long"},
		{"no form", "POST /v1/logs HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 3\r\n\r\n%zz", "cannot read the query"},
		{"huge n", "GET /v1/logs?n=99999999999 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "n must be a number"},
	}
	for _, tt := range tests {
		if got := raw(t, path, tt.send); !strings.Contains(got, tt.want) {
			t.Errorf("%s: %.200q has no %q", tt.name, got, tt.want)
		}
	}
	if called {
		t.Error("garbage reached the backend")
	}
	if _, err := c.Ping(guarded(t)); err != nil {
		t.Error(err)
	}
}

func TestForeignUIDIsRefused(t *testing.T) {
	_, c, path := serve(t, &fake{}, func(s *Server) {
		s.admit = func(p peer) error { return admit(peer{uid: p.uid + 4711, err: p.err}) }
	})
	_, err := c.List(guarded(t))
	var e *state.Error
	if !errors.As(err, &e) || !strings.Contains(e.Message, "belongs to uid") {
		t.Errorf("foreign uid: %v", err)
	}
	if os.Getuid() != 0 {
		t.Skip("the rest needs root, to become somebody else")
	}
	_, _, path = serve(t, &fake{})
	// A real foreigner, with the modes of the folder and socket out of the way.
	os.Chmod(path, 0o777)
	os.Chmod(strings.TrimSuffix(path, "/s"), 0o755)
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = []string{"CONTROL_TEST_FOREIGN=" + path}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "answers only to it and to root, not to uid 65534") {
		t.Errorf("uid 65534 got %q, %v", out, err)
	}
}

// foreignMain is the test binary as another user's client.
func foreignMain() {
	_, err := Dial(os.Getenv("CONTROL_TEST_FOREIGN")).List(context.Background())
	fmt.Println(err)
}

func TestAThousandSilentConnections(t *testing.T) {
	_, c, path := serve(t, &fake{})
	var conns []net.Conn
	for range 1000 {
		nc, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		conns = append(conns, nc)
	}
	answered := make(chan error, 1)
	go func() {
		_, err := c.Ping(guarded(t))
		answered <- err
	}()
	// The silent ones would be dropped by headTimeout; half of them leaving is
	// enough for the client behind them in the queue.
	for _, nc := range conns[:MaxConnections] {
		nc.Close()
	}
	if err := <-answered; err != nil {
		t.Errorf("Ping behind 1000 silent connections: %v", err)
	}
}

func TestTooManyRequests(t *testing.T) {
	begun := make(chan struct{})
	b := &fake{logs: func(ctx context.Context, _ LogQuery) (<-chan LogLine, error) {
		ch := make(chan LogLine)
		begun <- struct{}{}
		context.AfterFunc(ctx, func() { close(ch) })
		return ch, nil
	}}
	_, c, path := serve(t, b)
	var conns []net.Conn
	for range MaxRequests {
		nc, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		io.WriteString(nc, "GET /v1/logs?follow=1 HTTP/1.1\r\nHost: x\r\n\r\n")
		conns = append(conns, nc)
	}
	for range conns {
		<-begun
	}
	_, err := c.Ping(guarded(t))
	var e *state.Error
	if !errors.As(err, &e) || !strings.Contains(e.Message, "256 control requests in work") {
		t.Errorf("one request too many: %v", err)
	}
	for _, nc := range conns {
		nc.Close()
	}
	// The server sees the ends one by one; each makes a place.
	for ctx := guarded(t); ; {
		if _, err = c.Ping(ctx); err == nil || ctx.Err() != nil {
			break
		}
	}
	if err != nil {
		t.Errorf("Ping after the flood: %v", err)
	}
}

func TestSlowReaderLosesEventsAndBlocksNobody(t *testing.T) {
	b := &fake{}
	_, c, path := serve(t, b)
	nc, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(guard))
	io.WriteString(nc, "GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n")
	r := bufio.NewReader(nc)
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	// Far more than the socket's buffers hold, and nobody reads.
	text := strings.Repeat("x", 1024)
	for range 10000 {
		b.publish(state.Event{Kind: state.EventNote, Text: text})
	}
	if _, err := c.Ping(guarded(t)); err != nil {
		t.Fatal(err)
	}
	// Once the reader reads again, it is told what it missed.
	done := make(chan struct{})
	defer close(done)
	go func() { // ends with the test: the loss is told with the next event
		for {
			select {
			case <-done:
				return
			default:
				b.publish(state.Event{Kind: state.EventNote})
			}
		}
	}()
	sc := bufio.NewScanner(resp.Body)
	for sc.Scan() {
		if bytes.Contains(sc.Bytes(), []byte(`"kind":"lost"`)) {
			return
		}
	}
	t.Errorf("never told of the loss: %v", sc.Err())
}

func TestStuckReaderIsDropped(t *testing.T) {
	ended := make(chan struct{})
	b := &fake{logs: func(ctx context.Context, _ LogQuery) (<-chan LogLine, error) {
		ch := make(chan LogLine)
		go func() { // ends with ctx
			defer close(ended)
			defer close(ch)
			for {
				select {
				case ch <- LogLine{Text: strings.Repeat("x", 4096)}:
				case <-ctx.Done():
					return
				}
			}
		}()
		return ch, nil
	}}
	_, _, path := serve(t, b, func(s *Server) { s.streamTimeout = 50 * time.Millisecond })
	nc, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	io.WriteString(nc, "GET /v1/logs?follow=1 HTTP/1.1\r\nHost: x\r\n\r\n")
	select {
	case <-ended:
	case <-time.After(guard):
		t.Fatal("a reader that never reads keeps the stream for ever")
	}
}

func FuzzRequest(f *testing.F) {
	for _, s := range []string{`{"verb":"stop"}`, `{"verb":"start","file":"/a.yaml","env":["A=b"],"env_name":"x"}`,
		`{"verb":"start","script":{"path":"a.js","cwd":"/","args":["x"]}}`, `{"verb":"scale","names":["a"],"count":"+1"}`,
		`{`, `null`, `[]`, `{"verb":"stop"} x`, `{"verb":"stop","names":["\u0000"]}`, `{"VERB":"kill","parallel":-1}`,
		`{"verb":"upgrade","binary":"/b"}`, `{"verb":"reload","id":"x","resume":true,"since":"2026-01-02T03:04:05.678+02:00"}`,
		`{"verb":"reload","id":"","resume":true}`, `{"verb":"scale","since":"0001-01-01T00:00:00Z"}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		req, err := decodeRequest(b)
		if err != nil {
			return
		}
		if err := check(req); err != nil {
			t.Fatalf("accepted, but %v", err)
		}
		again, err := reencode(req)
		if err != nil {
			t.Fatalf("%+v does not survive its own encoding: %v", req, err)
		}
		if again.Verb != req.Verb || len(again.Names) != len(req.Names) || again.File != req.File ||
			again.Binary != req.Binary || again.ID != req.ID || again.Resume != req.Resume || !again.Since.Equal(req.Since) {
			t.Fatalf("%+v became %+v", req, again)
		}
	})
}
