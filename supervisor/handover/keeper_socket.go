package handover

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"supervisor/supervisor/notify"
)

// maxRights is how many descriptors the kernel lets one message carry (SCM_MAX_FD,
// unix(7)).
const maxRights = 253

// notifySocket is the keeper's end of NOTIFY_SOCKET.
type notifySocket struct {
	path     string
	dev, ino uint64 // the path's, as long as it is ours
	fd       int
	file     *os.File // keeps fd, and its place in the poller

	// readable tells the owner that there is something; the next look is taken when it
	// has sent drained.
	readable, drained chan struct{}

	buf, oob []byte
	packet   packet
}

// packet is one datagram, valid until the next.
type packet struct {
	text []byte
	cut  bool // it was longer than buf
	pid  int  // the sender's, by the kernel's word; 0 if it has none here
	fds  []int
}

// listenNotify opens the socket at path, mode 0600 from its first moment. What lies there
// is a dead keeper's, since we have the lock.
func listenNotify(path string) (*notifySocket, error) {
	if longest := len(unix.RawSockaddrUnix{}.Path) - 1; len(path) > longest {
		return nil, fmt.Errorf("cannot listen on %s: the path is longer than a unix socket's may be (%d bytes): choose a shorter SUPERVISOR_HOME", path, longest)
	}
	info, err := os.Lstat(path)
	switch {
	case err == nil && info.Mode().Type() != os.ModeSocket:
		return nil, fmt.Errorf("cannot listen on %s: it is there and is no socket", path)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("cannot listen on %s: %w", path, err)
	}
	os.Remove(path)
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot listen on %s: %w", path, err)
	}
	// Credentials and mode first: from the bind on, datagrams may come. The mode of a
	// socket that is not bound yet is what its path gets.
	if err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PASSCRED, 1); err == nil {
		if err = unix.Fchmod(fd, 0o600); err == nil {
			err = unix.Bind(fd, &unix.SockaddrUnix{Name: path})
		}
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("cannot listen on %s: %w", path, err)
	}
	return adoptNotify(path, fd)
}

// adoptNotify takes over a socket that is bound to path already.
func adoptNotify(path string, fd int) (*notifySocket, error) {
	s := &notifySocket{
		path: path, fd: fd, file: os.NewFile(uintptr(fd), path),
		readable: make(chan struct{}), drained: make(chan struct{}),
		buf: make([]byte, notify.MaxDatagram),
		oob: make([]byte, unix.CmsgSpace(unix.SizeofUcred)+unix.CmsgSpace(4*maxRights)),
	}
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err == nil {
		s.dev, s.ino = st.Dev, st.Ino
	}
	raw, err := s.file.SyscallConn()
	if err != nil {
		s.file.Close()
		return nil, fmt.Errorf("cannot use %s: %w", path, err)
	}
	go s.watch(raw) // ends with the process
	return s, nil
}

func (s *notifySocket) watch(raw syscall.RawConn) {
	for {
		err := raw.Read(func(fd uintptr) bool {
			var one [1]byte
			_, _, err := unix.Recvfrom(int(fd), one[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
			return err != unix.EAGAIN
		})
		if err != nil {
			return
		}
		s.readable <- struct{}{}
		<-s.drained
	}
}

// next takes one datagram; false when there is none.
func (s *notifySocket) next() (*packet, bool) {
	for {
		n, oobn, flags, _, err := unix.Recvmsg(s.fd, s.buf, s.oob, unix.MSG_CMSG_CLOEXEC|unix.MSG_DONTWAIT)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, false
		}
		s.packet = packet{text: s.buf[:n], cut: flags&unix.MSG_TRUNC != 0}
		s.packet.readControl(s.oob[:oobn])
		return &s.packet, true
	}
}

func (p *packet) readControl(oob []byte) {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return
	}
	for i := range msgs {
		if c, err := unix.ParseUnixCredentials(&msgs[i]); err == nil {
			p.pid = int(c.Pid)
		} else if fds, err := unix.ParseUnixRights(&msgs[i]); err == nil {
			p.fds = append(p.fds, fds...)
		}
	}
}

// remove unlinks the path, if it is still this socket.
func (s *notifySocket) remove() {
	var st unix.Stat_t
	if err := unix.Stat(s.path, &st); err == nil && st.Dev == s.dev && st.Ino == s.ino {
		os.Remove(s.path)
	}
}
