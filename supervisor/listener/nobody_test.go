package listener_test

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"supervisor/supervisor/listener"
)

// restarted is a table with what an earlier one has left for it: its app was stopped when
// the daemon ended.
func restarted(t *testing.T, before func(r *rig)) (*rig, *remembered) {
	t.Helper()
	m := &remembered{stored: map[string]int{}}
	r := newRigWith(t, listener.Config{Store: m, Record: m.record})
	before(r)
	r.Keep()
	r.Release("web")
	r.Bequeath()
	r.Close()
	next := newRigWith(t, listener.Config{Store: m, Record: m.record})
	t.Cleanup(m.close)
	if lost, err := next.Adopt(m.records, m.take); err != nil || len(lost) > 0 {
		t.Fatalf("lost %+v: %v", lost, err)
	}
	next.Sweep()
	return next, m
}

// close drops what is stored.
func (m *remembered) close() {
	for name := range m.stored {
		m.Remove(name)
	}
}

// dial is a client that waits in a queue; its connection ends with the test.
func dial(t *testing.T, network, addr string) net.Conn {
	t.Helper()
	conn, err := net.Dial(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// answered reads the answer that a role "serve" gives.
func answered(t *testing.T, conn net.Conn) {
	t.Helper()
	if _, err := conn.Write([]byte("GET / HTTP/1.0\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 12)
	if n, err := conn.Read(b); err != nil || !strings.HasPrefix(string(b[:n]), "HTTP/1.0 200") {
		t.Errorf("answer %q, %v", b[:n], err)
	}
}

// Declared sockets outlive a restart with whoever waits in them, under any app's name.
func TestKeptForWhoDeclares(t *testing.T) {
	p, q := freePort(t), freePort(t)
	path := filepath.Join(t.TempDir(), "s")
	list := []listener.Declared{tcp("127.0.0.1:%d", p), tcp(":%d", q), {Network: "unix", Address: path}}
	var before []listener.Socket
	r, m := restarted(t, func(r *rig) {
		if err := r.Open("web", list); err != nil {
			t.Fatal(err)
		}
		before = r.Sockets("web")
	})
	dial(t, "tcp", list[0].Address)
	dial(t, "unix", path)
	if left := r.Sockets(""); len(left) != 3 || left[0].Declared {
		t.Errorf("left is %+v", left)
	}
	// The second is wanted at one address alone, for which it is in the way.
	list[1] = tcp("127.0.0.1:%d", q)
	if err := r.Open("shop", list); err != nil {
		t.Fatal(err)
	}
	now := r.Sockets("shop")
	if len(now) != 3 || now[0].Inode != before[0].Inode || now[1].Inode != before[2].Inode || !now[0].Declared {
		t.Errorf("held are %+v, before %+v", now, before)
	}
	if closed := r.CloseUnclaimed(); len(closed) != 0 {
		t.Errorf("closed %q", closed)
	}
	r.Release("shop")
	if _, err := os.Lstat(path); !os.IsNotExist(err) || len(m.stored) > 0 {
		t.Errorf("released: %v, stored %v", err, m.stored)
	}
}

// A program that binds its address itself gets the one that is kept, with its queue; what
// nobody wants any more refuses.
func TestKeptForWhoBinds(t *testing.T) {
	addr, other := "127.0.0.1:"+strconv.Itoa(freePort(t)), tcp("127.0.0.1:%d", freePort(t))
	r, m := restarted(t, func(r *rig) {
		w := r.start(goServer(addr))
		r.listening(w)
		if err := r.Open("other", []listener.Declared{other}); err != nil {
			t.Fatal(err)
		}
		w.stop(syscall.SIGKILL)
	})
	conn := dial(t, "tcp", addr)
	w := r.start(goServer(addr))
	r.listening(w)
	answered(t, conn)
	if held := r.Sockets("web"); len(held) != 1 || held[0].Declared {
		t.Errorf("held %+v", held)
	}
	if closed := r.CloseUnclaimed(); len(closed) != 1 || closed[0] != "tcp://"+other.Address {
		t.Errorf("closed %q", closed)
	}
	if _, err := net.Dial("tcp", other.Address); err == nil {
		t.Error("what nobody wants takes connections")
	}
	if len(m.stored) != 1 || len(m.records) != 1 {
		t.Errorf("stored %v, on record %+v", m.stored, m.records)
	}
	w.stop(syscall.SIGKILL)
}

// Shares of even workers go to the next ones, those with a queue first, and nobody who
// waits is reset meanwhile.
func TestKeptForEvenWorkers(t *testing.T) {
	parallel(t)
	addr := "127.0.0.1:" + strconv.Itoa(freePort(t))
	even := goServer(addr)
	even.even = true
	r, _ := restarted(t, func(r *rig) {
		a, b := r.start(even), r.start(even)
		r.listening(a)
		r.listening(b)
		r.Admit(a.id)
		r.Admit(b.id)
		for _, w := range []*worker{a, b} {
			r.Withdraw(w.id)
			w.stop(syscall.SIGKILL)
		}
	})
	var conns []net.Conn
	for range 8 {
		conns = append(conns, dial(t, "tcp", addr))
	}
	for range 2 {
		w := r.start(even)
		r.listening(w)
		r.Admit(w.id)
		defer w.stop(syscall.SIGKILL)
	}
	for _, conn := range conns {
		answered(t, conn)
	}
	if held := r.Sockets("web"); len(held) != 1 || len(held[0].Shares) != 2 {
		t.Errorf("held %+v", held)
	}
}

// given opens a socket as a service manager does.
func given(t *testing.T, network, addr string) int {
	t.Helper()
	ln, err := net.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if u, ok := ln.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false)
	}
	raw, err := ln.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	fd := -1
	raw.Control(func(n uintptr) { fd, err = unix.FcntlInt(n, unix.F_DUPFD_CLOEXEC, 0) })
	if err != nil {
		t.Fatal(err)
	}
	return fd
}

// A given socket is the app's that declares its name, or its address, or binds it, and is
// never closed.
func TestGiven(t *testing.T) {
	m := &remembered{stored: map[string]int{}}
	r := newRigWith(t, listener.Config{Store: m, Record: m.record})
	var addr [3]string
	for i := range addr {
		addr[i] = "127.0.0.1:" + strconv.Itoa(freePort(t))
	}
	path := filepath.Join(t.TempDir(), "s")
	datagrams, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	first := given(t, "tcp", addr[0])
	again, err := unix.FcntlInt(uintptr(first), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	errs := r.Give([]listener.Given{
		{FD: first, Name: "front"}, {FD: given(t, "tcp", addr[1]), Name: "x"},
		{FD: given(t, "tcp", addr[2]), Name: "x"}, {FD: given(t, "unix", path), Name: "x"}, {FD: datagrams, Name: "udp"},
		{FD: again, Name: "front"},
	})
	if len(errs) != 1 || !strings.Contains(errs[0].Error(), "udp") {
		t.Errorf("%v", errs)
	}
	list := []listener.Declared{{Network: "tcp", Address: "127.0.0.1:1", Name: "front"}, tcp("%s", addr[1]), {Network: "unix", Address: path}}
	if err := r.Open("web", list); err != nil {
		t.Fatal(err)
	}
	for i, f := range r.files("web", list) {
		if want := []string{"tcp://" + addr[0], "tcp://" + addr[1], "unix:" + path}[i]; f.Addr != want {
			t.Errorf("%d: %s, not %s", i, f.Addr, want)
		}
	}
	r.Retain("web", list, nil)
	w := r.start(goServer(addr[2]))
	r.listening(w)
	if held := r.Sockets("web"); len(held) != 4 {
		t.Errorf("held %+v", held)
	}
	w.stop(syscall.SIGKILL)
	r.Release("web")
	if closed := r.CloseUnclaimed(); len(closed) != 0 || len(r.Sockets("")) != 4 {
		t.Errorf("closed %q, left %+v", closed, r.Sockets(""))
	}
	if _, err := os.Lstat(path); err != nil {
		t.Error(err)
	}
	if err := r.Open("other", list); err != nil {
		t.Error(err)
	}
	// A later table has them by its records, and is given them once more.
	next := newRigWith(t, listener.Config{Store: m, Record: m.record})
	t.Cleanup(m.close)
	if lost, err := next.Adopt(m.records, m.take); err != nil || len(lost) > 0 {
		t.Fatalf("lost %+v: %v", lost, err)
	}
	next.Sweep()
	twice, _ := m.take("l1")
	if errs := next.Give([]listener.Given{{FD: twice, Name: "front"}}); len(errs) > 0 {
		t.Error(errs)
	}
	if held := next.Sockets("other"); len(held) != 3 {
		t.Errorf("held %+v", held)
	}
}
