package preload

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// insecure accepts the tests' certificate.
func insecure() *tls.Config { return &tls.Config{InsecureSkipVerify: true} }

// askers ask until stop is closed, each after its last answer; what fails is counted.
type askers struct {
	answered, failed atomic.Int64
	first            atomic.Value // of the failures
	flow             chan struct{}
	stop             chan struct{}
	all              sync.WaitGroup
}

func ask(n int, once func() error) *askers {
	a := &askers{flow: make(chan struct{}, 1), stop: make(chan struct{})}
	for range n {
		a.all.Go(func() { // ended by end
			for {
				select {
				case <-a.stop:
					return
				case <-time.After(time.Millisecond): // leave something of the cpus
				}
				if err := once(); err != nil {
					a.failed.Add(1)
					a.first.CompareAndSwap(nil, err.Error())
				} else if a.answered.Add(1)%100 == 0 {
					select {
					case a.flow <- struct{}{}:
					default:
					}
				}
			}
		})
	}
	return a
}

func (a *askers) end() { close(a.stop); a.all.Wait() }

// rollAsked is roll with clients of the test's own.
func rollAsked(t *testing.T, a app, client func(address string) func() error) *askers {
	t.Helper()
	fd, address := sharedSocket(t)
	a.listen = fd
	env, err := certificate()
	if err != nil {
		t.Fatal(err)
	}
	a.env = append(a.env, env...)
	workers := []*node{a.start(t).serve(), a.start(t).serve()}
	asked := ask(clients, client(address))
	defer asked.end()
	flow := func() {
		select {
		case <-asked.flow:
		case <-time.After(guard):
			t.Fatal("nothing is answered")
		}
	}
	flow()
	for range *reloads {
		for slot, old := range workers {
			workers[slot] = a.start(t).serve()
			old.signal()
			old.wantExit("exit status 0")
			flow()
		}
	}
	return asked
}

// httpsClient asks on busy keep-alive connections over TLS, and repeats nothing.
func httpsClient(address string) func() error {
	type open struct {
		net.Conn
		r *bufio.Reader
	}
	idle := make(chan open, clients)
	return func() error {
		var c open
		select {
		case c = <-idle:
		default:
			conn, err := tls.DialWithDialer(&net.Dialer{Timeout: guard}, "tcp", address, insecure())
			if err != nil {
				return err
			}
			c = open{conn, bufio.NewReader(conn)}
		}
		c.SetDeadline(time.Now().Add(guard))
		if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			c.Close()
			return err
		}
		res, err := http.ReadResponse(c.r, nil)
		if err == nil {
			_, err = io.Copy(io.Discard, res.Body)
		}
		if err != nil || res.Close {
			c.Close()
			return err
		}
		idle <- c
		return nil
	}
}

func TestRollingHTTPS(t *testing.T) {
	need(t)
	for _, v := range tested() {
		for _, handler := range []string{"none", "close"} {
			t.Run("node"+v+"/"+handler, func(t *testing.T) {
				asked := rollAsked(t, newApp(v, "server.cjs", "KIND=https", "HANDLER="+handler), httpsClient)
				report(t, asked)
			})
		}
	}
}

func report(t *testing.T, asked *askers) {
	t.Helper()
	t.Logf("%d answered, %d failed", asked.answered.Load(), asked.failed.Load())
	if n := asked.failed.Load(); n > 0 {
		t.Errorf("%d of %d lost: %v", n, asked.answered.Load()+n, asked.first.Load())
	}
}

// http2Client is one client with all its streams on one connection at a time. It
// sends again what a GOAWAY says was not looked at, as RFC 9113 means it.
func http2Client(address string) func() error {
	client := &http.Client{Timeout: guard, Transport: &http.Transport{TLSClientConfig: insecure(), ForceAttemptHTTP2: true}}
	return func() error {
		res, err := client.Get("https://" + address + "/")
		if err != nil {
			return err
		}
		defer res.Body.Close()
		if res.ProtoMajor != 2 || res.StatusCode != 200 {
			return fmt.Errorf("%s %s", res.Proto, res.Status)
		}
		_, err = io.Copy(io.Discard, res.Body)
		return err
	}
}

func TestRollingHTTP2(t *testing.T) {
	need(t)
	for _, v := range tested() {
		for _, handler := range []string{"none", "close"} {
			t.Run("node"+v+"/"+handler, func(t *testing.T) {
				asked := rollAsked(t, newApp(v, "server.cjs", "KIND=h2s", "HANDLER="+handler), http2Client)
				report(t, asked)
			})
		}
	}
}

// An HTTP/2 session hears at the signal what its last stream is, and that is answered.
func TestGoaway(t *testing.T) {
	for _, handler := range []string{"none", "close"} {
		t.Run(handler, func(t *testing.T) {
			each(t, func(t *testing.T, v string) {
				n := newApp(v, "server.cjs", "KIND=h2", "HANDLER="+handler).start(t).serve()
				c := n.dial()
				// Preface, empty SETTINGS, a request that takes a while on stream 1.
				c.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, "") + request(1, "/?ms=2000"))
				n.next("slow")
				n.signal()
				if last := goaway(t, c); last != 1 {
					t.Errorf("GOAWAY ends with stream %d", last)
				}
				if rest := c.rest(); !strings.Contains(rest, fmt.Sprint(n.pid)) {
					t.Errorf("the first stream is not answered: %q", rest)
				}
				c.Close()
				n.wantExit("exit status 0")
			})
		})
	}
}

// frame is an HTTP/2 frame (RFC 9113, 4.1).
func frame(kind, flags byte, stream uint32, payload string) string {
	n := len(payload)
	return string([]byte{byte(n >> 16), byte(n >> 8), byte(n), kind, flags,
		byte(stream >> 24), byte(stream >> 16), byte(stream >> 8), byte(stream)}) + payload
}

// request is HEADERS with END_STREAM and END_HEADERS: GET, http, and literals
// without indexing for path and authority (RFC 7541).
func request(stream uint32, path string) string {
	return frame(1, 5, stream, "\x82\x86\x04"+string(rune(len(path)))+path+"\x01\x01x")
}

// goaway reads frames up to the next GOAWAY, and returns its last stream.
func goaway(t *testing.T, c *conn) uint32 {
	t.Helper()
	for {
		h := c.body(9)
		payload := c.body(int(h[0])<<16 | int(h[1])<<8 | int(h[2]))
		if h[3] == 7 {
			return uint32(payload[0])<<24 | uint32(payload[1])<<16 | uint32(payload[2])<<8 | uint32(payload[3])
		}
	}
}
