package probe

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// maxAnswer is how much of an HTTP answer is read, in bytes; what is more is not
// waited for.
const maxAnswer = 256 << 10

// connect returns a question that is answered by taking a connection.
func connect(network, address string) func(context.Context) error {
	return func(ctx context.Context) error {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return err
		}
		return conn.Close()
	}
}

// dial opens a connection, which knows nothing of proxies. Its deadline is ctx's.
func dial(ctx context.Context, network, address string) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, cause(err)
	}
	if at, ok := ctx.Deadline(); ok {
		conn.SetDeadline(at)
	}
	return conn, nil
}

// get returns a question that is answered by a status of 2xx or 3xx.
func get(network, address string, u *url.URL) func(context.Context) error {
	request := fmt.Sprintf("GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: supervisor\r\nAccept: */*\r\nConnection: close\r\n\r\n", u.RequestURI(), u.Host)
	return func(ctx context.Context) error {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return err
		}
		defer conn.Close()
		defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })()
		if _, err := io.WriteString(conn, request); err != nil {
			return cause(err)
		}
		answer := bufio.NewReader(io.LimitReader(conn, maxAnswer))
		for {
			resp, err := http.ReadResponse(answer, nil)
			if err != nil {
				return unreadable(err)
			}
			if resp.StatusCode < http.StatusOK && resp.StatusCode != http.StatusSwitchingProtocols {
				continue // informational (RFC 9110, 15.2): the answer follows
			}
			// Read to its end, so that the server is not reset; what comes of it is the
			// same by now.
			io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			if resp.StatusCode < http.StatusOK || resp.StatusCode >= http.StatusBadRequest {
				return fmt.Errorf("said %d", resp.StatusCode)
			}
			return nil
		}
	}
}

// cause is the core of a network error, for a person.
func cause(err error) error {
	var call *os.SyscallError
	var dns *net.DNSError
	switch {
	case errors.Is(err, unix.ECONNREFUSED), errors.Is(err, unix.ENOENT):
		return errors.New("has no listener")
	case errors.As(err, &call):
		return fmt.Errorf("failed: %w", call.Err)
	case errors.As(err, &dns):
		return fmt.Errorf("failed: %w", dns)
	}
	return fmt.Errorf("failed: %w", err)
}

func unreadable(err error) error {
	var call *os.SyscallError
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("closed the connection without an answer")
	case errors.As(err, &call), errors.Is(err, os.ErrDeadlineExceeded):
		return cause(err)
	}
	return fmt.Errorf("did not answer in HTTP: %.100q", err.Error())
}
