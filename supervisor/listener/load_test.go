package listener_test

import (
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// think is the pause of a client between two requests: without it the clients take the
// processors from whom they ask.
const think = time.Millisecond

// load is clients that make a new connection for each request.
type load struct {
	t            *testing.T
	stop         chan struct{}
	wg           sync.WaitGroup
	ok, failed   atomic.Int64
	first        chan struct{} // closed with the first answer
	once         sync.Once
	firstFailure atomic.Value
}

func startLoad(t *testing.T, network, addr string, clients int) *load {
	l := &load{t: t, stop: make(chan struct{}), first: make(chan struct{})}
	for range clients {
		l.wg.Add(1)
		go func() { // ends with finish
			defer l.wg.Done()
			for {
				select {
				case <-l.stop:
					return
				case <-time.After(think):
				}
				_, err := get(network, addr)
				if err != nil {
					l.failed.Add(1)
					l.firstFailure.CompareAndSwap(nil, err.Error())
					continue
				}
				l.ok.Add(1)
				l.once.Do(func() { close(l.first) })
			}
		}()
	}
	select {
	case <-l.first:
	case <-time.After(patience):
		t.Error("no answer at all")
	}
	return l
}

// get makes one request on a connection of its own.
func get(network, addr string) (string, error) {
	c, err := net.DialTimeout(network, addr, patience)
	if err != nil {
		return "", err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"); err != nil {
		return "", err
	}
	b, err := io.ReadAll(c)
	if err != nil {
		return "", err
	}
	_, body, ok := strings.Cut(string(b), "\r\n\r\n")
	if !ok || !strings.Contains(string(b[:min(len(b), 16)]), " 200 ") {
		return "", fmt.Errorf("no answer: %q", b)
	}
	return body, nil
}

// finish ends the clients and complains about every lost request.
func (l *load) finish() {
	l.t.Helper()
	l.end()
	l.t.Logf("%d requests", l.ok.Load())
	if n := l.failed.Load(); n > 0 {
		l.t.Errorf("%d of %d requests failed, the first: %v", n, n+l.ok.Load(), l.firstFailure.Load())
	}
}

// end ends the clients.
func (l *load) end() {
	close(l.stop)
	l.wg.Wait()
}
