package handover

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/cloudflare/tableflip"
	"golang.org/x/sys/unix"

	"supervisor/supervisor/fault"
)

// ExitRefused is the exit code of a new process that was not told to begin: it has
// touched nothing (EX_TEMPFAIL of sysexits.h).
const ExitRefused = 75

// errDeserted is why a new process can't go on.
var errDeserted = errors.New("cannot take over: the old supervisor has called it off or has ended")

// Successor is a process that was started to replace another. The steps in their
// order are Succeed, Adopted, Final, Ready, Committed; see Upgrade. Until Committed
// has returned nil it reads nothing from its descriptors and acts on nothing; on
// any error it says Refuse and exits.
type Successor struct {
	Schema int    // of State and what Final returns
	State  []byte // what the old process's State returned

	Lock    *os.File          // nil where the old process gave none
	Control *net.UnixListener // likewise
	// Held are the descriptors by name: close-on-exec, their other flags as they were,
	// since those are the open file's, which the old process still uses. They are the
	// caller's. Final makes them what the old one held at last.
	Held map[string]int
	// Gone are those of Held that the old process let go between its State and its
	// Quiesce, under the numbers they had here; set by Final. They are the caller's too.
	Gone map[string]int

	flip   *tableflip.Upgrader
	wire   *wire
	parent int    // the old process
	stdio  [2]int // what will be stdout and stderr; -1 when they are
}

// Succeed takes over what the old process gives, if this process was started by an
// Upgrade; else it returns nil and nil, and nothing is opened. The version is for
// the old process's errors, schemas are the versions of its state that can be read
// here.
//
// The environment no longer says afterwards that the process has a predecessor, so
// nothing that it starts will be taken in by that. Nothing is to be started before
// it, nor before Committed.
//
// On an error the old process has been told and goes on; this one exits with
// ExitRefused.
func Succeed(version string, schemas ...int) (*Successor, error) {
	if os.Getenv(flipSentinel) == "" {
		return nil, nil
	}
	flip, err := flipper()
	os.Unsetenv(flipSentinel)
	// The ready and the names pipe, which tableflip leaves open for what is executed.
	unix.CloseOnExec(3)
	unix.CloseOnExec(4)
	if err != nil {
		return nil, fmt.Errorf("cannot take over: %w", err)
	}
	fault.Point("successor.begun")
	s := &Successor{flip: flip, parent: os.Getppid(), stdio: [2]int{-1, -1}, Held: map[string]int{}, Gone: map[string]int{}}
	if err := s.begin(version, schemas); err != nil {
		s.Refuse(err)
		return nil, err
	}
	return s, nil
}

// begin takes what came through tableflip, and then the state and descriptors.
func (s *Successor) begin(version string, schemas []int) error {
	socket, err := s.flip.File(flipSocket)
	if err == nil && socket == nil {
		err = errors.New("tableflip brings no socket of a supervisor")
	}
	if err != nil {
		return fmt.Errorf("cannot take over: %w", err)
	}
	if s.wire, err = newWire(socket); err != nil {
		return fmt.Errorf("cannot take over: %w", err)
	}
	if s.Lock, err = s.flip.File(flipLock); err != nil {
		return fmt.Errorf("cannot take over the lock: %w", err)
	}
	ln, err := s.flip.Listener("unix", flipControl)
	if err != nil {
		return fmt.Errorf("cannot take over the control listener: %w", err)
	}
	s.Control, _ = ln.(*net.UnixListener)
	if err := s.send(message{Kind: msgHello, Version: version, Schemas: schemas}); err != nil {
		return err
	}
	state, err := s.take(context.Background(), msgState)
	if err != nil {
		return err
	}
	s.Schema, s.stdio = state.Schema, [2]int{state.fds[1], state.fds[2]}
	if s.State, err = unsealed(state.fds[0]); err != nil {
		return err
	}
	_, err = s.take(context.Background(), msgSent)
	return err
}

// Adopted tells the old process that everything is built and can go on here.
func (s *Successor) Adopted() error {
	err := s.send(message{Kind: msgAdopted})
	fault.Point("successor.adopted")
	return err
}

// Final waits until the old process holds still, and returns what its Quiesce
// returned. Held and Gone say what is different now.
func (s *Successor) Final(ctx context.Context) ([]byte, error) {
	final, err := s.take(ctx, msgFinal)
	if err != nil {
		return nil, err
	}
	fault.Point("successor.final")
	return unsealed(final.fds[0])
}

// Ready tells the old process that it can go. From here on stdout and stderr are
// those of the old process; before, they are told to whoever asked for the upgrade
// if it fails.
func (s *Successor) Ready() error {
	fault.Point("successor.before-ready")
	s.speak()
	err := s.send(message{Kind: msgReady})
	fault.Point("successor.after-ready")
	return err
}

// Committed waits until the old process has handed everything over. nil: this
// process is the supervisor now, and the old one is about to exit. An error: the
// old one has ended without a word, or ctx has. Whoever holds the descriptors
// starts another daemon then, so this process has to exit with ExitRefused.
func (s *Successor) Committed(ctx context.Context) error {
	if _, err := s.take(ctx, msgCommit); err != nil {
		return err
	}
	fault.Point("successor.committed")
	s.wire.close()
	s.flip.Ready() // an error is that the old one has ended by now
	return nil
}

// Refuse tells the old process why this one won't take over, if it is still there,
// and returns ExitRefused, with which the caller exits.
func (s *Successor) Refuse(why error) int {
	if s.wire != nil {
		text := why.Error()
		s.wire.send(message{Kind: msgFailure, Text: text[:min(len(text), maxRefusal)]})
	}
	s.speak()
	return ExitRefused
}

// send says something to the old process.
func (s *Successor) send(m message) error {
	err := s.wire.send(m)
	if errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET) {
		return errDeserted
	}
	return err
}

// take waits for a message of a kind, and meanwhile for what comes and goes.
func (s *Successor) take(ctx context.Context, want kind) (parcel, error) {
	stop := context.AfterFunc(ctx, func() { s.wire.file.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	for {
		p, err := s.wire.receive()
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return p, fmt.Errorf("cannot take over: the old supervisor says nothing: %w", context.Cause(ctx))
		case err == io.EOF:
			return p, errDeserted
		case err != nil:
			return p, fmt.Errorf("cannot take over: %w", err)
		case p.Kind == want:
			return p, nil
		case p.Kind == msgFDs:
			for i, name := range p.Names {
				s.Held[name] = p.fds[i]
			}
		case p.Kind == msgGone:
			for _, name := range p.Names {
				if fd, ok := s.Held[name]; ok {
					s.Gone[name] = fd
					delete(s.Held, name)
				}
			}
		default:
			p.closeFDs()
			return p, fmt.Errorf("cannot take over: the old supervisor says %s, not %s", p.Kind, want)
		}
	}
}

// speak gives this process the stdout and stderr of the old one.
func (s *Successor) speak() {
	for i, fd := range s.stdio {
		if fd >= 0 {
			unix.Dup3(fd, 1+i, 0)
			unix.Close(fd)
			s.stdio[i] = -1
		}
	}
}
