package listener

import (
	"errors"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// readiness is what a pump's poll found.
type readiness int

const (
	nothing readiness = iota // wait for the descriptor
	something
	ended
)

// pump is a goroutine that reads one descriptor through Go's poller and can be
// made to stand still without anything being closed. It ends at stop, or when
// poll says that the descriptor has ended. stop, pause and goOn are called by
// the table's goroutine only.
type pump struct {
	file  *os.File
	raw   syscall.RawConn
	phase atomic.Pointer[phase] // set while it has to stand still
	quit  chan struct{}         // closed by stop
	done  chan struct{}         // closed when run has returned

	hangup atomic.Bool // nobody is at the other end
}

// phase is one time of standing still.
type phase struct {
	still  chan struct{} // closed by the pump: it touches nothing any more
	resume chan struct{} // closed by whoever stopped it
}

// newPump takes fd over.
func newPump(fd int, name string) (*pump, error) {
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	file := os.NewFile(uintptr(fd), name)
	raw, err := file.SyscallConn()
	if err != nil {
		file.Close()
		return nil, err
	}
	return &pump{file: file, raw: raw, quit: make(chan struct{}), done: make(chan struct{})}, nil
}

// run polls, and handles what was found, until the end; it closes the file.
func (p *pump) run(poll func(fd int) readiness, handle func()) {
	defer close(p.done)
	defer p.file.Close()
	for {
		var found readiness
		err := p.raw.Read(func(fd uintptr) bool {
			found = poll(int(fd))
			return found != nothing
		})
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			if !p.stand() {
				return
			}
		case err != nil || found == ended:
			return
		default:
			handle()
		}
	}
}

// stand waits until the pump may go on, and tells if it may.
func (p *pump) stand() bool {
	if ph := p.phase.Load(); ph != nil {
		close(ph.still)
		select {
		case <-ph.resume:
		case <-p.quit:
		}
	}
	select {
	case <-p.quit:
		return false
	default:
		return true
	}
}

// stop ends the pump; it doesn't wait for it. It is called once.
func (p *pump) stop() {
	close(p.quit)
	_ = p.file.SetReadDeadline(time.Unix(1, 0)) // fails only if it has ended
}

// pause asks the pump to stand still; the phase's still is closed when it does.
func (p *pump) pause() *phase {
	ph := &phase{still: make(chan struct{}), resume: make(chan struct{})}
	p.phase.Store(ph)
	_ = p.file.SetReadDeadline(time.Unix(1, 0))
	return ph
}

// goOn ends a pause.
func (p *pump) goOn() {
	ph := p.phase.Swap(nil)
	if ph == nil {
		return
	}
	select {
	case <-p.quit: // its deadline is what ends it
	default:
		_ = p.file.SetReadDeadline(time.Time{})
	}
	close(ph.resume)
}
