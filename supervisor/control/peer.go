package control

import (
	"context"
	"fmt"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// peer is who is at the other end of a connection.
type peer struct {
	uid int
	err error // it couldn't be found out
}

type peerKey struct{}

// withPeer is the server's ConnContext: it asks the kernel who connected
// (SO_PEERCRED: the credentials at connect(2), which can't be forged).
func withPeer(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, peerKey{}, peerOf(c))
}

func peerOf(c net.Conn) peer {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return peer{err: fmt.Errorf("a %T has no peer credentials", c)}
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return peer{err: err}
	}
	var cred *unix.Ucred
	var optErr error
	// Control, not File: the latter would clear O_NONBLOCK for all holders.
	err = raw.Control(func(fd uintptr) {
		cred, optErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err == nil {
		err = optErr
	}
	if err != nil {
		return peer{err: err}
	}
	return peer{uid: int(cred.Uid)}
}

// admit returns why a peer is refused, nil for the daemon's own uid and root.
func admit(p peer) error {
	if p.err != nil {
		return fmt.Errorf("cannot tell who is asking: %v", p.err)
	}
	if own := os.Geteuid(); p.uid != own && p.uid != 0 {
		return fmt.Errorf("this daemon belongs to uid %d and answers only to it and to root, not to uid %d", own, p.uid)
	}
	return nil
}
