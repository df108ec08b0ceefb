package gate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// MaxSend is the longest message that Send takes, in bytes of JSON.
	MaxSend = 1 << 20
	// maxAcks is how many answers to handles may wait for a worker to read. Node sends one handle
	// at a time.
	maxAcks = 8
)

// Errors that Send wraps.
var (
	ErrNoChannel = errors.New("it has no Node channel")
	ErrGone      = errors.New("it has closed its Node channel")
	ErrClosed    = errors.New("the supervisor has closed its Node channel")
)

const ackLine = `{"cmd":"NODE_HANDLE_ACK"}` + "\n"

// writer is the goroutine that writes to the Node channel, one line after the other. It holds
// one line at most; who wants to send another waits outside.
type writer struct {
	file    *os.File // closed by the Gates
	raw     syscall.RawConn
	lines   chan *outgoing
	acks    chan struct{}
	current *outgoing     // being written; the goroutine's until done is closed
	stop    chan struct{} // as in reader
	done    chan struct{}
	gone    chan struct{} // closed by leave
	closed  chan struct{} // closed by shut
}

type outgoing struct {
	ctx    context.Context
	rest   []byte
	begun  bool       // some bytes are out: the rest must follow
	result chan error // has room for the one result
}

func newWriter(file *os.File) (*writer, error) {
	raw, err := file.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("cannot write to %s: %w", file.Name(), err)
	}
	return &writer{file: file, raw: raw, lines: make(chan *outgoing), acks: make(chan struct{}, maxAcks),
		gone: make(chan struct{}), closed: make(chan struct{})}, nil
}

// Send writes v as JSON to the worker's Node channel, where process.on('message') gets it, and
// returns when the whole line is in the channel, or with an error by the time ctx is done. With
// the error of ctx the message may still arrive, if it was on its way. It doesn't tell whether
// the worker has read it. Node's own messages (cmd: NODE_...) are refused.
func (g *Gates) Send(ctx context.Context, v any) error {
	if g.out == nil {
		return g.cannotSend(ErrNoChannel)
	}
	line, err := json.Marshal(v)
	if err != nil {
		return g.cannotSend(err)
	}
	if len(line) > MaxSend {
		return g.cannotSend(fmt.Errorf("%d bytes, more than %d", len(line), MaxSend))
	}
	if k := decode(line).kind; k == frameInternal || k == frameHandle {
		return g.cannotSend(errors.New("such messages are Node's own"))
	}
	if err := g.out.send(ctx, append(line, '\n')); err != nil {
		return g.cannotSend(err)
	}
	return nil
}

// Unread tells whether, and roughly how much of, what was sent is still in the channel: the
// kernel's bytes for it (SIOCOUTQ), 0 when the worker has read all or there is no channel.
func (g *Gates) Unread() (n int) {
	if g.out == nil {
		return 0
	}
	g.out.raw.Control(func(fd uintptr) { n, _ = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) })
	return n
}

func (g *Gates) cannotSend(err error) error {
	return fmt.Errorf("cannot send a message to worker %d: %w", g.worker, err)
}

func (w *writer) send(ctx context.Context, line []byte) error {
	o := &outgoing{ctx: ctx, rest: line, result: make(chan error, 1)}
	select {
	case w.lines <- o:
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-w.gone:
		return ErrGone
	case <-w.closed:
		return ErrClosed
	}
	select {
	case err := <-o.result:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-w.gone:
		return ErrGone
	case <-w.closed:
		return ErrClosed
	}
}

// ack queues the answer to a handle, and is false when too many wait already. It never blocks.
func (w *writer) ack() bool {
	select {
	case w.acks <- struct{}{}:
		return true
	default:
		return false
	}
}

// answer sends the answers that wait, as far as the socket has room: a successor knows of none.
// The goroutine must be at rest.
func (w *writer) answer() {
	for w.current == nil {
		select {
		case <-w.acks:
		default:
			return
		}
		var err error
		w.raw.Control(func(fd uintptr) {
			err = unix.Sendmsg(int(fd), []byte(ackLine), nil, nil, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT)
		})
		if err == unix.EAGAIN || err == unix.EINTR {
			w.ack()
			return
		}
	}
}

// start runs the goroutine, which ends by halt.
func (w *writer) start() {
	if w.stop != nil {
		return
	}
	w.file.SetWriteDeadline(time.Time{})
	w.stop, w.done = make(chan struct{}), make(chan struct{})
	go w.run(w.stop, w.done)
}

func (w *writer) run(stop, done chan struct{}) {
	defer close(done)
	for {
		if w.current == nil {
			select {
			case <-stop:
				return
			case <-w.acks:
				w.current = &outgoing{ctx: context.Background(), rest: []byte(ackLine), result: make(chan error, 1)}
			case w.current = <-w.lines:
			}
		}
		err, ended := w.flush(stop)
		if !ended {
			return
		}
		w.current.result <- err
		w.current = nil
	}
}

// flush writes the current line. ended is false when it was told to stop before the end.
func (w *writer) flush(stop chan struct{}) (err error, ended bool) {
	o := w.current
	defer context.AfterFunc(o.ctx, func() { w.file.SetWriteDeadline(past) })()
	for len(o.rest) > 0 {
		n, err := w.write(o.rest)
		o.rest = o.rest[n:]
		o.begun = o.begun || n > 0
		switch {
		case err == nil:
		case errors.Is(err, os.ErrDeadlineExceeded):
			// Set by this line's ctx, by that of an earlier one, or by halt. Reset it first and look
			// then: whoever has something to say says it before he sets the deadline.
			w.file.SetWriteDeadline(time.Time{})
			select {
			case <-stop:
				return nil, false
			default:
			}
			if o.ctx.Err() != nil && !o.begun {
				return context.Cause(o.ctx), true
			}
		case errors.Is(err, unix.EPIPE), errors.Is(err, unix.ECONNRESET):
			return ErrGone, true
		default:
			return err, true
		}
	}
	return nil, true
}

func (w *writer) write(p []byte) (n int, err error) {
	werr := w.raw.Write(func(fd uintptr) bool {
		for {
			n, err = unix.SendmsgN(int(fd), p, nil, nil, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT)
			if err != unix.EINTR {
				return err != unix.EAGAIN
			}
		}
	})
	if werr != nil {
		return 0, werr
	}
	if err != nil {
		return 0, err
	}
	return n, nil
}

// halt and join are as in reader.
func (w *writer) halt() {
	if w.stop != nil {
		close(w.stop)
		w.stop = nil
		w.file.SetWriteDeadline(past)
	}
}

func (w *writer) join() {
	if w.done != nil {
		<-w.done
	}
}

// leave and shut fail the Sends that wait, for good: the worker has exited, or everything is over.
func (w *writer) leave() { closeOnce(w.gone) }
func (w *writer) shut()  { closeOnce(w.closed) }

func closeOnce(c chan struct{}) {
	select {
	case <-c:
	default:
		close(c)
	}
}
