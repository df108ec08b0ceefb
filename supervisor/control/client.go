package control

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"syscall"
	"time"

	"supervisor/supervisor/state"
)

// ErrNoDaemon says that nobody answers on the socket: it doesn't exist, or it
// is what a dead daemon left behind.
var ErrNoDaemon = errors.New("no supervisor runs")

// BrokenError is a daemon that went away in the middle of an answer.
type BrokenError struct {
	Cause error // of the connection; io.ErrUnexpectedEOF when it just ended
}

// Error says what is known, and how to see the rest.
func (e *BrokenError) Error() string {
	return fmt.Sprintf("the supervisor went away before it answered (%v); the work may go on: "+
		"look with `supervisor list` and `supervisor history`", e.Cause)
}

// Unwrap returns the connection's error.
func (e *BrokenError) Unwrap() error { return e.Cause }

const (
	// maxSocketPath is what sun_path holds (unix(7)), with its final zero.
	maxSocketPath = 107

	// maxLine bounds one line of a stream: a result with many receipts.
	maxLine = 64 << 20
)

// Client talks to the daemon of one socket, and to its successor when it dies or
// is replaced in the middle of an answer (insist). It may be used by several
// goroutines, keeps no connection open between two calls, and every error of the
// daemon comes back as a *state.Error with its exit code.
type Client struct {
	// Absent, if it isn't nil, is called when a call finds nobody listening. After
	// nil the call is made again, once; an error is the call's.
	Absent func(context.Context) error

	// OnBreak, if it isn't nil, is called once by a Do whose daemon went away,
	// before it waits for the successor.
	OnBreak func()

	path string
	http *http.Client
}

// Dial returns a client for the socket at path. Nothing is connected yet: each
// call connects, and fails with ErrNoDaemon if nobody is there.
func Dial(path string) *Client {
	c := &Client{path: path}
	c.http = &http.Client{
		Transport: &http.Transport{
			DialContext:        func(ctx context.Context, _, _ string) (net.Conn, error) { return c.connect(ctx) },
			DisableKeepAlives:  true,
			DisableCompression: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return c
}

// dialError is a connection that never was: nothing was sent.
type dialError struct{ error }

func (e dialError) Unwrap() error { return e.error }

func (c *Client) connect(ctx context.Context) (net.Conn, error) {
	if len(c.path) > maxSocketPath {
		return nil, dialError{fmt.Errorf("cannot connect to %s: a socket's path has at most %d bytes, this has %d (set SUPERVISOR_HOME to a shorter one)",
			c.path, maxSocketPath, len(c.path))}
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", c.path)
	switch {
	case err == nil:
		return conn, nil
	case errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOTDIR):
		return nil, dialError{ErrNoDaemon}
	}
	var errno syscall.Errno
	if errors.As(err, &errno) {
		err = fmt.Errorf("cannot connect to %s: %w", c.path, errno)
	}
	return nil, dialError{err}
}

// Ping returns who answers.
func (c *Client) Ping(ctx context.Context) (Pong, error) {
	var p Pong
	return p, c.get(ctx, "/v1/ping", nil, &p)
}

// List returns everything at one instant.
func (c *Client) List(ctx context.Context) (state.Snapshot, error) {
	var s state.Snapshot
	return s, c.get(ctx, "/v1/list", nil, &s)
}

// Describe returns one app in full, all of them for "".
func (c *Client) Describe(ctx context.Context, name string) ([]state.Describe, error) {
	var d described
	err := c.get(ctx, "/v1/describe", query("app", name), &d)
	return d.Apps, err
}

// History returns the last n receipts (0: as many as the daemon likes) of an
// app, of all for "", oldest first, as they were written.
func (c *Client) History(ctx context.Context, name string, n int) ([]json.RawMessage, error) {
	q := query("app", name)
	if n > 0 {
		q.Set("n", strconv.Itoa(n))
	}
	var r receipts
	err := c.get(ctx, "/v1/history", q, &r)
	return r.Receipts, err
}

func query(key, value string) url.Values {
	q := url.Values{}
	if value != "" {
		q.Set(key, value)
	}
	return q
}

func (c *Client) get(ctx context.Context, path string, q url.Values, into any) error {
	return c.insist(ctx, attempt{}, func(a *attempt) error {
		body, err := c.open(ctx, request{method: http.MethodGet, path: path, query: q}, a.wait)
		if err != nil {
			return err
		}
		defer body.Close()
		b, err := io.ReadAll(body)
		if err != nil {
			return broken(ctx, err)
		}
		if err := json.Unmarshal(b, into); err != nil {
			return fmt.Errorf("cannot read the supervisor's answer: %w", err)
		}
		return nil
	})
}

// request is what is sent on one connection.
type request struct {
	method, path string
	query        url.Values
	kind         string // Content-Type of body
	body         []byte
}

// open sends a request and returns the body of an answer that is no failure. The
// head of the answer may take as long as wait.
func (c *Client) open(ctx context.Context, req request, wait time.Duration) (io.ReadCloser, error) {
	u := "http://supervisor" + req.path
	if len(req.query) > 0 {
		u += "?" + req.query.Encode()
	}
	own, cancel := context.WithCancelCause(ctx)
	r, err := http.NewRequestWithContext(own, req.method, u, bytes.NewReader(req.body))
	if err != nil {
		cancel(nil)
		return nil, err
	}
	if req.kind != "" {
		r.Header.Set("Content-Type", req.kind)
	}
	timer := time.AfterFunc(wait, func() { cancel(silence(wait)) })
	resp, err := c.http.Do(r)
	timer.Stop()
	if err != nil {
		err = connectError(own, err)
		cancel(nil)
		return nil, err
	}
	body := answerBody{resp.Body, cancel}
	if resp.StatusCode == http.StatusOK {
		return body, nil
	}
	defer body.Close()
	return nil, refusal(ctx, resp)
}

// answerBody ends its request's context when it is closed.
type answerBody struct {
	io.ReadCloser
	cancel context.CancelCauseFunc
}

func (b answerBody) Close() error {
	defer b.cancel(nil)
	return b.ReadCloser.Close()
}

// refusal is the error that an answer brings.
func refusal(ctx context.Context, resp *http.Response) error {
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxLine))
	if err != nil {
		return broken(ctx, err)
	}
	var f failure
	if json.Unmarshal(b, &f) != nil || f.Error == nil {
		return fmt.Errorf("the supervisor answered %s", resp.Status)
	}
	if resp.StatusCode == http.StatusServiceUnavailable && resp.Header.Get("Retry-After") != "" {
		return againError{f.Error}
	}
	return f.Error
}

// connectError takes net/http's wrapping off: what came of a connection that was
// made is its break, whatever net/http calls it.
func connectError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var de dialError
	if errors.As(err, &de) {
		return de.error
	}
	var ue *url.Error
	if errors.As(err, &ue) {
		err = ue.Err
	}
	return &BrokenError{Cause: err}
}

// broken is the error of a body that ended early.
func broken(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return &BrokenError{Cause: err}
}

// lines calls each with every line of an NDJSON stream until it ends (nil), it
// breaks, or each returns an error.
func lines(body io.Reader, each func([]byte) error) error {
	sc := bufio.NewScanner(body)
	sc.Buffer(make([]byte, 0, 64<<10), maxLine)
	for sc.Scan() {
		if err := each(sc.Bytes()); err != nil {
			return err
		}
	}
	return sc.Err()
}
