package notify

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// maxAddr is the longest name that fits into a sockaddr_un.
const maxAddr = 107

// ErrAddress is the cause when an address is neither a path nor an abstract name.
var ErrAddress = errors.New("not an absolute path and not an @abstract name")

// Sender speaks to one NOTIFY_SOCKET. It keeps no descriptor (each Send opens its own, as
// sd_notify(3) does, so a receiver may be restarted meanwhile) and may be used by any number of
// goroutines.
type Sender struct{ addr string }

// NewSender checks addr, the value of NOTIFY_SOCKET: "/path" or "@abstract". The error wraps
// ErrAddress; vsock: addresses are such an error too.
func NewSender(addr string) (*Sender, error) {
	ok := len(addr) > 1 && len(addr) <= maxAddr && (addr[0] == '/' || addr[0] == '@')
	if !ok || strings.IndexByte(addr, 0) >= 0 {
		return nil, fmt.Errorf("cannot use NOTIFY_SOCKET=%q: %w", addr, ErrAddress)
	}
	return &Sender{addr: addr}, nil
}

// Send sends one message, with descriptors if any (FDSTORE=1), and waits while the receiver's
// queue is full, until ctx is done. The descriptors stay the caller's.
func (s *Sender) Send(ctx context.Context, m Message, fds ...int) error {
	p, err := Format(m)
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("cannot notify %s: %w", s.addr, err)
	}
	// Connected, because only then does poll(2) tell when the receiver's queue has room.
	if err := connect(fd, s.addr); err != nil {
		unix.Close(fd)
		return fmt.Errorf("cannot notify %s: %w", s.addr, err)
	}
	file := os.NewFile(uintptr(fd), s.addr)
	defer file.Close()
	raw, err := file.SyscallConn()
	if err != nil {
		return fmt.Errorf("cannot notify %s: %w", s.addr, err)
	}
	stop := context.AfterFunc(ctx, func() { file.SetWriteDeadline(time.Unix(1, 0)) })
	defer stop()
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	var sent error
	err = raw.Write(func(fd uintptr) bool {
		for {
			sent = unix.Sendmsg(int(fd), p, oob, nil, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT)
			if sent != unix.EINTR {
				return sent != unix.EAGAIN
			}
		}
	})
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = context.Cause(ctx)
	}
	if err == nil {
		err = sent
	}
	if err != nil {
		return fmt.Errorf("cannot notify %s: %w", s.addr, err)
	}
	return nil
}

func connect(fd int, addr string) error {
	for {
		err := unix.Connect(fd, &unix.SockaddrUnix{Name: addr})
		if err != unix.EINTR {
			return err
		}
	}
}

// Barrier returns when the receiver has dealt with all that was sent before (BARRIER=1,
// sd_notify_barrier(3)), or with ctx's error. A receiver that is gone counts as one that has.
func (s *Sender) Barrier(ctx context.Context) error {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return fmt.Errorf("cannot notify %s: %w", s.addr, err)
	}
	r := os.NewFile(uintptr(p[0]), "barrier")
	defer r.Close()
	err := s.Send(ctx, Message{Barrier: true}, p[1])
	unix.Close(p[1])
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { r.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	// The receiver closes its end when it has dealt with the message: EOF.
	if _, err := r.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("cannot wait for %s: %w", s.addr, context.Cause(ctx))
	}
	return nil
}
