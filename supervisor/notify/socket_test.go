package notify

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// guard is how long a test waits before it says that something hangs.
const guard = 30 * time.Second

func countFDs(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

// receiver is a bound socket and a sender to it; at the end no descriptor may be left.
func receiver(t *testing.T) (*Receiver, *Sender) {
	t.Helper()
	r, err := Listen("test-")
	if err != nil {
		t.Fatal(err)
	}
	before := countFDs(t)
	t.Cleanup(func() {
		if n := countFDs(t); n != before {
			t.Errorf("%d descriptors at the end, %d at the start", n, before)
		}
		r.Close()
	})
	r.SetDeadline(time.Now().Add(guard))
	s, err := NewSender(r.Addr())
	if err != nil {
		t.Fatal(err)
	}
	return r, s
}

func TestReceiveWithCredentials(t *testing.T) {
	r, s := receiver(t)
	if err := s.Send(t.Context(), Message{Ready: true}); err != nil {
		t.Fatal(err)
	}
	d, err := r.Receive()
	if err != nil {
		t.Fatal(err)
	}
	if string(d.Data) != "READY=1" || int(d.PID) != os.Getpid() || int(d.UID) != os.Getuid() || int(d.GID) != os.Getgid() {
		t.Fatalf("received %+v (%q)", d, d.Data)
	}
	if _, err := r.Pending(); err != io.EOF {
		t.Fatalf("Pending on an empty socket: %v", err)
	}
}

func TestNamesDiffer(t *testing.T) {
	a, _ := receiver(t)
	b, err := Listen("test-")
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if a.Addr() == b.Addr() || !strings.HasPrefix(a.Addr(), "@test-") {
		t.Fatalf("%s and %s", a.Addr(), b.Addr())
	}
}

func TestDescriptorsNeverArrive(t *testing.T) {
	r, s := receiver(t)
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		t.Fatal(err)
	}
	before := countFDs(t)
	many := make([]int, 200)
	for i := range many {
		many[i] = p[1]
	}
	if err := s.Send(t.Context(), Message{FDStore: true}, many...); err != nil {
		t.Fatal(err)
	}
	d, err := r.Receive()
	if err != nil || int(d.PID) != os.Getpid() || string(d.Data) != "FDSTORE=1" {
		t.Fatalf("received %+v, %v", d, err)
	}
	if n := countFDs(t); n != before {
		t.Fatalf("%d descriptors after the datagram, %d before", n, before)
	}
	unix.Close(p[1])
	// The copies in flight are closed too: the pipe is at its end.
	if n, err := unix.Read(p[0], make([]byte, 1)); n != 0 || err != nil {
		t.Fatalf("read = %d, %v; want the end of the pipe", n, err)
	}
	unix.Close(p[0])
}

// A datagram that is only looked at stays, with what came with it, also for another process
// that has the socket then.
func TestPeekLeavesIt(t *testing.T) {
	r, s := receiver(t)
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		t.Fatal(err)
	}
	for _, m := range []Message{{Ready: true}, {Stopping: true}} {
		if err := s.Send(t.Context(), m, p[1]); err != nil {
			t.Fatal(err)
		}
	}
	unix.Close(p[1])
	before := countFDs(t)
	dup, err := unix.FcntlInt(uintptr(r.FD()), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	next, err := Adopt(dup)
	if err != nil || next.Addr() != r.Addr() {
		t.Fatalf("adopted %v, %v; want %s", next, err, r.Addr())
	}
	next.SetDeadline(time.Now().Add(guard))
	for _, peek := range []func() (Datagram, error){r.Peek, r.PeekPending, next.Peek, next.PeekPending} {
		d, err := peek()
		if err != nil || string(d.Data) != "READY=1" || int(d.PID) != os.Getpid() || int(d.UID) != os.Getuid() {
			t.Fatalf("seen %+v (%q), %v", d, d.Data, err)
		}
	}
	next.Discard()
	if d, err := next.Receive(); err != nil || string(d.Data) != "STOPPING=1" {
		t.Fatalf("received %q, %v", d.Data, err)
	}
	next.Discard() // of nothing
	if _, err := r.PeekPending(); err != io.EOF {
		t.Fatalf("PeekPending on an empty socket: %v", err)
	}
	next.Close()
	if n := countFDs(t); n != before {
		t.Errorf("%d descriptors, %d before", n, before)
	}
	if n, err := unix.Read(p[0], make([]byte, 1)); n != 0 || err != nil {
		t.Errorf("read = %d, %v; want the end of the pipe", n, err)
	}
	if _, err := Adopt(p[0]); err == nil { // which closes it
		t.Error("adopted a pipe")
	}
}

func TestLongDatagram(t *testing.T) {
	r, _ := receiver(t)
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: r.Addr(), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.Write([]byte("READY=1\nSTATUS=" + strings.Repeat("x", 100_000)))
	d, err := r.Receive()
	if err != nil || !d.Long || len(d.Data) != MaxDatagram {
		t.Fatalf("received %d bytes, long %v, %v", len(d.Data), d.Long, err)
	}
	c.Close()
}

func TestDeadline(t *testing.T) {
	r, s := receiver(t)
	r.SetDeadline(time.Unix(1, 0))
	if _, err := r.Receive(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
	if err := s.Send(t.Context(), Message{Stopping: true}); err != nil {
		t.Fatal(err)
	}
	if d, err := r.Pending(); err != nil || string(d.Data) != "STOPPING=1" {
		t.Fatalf("Pending = %q, %v", d.Data, err)
	}
}

func TestSendToPath(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s, err := NewSender(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Send(t.Context(), Message{Ready: true, Status: text("4 of 4 online")}); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 100)
	c.SetReadDeadline(time.Now().Add(guard))
	n, err := c.Read(b)
	if err != nil || string(b[:n]) != "READY=1\nSTATUS=4 of 4 online" {
		t.Fatalf("%q, %v", b[:n], err)
	}
}

func TestSendWaitsForRoomUntilDone(t *testing.T) {
	_, s := receiver(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("told to stop")
	done := make(chan error)
	go func() { // ends with the cancel: nobody receives
		for {
			if err := s.Send(ctx, Message{Watchdog: WatchdogPing}); err != nil {
				done <- err
				return
			}
		}
	}()
	cancel(why)
	select {
	case err := <-done:
		if !errors.Is(err, why) {
			t.Fatal(err)
		}
	case <-time.After(guard):
		t.Fatal("Send hangs")
	}
}

func TestBarrier(t *testing.T) {
	r, s := receiver(t)
	done := make(chan error, 1)
	go func() { done <- s.Barrier(t.Context()) }() // ends when the receiver has taken it
	d, err := r.Receive()
	if err != nil || string(d.Data) != "BARRIER=1" {
		t.Fatalf("%q, %v", d.Data, err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Barrier(ctx); !errors.Is(err, context.Canceled) {
		t.Fatalf("Barrier = %v", err)
	}
	for { // what the second one left
		if _, err := r.Pending(); err != nil {
			break
		}
	}
}

func TestAddresses(t *testing.T) {
	for _, a := range []string{"", "@", "/", "relative", "vsock:2:1", "@a\x00b", "/" + strings.Repeat("x", maxAddr)} {
		if _, err := NewSender(a); !errors.Is(err, ErrAddress) {
			t.Errorf("NewSender(%q) = %v", a, err)
		}
	}
	s, err := NewSender("@nobody-listens-" + t.Name())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Send(t.Context(), Message{Ready: true}); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("Send to nobody: %v", err)
	}
}
