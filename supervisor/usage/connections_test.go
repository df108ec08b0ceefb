package usage

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// waitid waits until a child has ended and leaves it to be reaped.
func waitid(pid int) error {
	return unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
}

// listenerFile returns the fd of a listener as an own file.
func listenerFile(t *testing.T, ln net.Listener) *os.File {
	t.Helper()
	f, err := ln.(interface{ File() (*os.File, error) }).File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// rawFD reads the number without os.File.Fd, which would make it blocking.
func rawFD(t *testing.T, f *os.File) int {
	t.Helper()
	rc, err := f.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var fd int
	if err := rc.Control(func(n uintptr) { fd = int(n) }); err != nil {
		t.Fatal(err)
	}
	return fd
}

func TestConnectionsOfAWorkerAreCounted(t *testing.T) {
	for _, c := range []struct {
		name, network, address string
		mptcp                  bool
	}{
		{"tcp4", "tcp4", "127.0.0.1:0", false},
		{"tcp4 wildcard", "tcp4", "0.0.0.0:0", false},
		{"tcp6", "tcp6", "[::1]:0", false},
		{"dual stack", "tcp", "[::]:0", false},
		{"multipath", "tcp", "127.0.0.1:0", true},
		{"unix", "unix", filepath.Join(t.TempDir(), "a socket"), false},
		{"abstract", "unix", "@usage-test-" + filepath.Base(t.TempDir()), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var lc net.ListenConfig
			lc.SetMultipathTCP(c.mptcp)
			ln, err := lc.Listen(context.Background(), c.network, c.address)
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			file := listenerFile(t, ln)
			local, err := LocalOf(rawFD(t, file))
			if err != nil {
				t.Fatal(err)
			}
			w := start(t, "accept", file)
			pid := w.cmd.Process.Pid
			count := func(want int, locals ...Local) {
				t.Helper()
				if n, err := Connections(pid, locals); err != nil || n != want {
					t.Fatalf("%d connections, %v; want %d", n, err, want)
				}
			}
			count(0, local)
			var conns []net.Conn
			for range 3 {
				var d net.Dialer
				d.SetMultipathTCP(c.mptcp)
				conn, err := d.Dial(ln.Addr().Network(), ln.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				conns = append(conns, conn)
				w.hear(t, "accepted")
			}
			count(3, local)
			count(3, Local{Path: "/other"}, local)
			count(0, Local{Path: "/other"}, Local{Addr: netip.MustParseAddrPort("127.0.0.1:1")})
			count(0)
			if c.network == "tcp" && !c.mptcp {
				// A client that has sent all it has still waits for the answer.
				if err := conns[0].(*net.TCPConn).CloseWrite(); err != nil {
					t.Fatal(err)
				}
				count(3, local)
			}
		})
	}
}

func TestConnectionsOfAnEndedWorker(t *testing.T) {
	if n, err := Connections(1<<30, []Local{{Path: "/x"}}); n != 0 || err != nil {
		t.Errorf("%d, %v; want 0", n, err)
	}
}

// The file and the kernel's answer must agree: one is the other's fallback.
func TestProcNetAgreesWithSockDiag(t *testing.T) {
	ln, err := net.Listen("tcp", "[::]:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	addr := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), ln.Addr().(*net.TCPAddr).AddrPort().Port())
	for range 4 {
		c, err := net.Dial("tcp4", addr.String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		s, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
	}
	local := Local{Addr: ln.Addr().(*net.TCPAddr).AddrPort()}
	byDiag, byFile := map[uint64]bool{}, map[uint64]bool{}
	if err := markByDiag([]Local{local}, func(a netip.AddrPort, ino uint64) {
		if local.covers(a) {
			byDiag[ino] = true
		}
	}); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"tcp", "tcp6"} {
		if err := eachLine(os.Getpid(), file, func(line []byte) {
			if a, ino, ok := parseTCPLine(line); ok && local.covers(a) {
				byFile[ino] = true
			}
		}); err != nil {
			t.Fatal(err)
		}
	}
	if len(byDiag) != 4 || len(byFile) != 4 {
		t.Fatalf("sock_diag %v, /proc %v; want 4 each", byDiag, byFile)
	}
	for ino := range byDiag {
		if !byFile[ino] {
			t.Errorf("inode %d is not in /proc", ino)
		}
	}
}

func TestLocalCovers(t *testing.T) {
	for _, c := range []struct {
		bound, got string
		want       bool
	}{
		{"0.0.0.0:80", "127.0.0.1:80", true},
		{"0.0.0.0:80", "[::1]:80", false},
		{"0.0.0.0:80", "[::ffff:127.0.0.1]:80", true},
		{"[::]:80", "127.0.0.1:80", true},
		{"[::]:80", "[::1]:80", true},
		{"[::]:80", "[::1]:81", false},
		{"127.0.0.1:80", "127.0.0.2:80", false},
		{"127.0.0.1:80", "[::ffff:127.0.0.1]:80", true},
	} {
		l := Local{Addr: netip.MustParseAddrPort(c.bound)}
		if got := l.covers(netip.MustParseAddrPort(c.got)); got != c.want {
			t.Errorf("%s covers %s: %v", c.bound, c.got, got)
		}
	}
}

func TestAcceptQueueAndDrops(t *testing.T) {
	for _, mptcp := range []bool{false, true} {
		var lc net.ListenConfig
		lc.SetMultipathTCP(mptcp)
		ln, err := lc.Listen(context.Background(), "tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		fd := rawFD(t, listenerFile(t, ln))
		if err := unix.Listen(fd, 2); err != nil { // a short queue, to overflow it
			t.Fatal(err)
		}
		if d, err := Drops(fd); err != nil || d != 0 {
			t.Fatalf("mptcp %v: drops %d, %v; want 0", mptcp, d, err)
		}
		addr := ln.Addr().(*net.TCPAddr)
		for i := range 8 {
			c := connectNonBlocking(t, addr)
			defer unix.Close(c)
			q, err := AcceptQueue(fd)
			if err != nil || q.Max != 2 || q.Length != min(i+1, 3) {
				t.Fatalf("mptcp %v: queue %+v, %v after %d connections", mptcp, q, err, i+1)
			}
		}
		if d, err := Drops(fd); err != nil || d == 0 {
			t.Errorf("mptcp %v: drops %d, %v after 8 connections to a queue of 3", mptcp, d, err)
		}
	}
}

// connectNonBlocking sends a SYN: over the loopback the handshake, or the
// drop, is done when connect returns.
func connectNonBlocking(t *testing.T, addr *net.TCPAddr) int {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	sa := &unix.SockaddrInet4{Port: addr.Port, Addr: [4]byte(addr.IP.To4())}
	if err := unix.Connect(fd, sa); err != nil && !errors.Is(err, unix.EINPROGRESS) {
		t.Fatal(err)
	}
	return fd
}

func TestQueuesOfOtherSockets(t *testing.T) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fds[0])
	defer syscall.Close(fds[1])
	if _, err := AcceptQueue(fds[0]); err == nil {
		t.Error("a unix socket has an accept queue")
	}
	if _, err := Drops(fds[0]); err == nil {
		t.Error("a unix socket has drops")
	}
	c, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(c)
	if q, err := AcceptQueue(c); err == nil {
		t.Errorf("a socket that does not listen has the queue %+v", q)
	}
	if d, err := Drops(c); err == nil {
		t.Errorf("a socket that does not listen has %d drops", d)
	}
}

func TestNoFileStaysOpen(t *testing.T) {
	count := func() int {
		names, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(names)
	}
	runtime.GC()
	var s Sampler
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	local := []Local{{Addr: ln.Addr().(*net.TCPAddr).AddrPort()}, {Path: "/x"}}
	before := count()
	for range 10 {
		if _, err := s.Sample([]int{os.Getpid()}); err != nil {
			t.Fatal(err)
		}
		if _, err := Connections(os.Getpid(), local); err != nil {
			t.Fatal(err)
		}
	}
	if after := count(); after != before {
		t.Errorf("%d files open, %d before", after, before)
	}
}

func FuzzParseNetLines(f *testing.F) {
	f.Add([]byte("   0: 0100007F:1F90 00000000:0000 01 00000000:00000000 00:00000000 00000000  1000        0 12345 1 0000000000000000"))
	f.Add([]byte("ffff8880: 00000003 00000000 00000000 0001 03 54321 /tmp/a b"))
	f.Add([]byte("  sl  local_address rem_address   st tx_queue"))
	f.Fuzz(func(t *testing.T, line []byte) {
		if addr, _, ok := parseTCPLine(line); ok && !addr.IsValid() {
			t.Errorf("%q: %v", line, addr)
		}
		if path, _, ok := parseUnixLine(line); ok && path == "" {
			t.Errorf("%q: no path", line)
		}
	})
}

func FuzzParseDiag(f *testing.F) {
	f.Add(diagQuery{family: unix.AF_INET, protocol: unix.IPPROTO_MPTCP, memInfo: true}.request())
	f.Add([]byte{20, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		parseDiag(b, func(diagSocket) {})
	})
}
