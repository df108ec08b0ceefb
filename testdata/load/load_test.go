package load

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// guard ends a test that hangs.
func guard(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// server answers each request by its number: the tests' own HTTP, so that
// each kind of loss can be had at will.
type server struct {
	ln     net.Listener
	answer func(n int, c net.Conn) (keep bool)
	all    sync.WaitGroup

	mu    sync.Mutex
	n     int
	conns map[net.Conn]bool
}

func serve(t *testing.T, network, address string, answer func(n int, c net.Conn) bool) *server {
	t.Helper()
	ln, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	s := &server{ln: ln, answer: answer, conns: make(map[net.Conn]bool)}
	s.all.Go(s.accept) // ended by close
	t.Cleanup(s.close)
	return s
}

func (s *server) accept() {
	for {
		c, err := s.ln.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.conns[c] = true
		s.mu.Unlock()
		s.all.Go(func() { s.talk(c) })
	}
}

// talk reads heads; bodies of requests are not used here, except for length.
func (s *server) talk(c net.Conn) {
	defer c.Close()
	br := bufio.NewReader(c)
	for {
		h, err := readHeaders(br)
		if err != nil {
			return
		}
		s.mu.Lock()
		n := s.n
		s.n++
		s.mu.Unlock()
		if keep := s.answer(n, c); !keep || h {
			return
		}
	}
}

// readHeaders reads to the empty line; close says what the client asked for.
func readHeaders(br *bufio.Reader) (closing bool, err error) {
	for {
		line, err := br.ReadString('\n')
		if err != nil {
			return false, err
		}
		if line == "\r\n" {
			return closing, nil
		}
		closing = closing || strings.EqualFold(strings.TrimSpace(line), "connection: close")
	}
}

func (s *server) close() {
	s.ln.Close()
	s.mu.Lock()
	for c := range s.conns {
		c.Close()
	}
	s.mu.Unlock()
	s.all.Wait()
}

func (s *server) requests() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.n
}

func ok(c net.Conn) bool {
	io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n42")
	return true
}

func reset(c net.Conn) {
	c.(*net.TCPConn).SetLinger(0)
}

func TestEveryLossIsCounted(t *testing.T) {
	const every = 7
	for _, c := range []struct {
		name      string
		keepAlive bool
		drop      func(net.Conn) bool
		want      Kind
	}{
		{"close without an answer", false, func(net.Conn) bool { return false }, EOF},
		{"reset", false, func(c net.Conn) bool { reset(c); return false }, Reset},
		{"half a head", false, func(c net.Conn) bool { io.WriteString(c, "HTTP/1.1 200 O"); return false }, Truncated},
		{"half a body", false, func(c net.Conn) bool {
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
			return false
		}, Truncated},
		{"half a chunk", true, func(c net.Conn) bool {
			io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nabc")
			return false
		}, Truncated},
		{"status", true, func(c net.Conn) bool {
			io.WriteString(c, "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")
			return true
		}, Status},
		{"no HTTP", false, func(c net.Conn) bool { io.WriteString(c, "hello\r\n\r\n"); return false }, Malformed},
		{"silence", false, func(c net.Conn) bool { c.Read(make([]byte, 1)); return false }, Timeout},
		{"close on a reused connection", true, func(net.Conn) bool { return false }, Idle},
		{"reset on a reused connection", true, func(c net.Conn) bool { reset(c); return false }, Idle},
	} {
		t.Run(c.name, func(t *testing.T) {
			var mu sync.Mutex
			seen := make(map[net.Conn]bool)
			dropped := 0
			s := serve(t, "tcp", "127.0.0.1:0", func(n int, conn net.Conn) bool {
				mu.Lock()
				first := !seen[conn]
				seen[conn] = true
				// The kind depends on it; the count must not miss any.
				drop := n%every == every-1 && !(c.want == Idle && first)
				if drop {
					dropped++
				}
				mu.Unlock()
				if drop {
					return c.drop(conn)
				}
				return ok(conn)
			})
			cfg := Config{Address: s.ln.Addr().String(), Clients: 4, KeepAlive: c.keepAlive}
			want := 400
			if c.want == Timeout {
				cfg.Timeout, want = 300*time.Millisecond, 20
			}
			l := Run(guard(t), cfg)
			if err := l.Wait(want); err != nil {
				t.Fatal(err)
			}
			r := l.Stop()
			mu.Lock()
			defer mu.Unlock()
			if dropped == 0 || r.Failed != dropped {
				t.Errorf("%d lost, the server dropped %d\n%v", r.Failed, dropped, r)
			}
			// A stalled machine may turn any loss into a timeout of the
			// short limit, never the other way round.
			if c.want != Timeout && r.Failures[c.want] != dropped {
				t.Errorf("%d of kind %s, want %d\n%v", r.Failures[c.want], c.want, dropped, r)
			}
			if r.Requests != s.requests() {
				t.Errorf("%d requests, the server saw %d", r.Requests, s.requests())
			}
			if r.ByPid["42"] != r.Requests-r.Failed {
				t.Errorf("by pid %v of %d answers", r.ByPid, r.Requests-r.Failed)
			}
			if len(r.Examples) != min(dropped, maxExamples) {
				t.Errorf("%d examples of %d", len(r.Examples), dropped)
			}
		})
	}
}

func TestAGoodServerLosesNothing(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	for _, c := range []struct {
		network, address string
		keepAlive        bool
	}{
		{"tcp", "127.0.0.1:0", false}, {"tcp", "127.0.0.1:0", true}, {"tcp", "[::1]:0", false},
		{"unix", socket, false}, {"unix", socket, true},
	} {
		t.Run(fmt.Sprint(c), func(t *testing.T) {
			s := serve(t, c.network, c.address, func(_ int, conn net.Conn) bool { return ok(conn) })
			l := Run(guard(t), Config{Network: c.network, Address: s.ln.Addr().String(), KeepAlive: c.keepAlive})
			if err := l.Wait(500); err != nil {
				t.Fatal(err)
			}
			if err := l.WaitPid("42"); err != nil {
				t.Fatal(err)
			}
			r := l.Stop()
			if r.Failed != 0 || r.Requests < 500 || r.Requests != s.requests() || r.P99 > r.Max || r.P99 <= 0 {
				t.Errorf("%v; the server saw %d", r, s.requests())
			}
			want := r.Requests
			if c.keepAlive {
				want = 16
			}
			if r.Connections != want {
				t.Errorf("%d connections for %d requests", r.Connections, r.Requests)
			}
			if again := l.Stop(); again.Elapsed != r.Elapsed || again.Requests != r.Requests {
				t.Error("the second Stop gives another result")
			}
		})
	}
}

func TestConnectionCloseIsHonoured(t *testing.T) {
	s := serve(t, "tcp", "127.0.0.1:0", func(n int, c net.Conn) bool {
		if n%5 == 0 {
			io.WriteString(c, "HTTP/1.1 200 OK\r\nconnection: Close\r\nContent-Length: 0\r\n\r\n")
			return false
		}
		return ok(c)
	})
	l := Run(guard(t), Config{Address: s.ln.Addr().String(), KeepAlive: true})
	if err := l.Wait(500); err != nil {
		t.Fatal(err)
	}
	r := l.Stop()
	if r.Failed != 0 || r.IdleClosed != 0 || r.Connections < r.Requests/5 {
		t.Errorf("%v, %d closed while idle", r, r.IdleClosed)
	}
}

// A close that the client can see before it sends costs nothing.
func TestConnectionClosedWhileIdleCostsNothing(t *testing.T) {
	closed := make(chan struct{}, 1)
	s := serve(t, "tcp", "127.0.0.1:0", func(_ int, c net.Conn) bool {
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		c.Close() // no word of it in the answer
		closed <- struct{}{}
		return false
	})
	l := &Load{cfg: Config{Network: "tcp", Address: s.ln.Addr().String(), Path: "/", KeepAlive: true, Timeout: DefaultTimeout}}
	c := newClient(l, 0)
	defer c.disconnect()
	for range 20 {
		if _, lost := c.ask(time.Now().Add(DefaultTimeout)); lost != nil {
			t.Fatal(lost)
		}
		<-closed
	}
	if l.result.IdleClosed != 19 || l.result.Connections != 20 {
		t.Errorf("%d closed while idle of %d connections", l.result.IdleClosed, l.result.Connections)
	}
}

func TestNobodyListens(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	for network, address := range map[string]string{"tcp": ln.Addr().String(), "unix": filepath.Join(t.TempDir(), "none")} {
		ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
		l := Run(ctx, Config{Network: network, Address: address, Clients: 2})
		if err := l.Wait(1); !errors.Is(err, ErrEnded) {
			t.Errorf("Wait: %v", err)
		}
		cancel()
		r := l.Stop()
		if r.Failed == 0 || r.Failures[Refused] != r.Failed || r.Requests != r.Failed {
			t.Errorf("%s: %v", network, r)
		}
		if err := l.Wait(1); !errors.Is(err, ErrEnded) {
			t.Errorf("Wait after Stop: %v", err)
		}
	}
}

func TestStopLetsTheRequestInFlightFinish(t *testing.T) {
	arrived, release := make(chan struct{}), make(chan struct{})
	s := serve(t, "tcp", "127.0.0.1:0", func(_ int, c net.Conn) bool {
		arrived <- struct{}{}
		<-release
		return ok(c)
	})
	l := Run(guard(t), Config{Address: s.ln.Addr().String(), Clients: 1})
	<-arrived
	l.stop()
	close(release)
	if r := l.Stop(); r.Requests != 1 || r.Failed != 0 {
		t.Errorf("%v", r)
	}
}

func TestBodyIsSent(t *testing.T) {
	got := request(Config{Network: "unix", Address: "/s", Path: "/p", Body: []byte("hi"), KeepAlive: true})
	want := "POST /p HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nhi"
	if string(got) != want {
		t.Errorf("%q", got)
	}
}

func TestNoFileStaysOpen(t *testing.T) {
	count := func() int {
		names, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(names)
	}
	before := count()
	s := serve(t, "tcp", "127.0.0.1:0", func(n int, c net.Conn) bool { return ok(c) && n%3 > 0 })
	l := Run(guard(t), Config{Address: s.ln.Addr().String(), KeepAlive: true})
	if err := l.Wait(200); err != nil {
		t.Fatal(err)
	}
	l.Stop()
	s.close()
	// The runtime's own epoll and event fds come with the first socket.
	if after := count(); after > before+2 {
		t.Errorf("%d files open, %d before", after, before)
	}
}

func TestReadResponse(t *testing.T) {
	for _, c := range []struct {
		text  string
		want  response
		bad   bool
		began bool
	}{
		{"HTTP/1.1 200 OK\r\nX-Pid: 7\r\nContent-Length: 1\r\n\r\nx", response{status: 200, pid: "7"}, false, true},
		{"HTTP/1.1 200 OK\nContent-Length: 3\n\n12\n", response{status: 200, pid: "12"}, false, true},
		{"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n", response{status: 404}, false, true},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n12\r\n1;a=b\r\n3\r\n0\r\nT: x\r\n\r\n", response{status: 200, pid: "123"}, false, true},
		{"HTTP/1.0 200 OK\r\n\r\n12", response{status: 200, pid: "12", close: true}, false, true},
		{"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n", response{status: 200}, false, true},
		{"HTTP/1.1 200 OK\r\nConnection: x, CLOSE\r\nContent-Length: 0\r\n\r\n", response{status: 200, close: true}, false, true},
		{"", response{}, true, false},
		{"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", response{}, true, true},
		{"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n", response{}, true, true},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n123\r\n0\r\n\r\n", response{}, true, true},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n12\r\n0\r\n", response{}, true, true},
		{"HTTP/1.1 2x OK\r\n\r\n", response{}, true, true},
	} {
		began := false
		got, err := readResponse(bufio.NewReader(strings.NewReader(c.text)), &began)
		if (err != nil) != c.bad || err == nil && got != c.want || began != c.began {
			t.Errorf("%q: %+v, %v, began %v", c.text, got, err, began)
		}
	}
}

func FuzzReadResponse(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"))
	f.Add([]byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n12\r\n0\r\n\r\n"))
	f.Add([]byte("HTTP/1.1 100 \n\nHTTP/1.0 200\n\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		began := false
		r, err := readResponse(bufio.NewReader(bytes.NewReader(b)), &began)
		if err == nil && (r.status < 200 || r.status > 999) {
			t.Errorf("%q: %+v", b, r)
		}
	})
}
