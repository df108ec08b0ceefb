package notify

import (
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// nonceBytes makes the name of a socket unguessable, and new for every spawn: a message for a
// worker that is gone can't reach its successor.
const nonceBytes = 16

// Datagram is one message with who sent it, by SCM_CREDENTIALS, which the kernel fills in
// (unix(7)): PID is the sender's in our pid namespace, 0 if it has none there. The sender may
// be gone already.
type Datagram struct {
	Data []byte // valid until the next Receive; not longer than MaxDatagram
	PID  int32
	UID  uint32
	GID  uint32
	// Long says that the datagram exceeded MaxDatagram and was cut: not to be parsed.
	Long bool
}

// Receiver is one abstract AF_UNIX datagram socket. One goroutine may receive at a time.
type Receiver struct {
	addr string
	fd   int
	file *os.File // keeps the descriptor, and its place in the poller
	raw  syscall.RawConn
	buf  []byte // allocated by the first datagram: most sockets never get one
	oob  []byte
}

// Listen opens a socket whose name is prefix and a nonce. Nothing on disk is touched.
func Listen(prefix string) (*Receiver, error) {
	var nonce [nonceBytes]byte
	if _, err := unix.Getrandom(nonce[:], 0); err != nil {
		return nil, fmt.Errorf("cannot name a notify socket: %w", err)
	}
	addr := "@" + prefix + hex.EncodeToString(nonce[:])
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot open a notify socket: %w", err)
	}
	// Credentials first: from the bind on, datagrams may come.
	if err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PASSCRED, 1); err == nil {
		err = unix.Bind(fd, &unix.SockaddrUnix{Name: addr})
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("cannot bind the notify socket %s: %w", addr, err)
	}
	return newReceiver(fd, addr)
}

// Adopt takes over the descriptor of a socket that Listen has made in a process that
// is no more. On an error it is closed.
func Adopt(fd int) (*Receiver, error) {
	name, err := unix.Getsockname(fd)
	if err == nil {
		err = unix.SetNonblock(fd, true)
	}
	address, ok := name.(*unix.SockaddrUnix)
	if err == nil && !ok {
		err = unix.EAFNOSUPPORT
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("cannot take over a notify socket: %w", err)
	}
	return newReceiver(fd, address.Name)
}

// newReceiver takes a bound, non-blocking socket over.
func newReceiver(fd int, addr string) (r *Receiver, err error) {
	r = &Receiver{addr: addr, fd: fd, file: os.NewFile(uintptr(fd), addr)}
	// Room for the credentials and nothing else. The kernel writes them first and drops the
	// descriptors that find no room, so nobody can put one into our table.
	r.oob = make([]byte, unix.CmsgSpace(unix.SizeofUcred))
	if r.raw, err = r.file.SyscallConn(); err != nil {
		r.file.Close()
		return nil, fmt.Errorf("cannot use the notify socket %s: %w", addr, err)
	}
	return r, nil
}

// Addr is what goes into NOTIFY_SOCKET: "@" and the abstract name.
func (r *Receiver) Addr() string { return r.addr }

// FD is the socket's descriptor. It stays the Receiver's.
func (r *Receiver) FD() int { return r.fd }

// SetDeadline bounds Receive and Peek as in net.Conn: a time that has passed ends one that waits, with
// os.ErrDeadlineExceeded, and the zero time lets it wait for ever again.
func (r *Receiver) SetDeadline(t time.Time) error { return r.file.SetReadDeadline(t) }

// Receive waits for one datagram. Errors are os.ErrDeadlineExceeded, os.ErrClosed, or the
// socket's own.
func (r *Receiver) Receive() (Datagram, error) { return r.await(0) }

// Peek is Receive that leaves the datagram, and the descriptors that came with it, in the
// socket; Discard takes it out. Who dies in between leaves it to whoever has the socket then.
func (r *Receiver) Peek() (Datagram, error) { return r.await(unix.MSG_PEEK) }

func (r *Receiver) await(flags int) (Datagram, error) {
	var d Datagram
	var err error
	if werr := r.raw.Read(func(fd uintptr) bool {
		d, err = r.receive(int(fd), flags)
		return err != unix.EAGAIN
	}); werr != nil {
		return Datagram{}, werr
	}
	return d, err
}

// Pending takes a datagram that is there already, whatever the deadline; io.EOF when there is
// none.
func (r *Receiver) Pending() (Datagram, error) { return r.pending(0) }

// PeekPending is Pending that leaves the datagram in the socket, as Peek does.
func (r *Receiver) PeekPending() (Datagram, error) { return r.pending(unix.MSG_PEEK) }

// Discard takes the datagram that is first out of the socket, and closes what came with it.
func (r *Receiver) Discard() {
	r.raw.Control(func(fd uintptr) {
		for {
			if _, _, err := unix.Recvfrom(int(fd), nil, unix.MSG_DONTWAIT); err != unix.EINTR {
				return
			}
		}
	})
}

func (r *Receiver) pending(flags int) (Datagram, error) {
	var d Datagram
	var err error
	if cerr := r.raw.Control(func(fd uintptr) { d, err = r.receive(int(fd), flags) }); cerr != nil {
		return Datagram{}, cerr
	}
	if err == unix.EAGAIN {
		err = io.EOF
	}
	return d, err
}

func (r *Receiver) receive(fd, flags int) (Datagram, error) {
	if r.buf == nil {
		var one [1]byte
		if _, _, err := unix.Recvfrom(fd, one[:], unix.MSG_PEEK|unix.MSG_DONTWAIT); err != nil && err != unix.EINTR {
			return Datagram{}, err
		}
		r.buf = make([]byte, MaxDatagram)
	}
	for {
		n, oobn, got, _, err := unix.Recvmsg(fd, r.buf, r.oob, flags|unix.MSG_CMSG_CLOEXEC|unix.MSG_DONTWAIT)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return Datagram{}, err
		}
		d := Datagram{Data: r.buf[:n], Long: got&unix.MSG_TRUNC != 0}
		readControl(r.oob[:oobn], &d)
		return d, nil
	}
}

// readControl takes the credentials, and closes any descriptor that came in spite of the room
// that we gave. Without credentials the sender is nobody: pid 0, the overflow uid.
func readControl(oob []byte, d *Datagram) {
	d.UID, d.GID = overflowID, overflowID
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return
	}
	for i := range msgs {
		if c, err := unix.ParseUnixCredentials(&msgs[i]); err == nil {
			d.PID, d.UID, d.GID = c.Pid, c.Uid, c.Gid
			continue
		}
		if fds, err := unix.ParseUnixRights(&msgs[i]); err == nil {
			for _, fd := range fds {
				unix.Close(fd)
			}
		}
	}
}

// overflowID is the uid and gid of nobody (user_namespaces(7)).
const overflowID = 65534

// Close closes the socket; a Receive that waits ends with os.ErrClosed.
func (r *Receiver) Close() error { return r.file.Close() }
