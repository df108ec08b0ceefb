package handover

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Limits of the socket between the old and the new process.
const (
	// maxMessage is the longest message in bytes. Names are short and what is long
	// is a memfd, since SO_SNDBUF (208 KiB) bounds a message of SOCK_SEQPACKET.
	maxMessage = 64 << 10
	// maxBatch is how many descriptors go with one message; the kernel takes 253
	// (SCM_MAX_FD, unix(7)).
	maxBatch = 200
	// maxRefusal bounds the bytes of a failure's text.
	maxRefusal = 4 << 10
	// maxState bounds what is read of a state that the old process hands over.
	maxState = 256 << 20
)

// kind is what a message of the handshake is.
type kind string

const (
	msgHello   kind = "hello"   // new: version and the schemas it reads
	msgState   kind = "state"   // old: schema; the state as a memfd, stdout, stderr
	msgFDs     kind = "fds"     // old: names and as many descriptors
	msgSent    kind = "sent"    // old: that was all, adopt
	msgAdopted kind = "adopted" // new: everything is in its hands, nothing touched
	msgGone    kind = "gone"    // old: names that are held no longer
	msgFinal   kind = "final"   // old: it holds still; what has changed as a memfd
	msgReady   kind = "ready"   // new: it waits for commit alone
	msgCommit  kind = "commit"  // old: begin
	msgFailure kind = "failure" // new: why it doesn't
)

// message is one datagram of the handshake, JSON.
type message struct {
	Kind    kind     `json:"kind"`
	Version string   `json:"version,omitempty"`
	Schemas []int    `json:"schemas,omitempty"`
	Schema  int      `json:"schema,omitempty"`
	Names   []string `json:"names,omitempty"`
	Text    string   `json:"text,omitempty"`
}

// parcel is a message as it was received.
type parcel struct {
	message
	fds []int // the receiver's, close-on-exec
	pid int   // the sender's as the kernel says, 0 where it was not asked (SO_PASSCRED)
}

func (p parcel) closeFDs() {
	for _, fd := range p.fds {
		unix.Close(fd)
	}
}

// parse reads what came with one message, apart from the descriptors' meaning.
func parse(data []byte, fds int) (m message, err error) {
	if err := json.Unmarshal(data, &m); err != nil {
		return m, fmt.Errorf("cannot read a message: %w", err)
	}
	want := 0
	switch m.Kind {
	case msgState:
		want = 3
	case msgFinal:
		want = 1
	case msgFDs:
		want = len(m.Names)
	case msgHello, msgSent, msgAdopted, msgGone, msgReady, msgCommit, msgFailure:
	default:
		return m, fmt.Errorf("cannot read a message: unknown kind %q", m.Kind)
	}
	if fds != want {
		return m, fmt.Errorf("cannot read a message %s: it brings %d descriptors, not %d", m.Kind, fds, want)
	}
	return m, nil
}

// wire is one end of the socket. One goroutine may send while another receives.
type wire struct {
	file *os.File
	raw  syscall.RawConn
}

// newWire takes over the file of a non-blocking SOCK_SEQPACKET socket.
func newWire(file *os.File) (*wire, error) {
	raw, err := file.SyscallConn()
	if err != nil {
		file.Close()
		return nil, err
	}
	return &wire{file: file, raw: raw}, nil
}

// newWires opens the socket: the old process's end, which learns the pid of whoever
// speaks, and the file that the new one gets.
func newWires() (ours *wire, theirs *os.File, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot open a socket: %w", err)
	}
	theirs = os.NewFile(uintptr(pair[1]), "handover")
	err = unix.SetsockoptInt(pair[0], unix.SOL_SOCKET, unix.SO_PASSCRED, 1)
	ours, wireErr := newWire(os.NewFile(uintptr(pair[0]), "handover"))
	if err = errors.Join(err, wireErr); err != nil {
		theirs.Close()
		if ours != nil {
			ours.close()
		}
		return nil, nil, fmt.Errorf("cannot open a socket: %w", err)
	}
	return ours, theirs, nil
}

// send waits while the other side's queue is full. The descriptors stay the
// caller's. EPIPE: the other side is gone, or end was called.
func (w *wire) send(m message, fds ...int) error {
	data, err := json.Marshal(m)
	if err != nil {
		return err
	}
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	var sent error
	err = w.raw.Write(func(fd uintptr) bool {
		for {
			sent = unix.Sendmsg(int(fd), data, rights, nil, unix.MSG_NOSIGNAL)
			if sent != unix.EINTR {
				return sent != unix.EAGAIN
			}
		}
	})
	if err == nil {
		err = sent
	}
	if err != nil {
		return fmt.Errorf("cannot send %s: %w", m.Kind, err)
	}
	return nil
}

// receive waits for one message; io.EOF when the other side, or end, has ended it.
func (w *wire) receive() (parcel, error) {
	data := make([]byte, maxMessage+1)
	control := make([]byte, unix.CmsgSpace(4*(maxBatch+1))+unix.CmsgSpace(unix.SizeofUcred))
	var n, controlled, flags int
	var got error
	err := w.raw.Read(func(fd uintptr) bool {
		for {
			n, controlled, flags, _, got = unix.Recvmsg(int(fd), data, control, unix.MSG_CMSG_CLOEXEC)
			if got != unix.EINTR {
				return got != unix.EAGAIN
			}
		}
	})
	if err == nil {
		err = got
	}
	if err == unix.ECONNRESET { // it went away with something of ours unread
		err = io.EOF
	}
	if err != nil {
		return parcel{}, err
	}
	p := accompanying(control[:controlled])
	switch {
	case n == 0:
		err = io.EOF // no message is empty
	case flags&unix.MSG_CTRUNC != 0:
		err = errors.New("cannot take descriptors over: too many open files")
	case n > maxMessage || flags&unix.MSG_TRUNC != 0:
		err = errors.New("cannot read a message: too long")
	default:
		p.message, err = parse(data[:n], len(p.fds))
	}
	if err != nil {
		p.closeFDs()
		return parcel{}, err
	}
	return p, nil
}

// accompanying takes descriptors and credentials out of control messages.
func accompanying(control []byte) (p parcel) {
	list, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return p
	}
	for i := range list {
		if fds, err := unix.ParseUnixRights(&list[i]); err == nil {
			p.fds = append(p.fds, fds...)
		}
		if cred, err := unix.ParseUnixCredentials(&list[i]); err == nil {
			p.pid = int(cred.Pid)
		}
	}
	return p
}

// end ends the conversation for both sides, whoever has copies of the
// descriptors; what has been sent can still be received.
func (w *wire) end() {
	w.raw.Control(func(fd uintptr) { unix.Shutdown(int(fd), unix.SHUT_RDWR) })
}

func (w *wire) close() { w.file.Close() }

// sealed puts data into a memfd that nobody can change any more. The descriptor is
// the caller's.
func sealed(data []byte) (int, error) {
	fd, err := unix.MemfdCreate("state", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return -1, fmt.Errorf("cannot hand the state over: %w", err)
	}
	for len(data) > 0 && err == nil {
		var n int
		if n, err = unix.Write(fd, data); err == unix.EINTR {
			err = nil
		}
		data = data[max(n, 0):]
	}
	if err == nil {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SEAL|unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_WRITE)
	}
	if err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("cannot hand the state over: %w", err)
	}
	return fd, nil
}

// unsealed returns what sealed was given, and closes the descriptor.
func unsealed(fd int) ([]byte, error) {
	file := os.NewFile(uintptr(fd), "state")
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, fmt.Errorf("cannot read the state: %w", err)
	}
	if info.Size() > maxState {
		return nil, fmt.Errorf("cannot read the state: %d bytes are more than %d", info.Size(), maxState)
	}
	// The offset is where its writer has left it, hence ReadAt.
	data := make([]byte, info.Size())
	if n, err := file.ReadAt(data, 0); n < len(data) {
		return nil, fmt.Errorf("cannot read the state: %w", err)
	}
	return data, nil
}
