package drain

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server is one that drains when end is called; done gets what Serve returned.
type server struct {
	ln   *listener
	end  context.CancelFunc
	done chan error
	seen chan struct{} // a token for each connection that was accepted
}

func start(t *testing.T, handler http.HandlerFunc) *server {
	t.Helper()
	opened, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln := &listener{Listener: opened, closed: make(chan struct{})}
	ctx, cancel := context.WithCancel(t.Context())
	s := &server{ln: ln, end: cancel, done: make(chan error, 1), seen: make(chan struct{}, 64)}
	h := &http.Server{Handler: handler, ConnState: func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			s.seen <- struct{}{}
		}
	}}
	go func() { s.done <- Serve(ctx, h, ln) }()
	return s
}

func (s *server) dial(t *testing.T) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", s.ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(30 * time.Second))
	<-s.seen
	return c
}

func ask(t *testing.T, c net.Conn) *http.Response {
	t.Helper()
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatalf("the request is lost: %v", err)
	}
	io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	return resp
}

// listener tells when it is closed: the first thing a drain does.
type listener struct {
	net.Listener
	once   sync.Once
	closed chan struct{}
}

func (l *listener) Close() error {
	err := l.Listener.Close()
	l.once.Do(func() { close(l.closed) })
	return err
}

func TestARequestOnAConnectionThatWasAcceptedBeforeTheEndIsAnswered(t *testing.T) {
	t.Parallel() // it waits for the limits
	s := start(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok") })
	fresh, kept := s.dial(t), s.dial(t)
	if resp := ask(t, kept); resp.Close {
		t.Error("closed before the end")
	}
	s.end()
	<-s.ln.closed
	for name, c := range map[string]net.Conn{"fresh": fresh, "kept": kept} {
		if resp := ask(t, c); !resp.Close {
			t.Errorf("%s: not told to close", name)
		}
	}
	if err := <-s.done; err != nil {
		t.Error(err)
	}
}

func TestARequestUnderWayIsWaitedFor(t *testing.T) {
	t.Parallel() // it waits for the limits
	begun, finish := make(chan struct{}), make(chan struct{})
	s := start(t, func(w http.ResponseWriter, _ *http.Request) {
		close(begun)
		<-finish
		io.WriteString(w, "late")
	})
	c := s.dial(t)
	answered := make(chan *http.Response, 1)
	go func() { answered <- ask(t, c) }()
	<-begun
	s.end()
	<-s.ln.closed
	select {
	case err := <-s.done:
		t.Fatalf("it did not wait: %v", err)
	default:
	}
	close(finish)
	if resp := <-answered; resp.StatusCode != 200 {
		t.Error(resp.Status)
	}
	if err := <-s.done; err != nil {
		t.Error(err)
	}
}

func TestSilentConnectionsDoNotHoldItForEver(t *testing.T) {
	t.Parallel() // it waits for the limits
	s := start(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok") })
	s.dial(t)
	ask(t, s.dial(t))
	s.end()
	if err := <-s.done; err != nil {
		t.Error(err)
	}
}

func TestAListenerThatFailsEndsIt(t *testing.T) {
	t.Parallel() // it waits for the limits
	s := start(t, nil)
	s.ln.Close()
	if err := <-s.done; err == nil {
		t.Error("no error")
	}
	s.end()
}
