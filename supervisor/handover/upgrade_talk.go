package handover

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// hear passes on what the new process says, and closes heard when it says no more.
func (a *attempt) hear() {
	defer close(a.heard)
	for {
		p, err := a.wire.receive()
		if err != nil {
			if err != io.EOF {
				a.broken = err
			}
			return
		}
		p.closeFDs() // it has none to give
		select {
		case a.heard <- p:
		case <-a.quit:
			return
		}
	}
}

// expect waits for one message, or for the end of the new process.
func (a *attempt) expect(want kind, s step) (parcel, error) {
	p, ok := <-a.heard
	switch {
	case !ok:
		return p, a.gone(s, nil)
	case p.Kind != want:
		return p, unexpected(p)
	}
	return p, nil
}

// unexpected is what a message means that nobody waits for.
func unexpected(p parcel) error {
	if p.Kind == msgFailure {
		return errRefused(p.Text)
	}
	return fmt.Errorf("cannot understand the new supervisor: it says %s out of turn", p.Kind)
}

// unheard is the error of a message that could not be sent. Where nobody is there
// to hear it, it is what became of the new process.
func (a *attempt) unheard(err error, s step) error {
	if errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET) {
		return a.gone(s, nil)
	}
	return err
}

// gone says why the new process speaks no more: over is tableflip's word on it,
// nil where that was not received yet. This end is closed after that word only
// (start), or by within, whose own error then counts.
func (a *attempt) gone(s step, over error) error {
	for p := range a.heard {
		if p.Kind == msgFailure {
			return unexpected(p)
		}
	}
	if a.broken != nil {
		return fmt.Errorf("cannot understand the new supervisor: %w", a.broken)
	}
	if over == nil {
		select {
		case over = <-a.over:
			a.over, a.flipped = nil, over == nil
		default:
		}
	}
	if over == nil {
		return s.lost(a.who, "")
	}
	text := over.Error()
	if cause, ok := strings.CutPrefix(text, "can't start child: "); ok {
		cause = strings.TrimPrefix(cause, "can't start process "+a.Binary+": ")
		cause = strings.TrimPrefix(cause, "fork/exec: ")
		if cause == unix.ENOENT.Error() { // the file is there (start)
			cause += ": its interpreter, or the folder in which this supervisor was started"
		}
		return fmt.Errorf("cannot start %s: %s", a.Binary, cause)
	}
	if _, how, ok := strings.Cut(text, " exited"); ok { // child pid=1 exited: signal: killed
		return s.lost(a.who, strings.TrimPrefix(cmp.Or(how, "exit status 0"), ": "))
	}
	return over
}

// sendSealed sends a message with data as its first descriptor.
func (a *attempt) sendSealed(m message, data []byte, more ...int) error {
	fd, err := sealed(data)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return a.wire.send(m, append([]int{fd}, more...)...)
}

// sendFDs sends descriptors in batches. One that is let go meanwhile is left out.
func (a *attempt) sendFDs(held map[string]int, names []string) error {
	for batch := range slices.Chunk(names, maxBatch) {
		fds := make([]int, len(batch))
		for i, name := range batch {
			fds[i] = held[name]
		}
		err := a.wire.send(message{Kind: msgFDs, Names: batch}, fds...)
		if errors.Is(err, unix.EBADF) {
			now := a.Held()
			left := slices.DeleteFunc(slices.Clone(batch), func(name string) bool {
				fd, ok := now[name]
				return !ok || fd != held[name]
			})
			if len(left) == len(batch) {
				return fmt.Errorf("cannot hand over %q: %w", batch, err)
			}
			batch, err = left, a.sendFDs(held, left)
		}
		if err != nil {
			return err
		}
		for _, name := range batch {
			a.sent[name] = held[name]
		}
	}
	return nil
}

// sendChanges makes what the new process has what is held now that nothing changes
// any more. A name whose number is another has got another descriptor.
func (a *attempt) sendChanges() error {
	held := a.Held()
	gone := missing(a.sent, held)
	for batch := range slices.Chunk(gone, maxBatch) {
		if err := a.wire.send(message{Kind: msgGone, Names: batch}); err != nil {
			return err
		}
	}
	return a.sendFDs(held, missing(held, a.sent))
}

// missing are the names of what is in one and not, or otherwise, in the other.
func missing(in, from map[string]int) (names []string) {
	for name, fd := range in {
		if other, ok := from[name]; !ok || other != fd {
			names = append(names, name)
		}
	}
	return names
}
