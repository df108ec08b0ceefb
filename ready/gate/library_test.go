package gate

import (
	"context"
	"fmt"
	"net"
	"os"
	"testing"

	"github.com/cloudflare/tableflip"
	"golang.org/x/sys/unix"
)

// playTableflip makes the test binary an unmodified tableflip program, which listens
// on the address in it.
const playTableflip = "GATE_TEST_TABLEFLIP"

// tableflipProgram exits 0 if it was given its listener and a parent.
func tableflipProgram(address string) int {
	upgrader, err := tableflip.New(tableflip.Options{})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	ln, err := upgrader.Listen("tcp", address)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	defer ln.Close()
	if !upgrader.HasParent() {
		return 3
	}
	if err := upgrader.Ready(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 4
	}
	if err := upgrader.WaitForParent(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 5
	}
	return 0
}

// TestTheLibraryItself: what the pipes say is what tableflip understands, and it is
// what tableflip says that opens the gate.
func TestTheLibraryItself(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	raw, err := ln.(*net.TCPListener).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	fd := -1
	raw.Control(func(n uintptr) { fd, err = unix.FcntlInt(n, unix.F_DUPFD_CLOEXEC, 0) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	address := ln.Addr().String()
	r := open(t, Config{Tableflip: &Tableflip{Listeners: []Listener{{FD: fd, Address: address}}}})
	r.spawn([]string{playTableflip + "=" + address}, os.Args[0])
	r.want(Ready{7, TableflipPipe})
	r.Alone() // until then it waits for its parent's end
	if status := r.wait(); status.ExitStatus() != 0 {
		t.Errorf("it ended with %d", status.ExitStatus())
	}
}
