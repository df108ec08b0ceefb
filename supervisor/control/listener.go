package control

import (
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

// gate is a listener that can be paused, and that bounds the connections open
// at once. While it is paused or full it leaves the socket alone: who connects
// waits in its accept queue, for a place or for another holder of the socket.
type gate struct {
	net.Listener
	places chan struct{} // one per open connection

	mu      sync.Mutex    // a leaf: guards the three channels below
	pausing chan struct{} // closed by pause, renewed by resume
	parked  chan struct{} // closed when Accept has noticed the pause
	resumed chan struct{} // closed by resume, renewed by pause

	closed chan struct{}
	once   sync.Once
}

func newGate(ln net.Listener, max int) *gate {
	return &gate{Listener: ln, places: make(chan struct{}, max),
		pausing: make(chan struct{}), closed: make(chan struct{})}
}

// deadliner is a listener whose Accept can be interrupted (net.UnixListener).
type deadliner interface{ SetDeadline(time.Time) error }

func (g *gate) Accept() (net.Conn, error) {
	for {
		pausing, err := g.wait()
		if err != nil {
			return nil, err
		}
		select {
		case g.places <- struct{}{}:
		case <-pausing:
			continue
		case <-g.closed:
			return nil, net.ErrClosed
		}
		c, err := g.Listener.Accept()
		if err == nil {
			return &counted{Conn: c, gate: g}, nil
		}
		<-g.places
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return nil, err
		}
	}
}

// wait returns when the gate isn't paused, with the channel that the next pause
// closes.
func (g *gate) wait() (<-chan struct{}, error) {
	for {
		g.mu.Lock()
		pausing, resumed := g.pausing, g.resumed
		if resumed != nil && g.parked != nil {
			close(g.parked)
			g.parked = nil
		}
		g.mu.Unlock()
		if resumed == nil {
			return pausing, nil
		}
		select {
		case <-resumed:
		case <-g.closed:
			return nil, net.ErrClosed
		}
	}
}

// pause stops Accept; the channel returned is closed when it touches the socket
// no more.
func (g *gate) pause() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.resumed == nil {
		g.resumed, g.parked = make(chan struct{}), make(chan struct{})
		close(g.pausing)
		g.interrupt(time.Unix(1, 0))
	}
	if g.parked == nil {
		parked := make(chan struct{})
		close(parked)
		return parked
	}
	return g.parked
}

func (g *gate) resume() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.resumed != nil {
		g.interrupt(time.Time{})
		g.pausing = make(chan struct{})
		close(g.resumed)
		g.resumed, g.parked = nil, nil
	}
}

func (g *gate) interrupt(at time.Time) {
	if d, ok := g.Listener.(deadliner); ok {
		d.SetDeadline(at)
	}
}

// Close may be called again: net/http and Server.Close both do.
func (g *gate) Close() error {
	var err error
	g.once.Do(func() {
		close(g.closed)
		err = g.Listener.Close()
	})
	return err
}

// counted gives its place back when it is closed.
type counted struct {
	net.Conn
	gate *gate
	once sync.Once
}

func (c *counted) Close() error {
	c.once.Do(func() { <-c.gate.places })
	return c.Conn.Close()
}
