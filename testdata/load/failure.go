package load

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
)

// Kind says in which way a request was lost.
type Kind string

const (
	// Refused: nobody listens (ECONNREFUSED; ENOENT for a unix socket).
	Refused Kind = "refused"
	// Backlog: the accept queue of a unix socket was full (EAGAIN).
	Backlog Kind = "backlog"
	// Reset: the connection broke with ECONNRESET or EPIPE.
	Reset Kind = "reset"
	// EOF: the connection ended before the first byte of the answer.
	EOF Kind = "eof"
	// Idle: as Reset or EOF before the first byte, on a reused connection.
	// Clients that repeat idempotent requests hide it, others do not.
	Idle Kind = "idle"
	// Truncated: the answer began and did not end.
	Truncated Kind = "truncated"
	// Timeout: no whole answer in time.
	Timeout Kind = "timeout"
	// Status: an answer with another status than 200.
	Status Kind = "status"
	// Malformed: what came is not HTTP.
	Malformed Kind = "malformed"
	// Own: the client could not do its part (no port or file left): the
	// measurement is worthless, but not the server's fault.
	Own Kind = "own"
)

// Failure is a lost request.
type Failure struct {
	Kind  Kind
	Cause error
}

func (f *Failure) Error() string { return fmt.Sprintf("%s: %v", f.Kind, f.Cause) }

// dialFailure sorts an error of connect(2).
func dialFailure(err error) *Failure {
	kind := Own
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded), os.IsTimeout(err):
		kind = Timeout
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOENT):
		kind = Refused
	case errors.Is(err, syscall.EAGAIN):
		kind = Backlog
	case errors.Is(err, syscall.ECONNRESET):
		kind = Reset
	}
	return &Failure{Kind: kind, Cause: err}
}

// exchangeFailure sorts an error of a request on its way or of its answer.
// began: a byte of the answer had come. reused: not the connection's first.
func exchangeFailure(err error, began, reused bool) *Failure {
	kind := Malformed
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		kind = Timeout
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		kind = Reset
		if reused && !began {
			kind = Idle
		}
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		switch {
		case began:
			kind = Truncated
		case reused:
			kind = Idle
		default:
			kind = EOF
		}
	}
	return &Failure{Kind: kind, Cause: err}
}
