package load

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// sources is the number of loopback addresses that the clients connect from:
// closed connections keep their port for a minute (TIME_WAIT), and one
// address has 28,000.
const sources = 16

// client is one user: one request at a time.
type client struct {
	load    *Load
	dialer  net.Dialer
	request []byte

	conn   net.Conn // nil: connect for the next request
	reader *bufio.Reader
	reused bool // a request was answered on conn
}

func newClient(l *Load, number int) *client {
	c := &client{load: l, request: request(l.cfg)}
	// Never MPTCP: a plain client is what is measured.
	c.dialer.SetMultipathTCP(false)
	if addr, err := netip.ParseAddrPort(l.cfg.Address); err == nil && addr.Addr().Is4() && addr.Addr().IsLoopback() {
		c.dialer.LocalAddr = &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(2+number%sources))}
		c.dialer.Control = bindWithoutPort
	}
	return c
}

// bindWithoutPort lets connect choose the port: bind would take one that is
// free for every peer, of which there are too few.
func bindWithoutPort(_, _ string, rc syscall.RawConn) error {
	var serr error
	err := rc.Control(func(fd uintptr) {
		serr = unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
	})
	if err != nil {
		return err
	}
	return serr
}

// request is the text of every request.
func request(cfg Config) []byte {
	method, length, closing := "GET", "", ""
	if len(cfg.Body) > 0 {
		method, length = "POST", fmt.Sprintf("Content-Length: %d\r\n", len(cfg.Body))
	}
	if !cfg.KeepAlive {
		closing = "Connection: close\r\n"
	}
	host := cfg.Address
	if cfg.Network == "unix" {
		host = "localhost"
	}
	head := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: %s\r\n%s%s\r\n", method, cfg.Path, host, length, closing)
	return append([]byte(head), cfg.Body...)
}

// run sends requests until ctx ends. The request in flight is finished.
func (c *client) run(ctx context.Context) {
	defer c.load.clientEnded()
	defer c.disconnect()
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-pause.C:
		}
		if ctx.Err() != nil { // both were ready
			return
		}
		begun := time.Now()
		answer, lost := c.ask(begun.Add(c.load.cfg.Timeout))
		c.load.record(time.Since(begun), answer.pid, lost)
		think := max(c.load.cfg.Think, 0)
		if lost != nil {
			think = max(think, failurePause)
		}
		pause.Reset(think)
	}
}

// ask sends one request, on a connection of its own or the one left open.
func (c *client) ask(deadline time.Time) (response, *Failure) {
	if c.conn != nil && c.closedWhileIdle(deadline) {
		c.disconnect()
		c.load.count(0, 1)
	}
	if c.conn == nil {
		c.dialer.Deadline = deadline
		conn, err := c.dialer.Dial(c.load.cfg.Network, c.load.cfg.Address)
		if err != nil {
			return response{}, dialFailure(err)
		}
		c.load.count(1, 0)
		c.conn, c.reader, c.reused = conn, bufio.NewReader(conn), false
	}
	answer, err := c.exchange(deadline)
	if err != nil {
		c.disconnect()
		return response{}, err
	}
	if answer.close || !c.load.cfg.KeepAlive {
		c.disconnect()
	}
	c.reused = true
	if answer.status != 200 {
		return answer, &Failure{Kind: Status, Cause: fmt.Errorf("status %d", answer.status)}
	}
	return answer, nil
}

// exchange sends the request and reads its answer.
func (c *client) exchange(deadline time.Time) (response, *Failure) {
	began := false
	if err := c.conn.SetDeadline(deadline); err != nil {
		return response{}, &Failure{Kind: Own, Cause: err}
	}
	_, werr := c.conn.Write(c.request)
	// A server may answer and close before it has read a body: what it said
	// counts, so the answer is read after a failed write too.
	answer, err := readResponse(c.reader, &began)
	if err != nil {
		if werr != nil {
			err = fmt.Errorf("%w (write: %w)", err, werr)
		}
		return response{}, exchangeFailure(err, began, c.reused)
	}
	return answer, nil
}

// closedWhileIdle looks, without waiting, whether the server has ended the
// connection that is about to be reused. A byte that nobody asked for makes
// the connection useless too.
func (c *client) closedWhileIdle(deadline time.Time) bool {
	if c.reader.Buffered() > 0 || c.conn.SetDeadline(deadline) != nil {
		return true
	}
	rc, err := c.conn.(syscall.Conn).SyscallConn()
	if err != nil {
		return true
	}
	closed := false
	err = rc.Read(func(fd uintptr) bool {
		var b [1]byte
		_, _, rerr := unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		closed = rerr != unix.EAGAIN && rerr != unix.EINTR
		return true
	})
	return closed || err != nil
}

func (c *client) disconnect() {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
}
