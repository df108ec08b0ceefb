// Package ready is what a Go program needs to run under the supervisor, systemd, s6 or another
// program that speaks their protocols: the sockets it was given, and a word when it is ready.
//
//	func main() {
//		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
//		defer stop()
//		ln, err := listen()
//		if err != nil {
//			log.Fatal(err)
//		}
//		ready.Notify()
//		// Until the supervisor's SIGINT, when a new worker serves; then it drains.
//		log.Print(drain.Serve(ctx, &http.Server{Handler: handler}, ln))
//	}
//
//	func listen() (net.Listener, error) {
//		lns, err := ready.Listeners()
//		if err != nil || len(lns) == 0 {
//			return net.Listen("tcp", "127.0.0.1:8080")
//		}
//		return lns[0], nil
//	}
//
// Under the supervisor nothing of it is compulsory: a program that just listens on its port and
// drains on SIGINT is served as well.
//
// Invariants:
//   - Without the variables of a supervisor every function does nothing and returns no error, so
//     a program runs from a shell as it did.
//   - What is meant for this process stays in it: at the first call of any function the
//     variables are taken out of the environment and the descriptors made close-on-exec, so
//     that child processes get neither.
//   - No descriptor is made blocking, not even for a moment: that flag is shared with every
//     other process that accepts on the socket.
//
// All functions may be called by several goroutines. None waits longer than 10 s for a
// supervisor that doesn't read.
package ready

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"supervisor/supervisor/notify"
)

// notifyTimeout bounds a message to a supervisor that doesn't read.
const notifyTimeout = 10 * time.Second

// world is what the supervisor gave to this process. It is read once, on the first call and not
// at init, so that a program that imports the package and never calls it is left alone.
type world struct {
	once     sync.Once
	mu       sync.Mutex // guards notified, fd and fdErr
	notified bool
	fd       int            // READY_FD, or -1
	fdErr    error          // why READY_FD can't be used
	sender   *notify.Sender // nil without NOTIFY_SOCKET
	sendErr  error          // why NOTIFY_SOCKET can't be used
	sockets  []socket
	sockErr  error
}

var ours world

// take reads the environment and removes what is meant for this process alone.
func (w *world) take() {
	w.once.Do(func() {
		w.fd, w.fdErr = readyFD(os.Getenv("READY_FD"))
		if addr := os.Getenv("NOTIFY_SOCKET"); addr != "" {
			w.sender, w.sendErr = notify.NewSender(addr)
		}
		w.sockets, w.sockErr = passed()
		for _, name := range []string{"READY_FD", "NOTIFY_SOCKET"} {
			os.Unsetenv(name)
		}
	})
}

// readyFD checks the descriptor that READY_FD names. A value that came down from some ancestor
// may name anything by now: only a pipe is written to.
func readyFD(value string) (int, error) {
	if value == "" {
		return -1, nil
	}
	fd, err := strconv.Atoi(value)
	if err != nil || fd < 0 {
		return -1, fmt.Errorf("cannot use READY_FD=%q: not a descriptor", value)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return -1, fmt.Errorf("cannot use READY_FD=%s: %w", value, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFIFO {
		return -1, fmt.Errorf("cannot use READY_FD=%s: not a pipe", value)
	}
	if fd > 2 {
		unix.CloseOnExec(fd)
	}
	return fd, nil
}

// Notify says that this process is ready: listening, and able to serve. It writes a line to
// READY_FD and closes it, or else sends READY=1 to NOTIFY_SOCKET (sd_notify(3)). With neither it
// does nothing, and neither does the second call. An error means that nobody was told; a
// program should log it and serve on.
func Notify() error {
	ours.take()
	return ours.notify()
}

func (w *world) notify() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.notified {
		return nil
	}
	err := w.fdErr
	if w.fd >= 0 {
		if err = writeLine(w.fd); err != nil {
			err = fmt.Errorf("cannot say ready on READY_FD=%d: %w", w.fd, err)
		}
		if w.fd > 2 { // standard output stays the program's
			unix.Close(w.fd)
		}
		w.fd = -1
		if err == nil {
			w.notified = true
			return nil
		}
		w.fdErr = err
	}
	if w.sender == nil {
		return errors.Join(err, w.sendErr)
	}
	if serr := w.send(notify.Message{Ready: true}); serr != nil {
		return errors.Join(err, serr)
	}
	w.notified = true
	return nil
}

func writeLine(fd int) error {
	for {
		_, err := unix.Write(fd, []byte("ready\n"))
		if err != unix.EINTR {
			return err
		}
	}
}

// Status says in one line what this process does ("loading the model: 40 %"), on NOTIFY_SOCKET
// (STATUS=). "" clears it. Without NOTIFY_SOCKET it does nothing.
func Status(text string) error {
	ours.take()
	return ours.send(notify.Message{Status: &text})
}

// Stopping says that this process has begun to end, on NOTIFY_SOCKET (STOPPING=1). Without it
// it does nothing.
func Stopping() error {
	ours.take()
	return ours.send(notify.Message{Stopping: true})
}

// ExtendTimeout asks for d more to become ready, or to end, counted from now
// (EXTEND_TIMEOUT_USEC=). Without NOTIFY_SOCKET it does nothing.
func ExtendTimeout(d time.Duration) error {
	if d < time.Microsecond {
		return fmt.Errorf("cannot extend the timeout by %v", d)
	}
	ours.take()
	return ours.send(notify.Message{ExtendTimeout: d})
}

func (w *world) send(m notify.Message) error {
	if w.sender == nil {
		return w.sendErr
	}
	ctx, cancel := context.WithTimeout(context.Background(), notifyTimeout)
	defer cancel()
	return w.sender.Send(ctx, m)
}
