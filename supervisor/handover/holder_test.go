package handover

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"supervisor/supervisor/notify"
)

// fakeSystemd is the other end of NOTIFY_SOCKET as systemd 252 is: names repeated are
// kept beside each other, a removal takes all of a name.
type fakeSystemd struct {
	t      *testing.T
	socket *notifySocket
	texts  []string
	names  []string
}

func newFakeSystemd(t *testing.T, path string) *fakeSystemd {
	t.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PASSCRED, 1)
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		t.Fatal(err)
	}
	s := &fakeSystemd{t: t, socket: &notifySocket{fd: fd, buf: make([]byte, 4096), oob: make([]byte, unix.CmsgSpace(unix.SizeofUcred)+unix.CmsgSpace(4*maxRights))}}
	t.Cleanup(func() { unix.Close(fd) })
	return s
}

// hear takes what was sent.
func (s *fakeSystemd) hear() {
	for {
		p, ok := s.socket.next()
		if !ok {
			return
		}
		m, err := notify.Parse(p.text)
		if err != nil {
			s.t.Fatal(err)
		}
		if p.pid != os.Getpid() {
			s.t.Errorf("sent by pid %d", p.pid)
		}
		s.texts = append(s.texts, string(p.text))
		switch {
		case m.FDStoreRemove:
			s.names = slices.DeleteFunc(s.names, func(name string) bool { return name == m.FDName })
		case m.FDStore:
			for range p.fds {
				s.names = append(s.names, m.FDName)
			}
		}
		for _, fd := range p.fds {
			unix.Close(fd)
		}
	}
}

// untaken are the inherited descriptors that nobody has taken, sorted.
func untaken(h *Holder) []string { return slices.Sorted(maps.Keys(h.inherited)) }

func null(t *testing.T) int {
	t.Helper()
	fd, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

func TestTheHolderSpeaksToSystemd(t *testing.T) {
	for _, path := range []string{filepath.Join(t.TempDir(), "notify"), fmt.Sprintf("@fake-systemd-%d", os.Getpid())} {
		s := newFakeSystemd(t, path)
		a, b := null(t), null(t)
		h, err := NewHolder(path, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, err := range []error{
			h.Push("ctl", a), h.Push("w1.o", b), h.Push("ctl", b), h.Remove("w1.o"), h.Say("READY=1", "STATUS=4 of 4 online"),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		s.hear()
		want := []string{
			"FDSTORE=1\nFDPOLL=0\nFDNAME=ctl", "FDSTORE=1\nFDPOLL=0\nFDNAME=w1.o",
			"FDSTOREREMOVE=1\nFDNAME=ctl\nX_REPLACING=1", "FDSTORE=1\nFDPOLL=0\nFDNAME=ctl",
			"FDSTOREREMOVE=1\nFDNAME=w1.o", "READY=1\nSTATUS=4 of 4 online",
		}
		if !slices.Equal(s.texts, want) {
			t.Errorf("heard %q, want %q", s.texts, want)
		}
		if !slices.Equal(s.names, []string{"ctl"}) {
			t.Errorf("systemd holds %q", s.names)
		}
		if held := h.Held(); len(held) != 1 || held["ctl"] != b {
			t.Errorf("held %v, want ctl:%d", held, b)
		}
	}
}

func TestABarrierWaits(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	s := newFakeSystemd(t, path)
	h, err := NewHolder(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := h.Barrier(ctx); !errors.Is(err, context.Canceled) {
		t.Fatalf("nobody has heard it: %v", err)
	}
	var over [2]int
	if err := unix.Pipe2(over[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(over[0])
	done := make(chan error, 1)
	go func() { // ends when it is heard
		done <- h.Barrier(t.Context())
		unix.Close(over[1])
	}()
	for heard := false; !heard; { // the cancelled one may have been said, or not
		ready := []unix.PollFd{{Fd: int32(s.socket.fd), Events: unix.POLLIN}, {Fd: int32(over[0])}}
		unix.Poll(ready, -1)
		s.hear()
		heard = ready[1].Revents != 0
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if s.texts[len(s.texts)-1] != "BARRIER=1" {
		t.Errorf("heard %q", s.texts)
	}
}

func TestTheBookOfWhatIsHeld(t *testing.T) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(p[1])
	a := null(t)
	h, err := NewHolder("", map[string]int{"ctl": a, "stray": p[0]})
	if err != nil {
		t.Fatal(err)
	}
	if fd, ok := h.Take("ctl"); !ok || fd != a {
		t.Fatalf("Take: %d, %v", fd, ok)
	}
	if _, ok := h.Take("ctl"); ok {
		t.Error("taken twice")
	}
	if got := untaken(h); !slices.Equal(got, []string{"stray"}) {
		t.Errorf("left: %q", got)
	}
	h.Limit(3)
	if err := h.Push("l0", a); err != nil {
		t.Error(err)
	}
	if err := h.Push("l1", a); err == nil || !strings.Contains(err.Error(), "3 descriptors") {
		t.Errorf("over the limit: %v", err)
	}
	if err := h.Push("l0", a); err != nil {
		t.Errorf("the same name again: %v", err)
	}
	for _, name := range []string{"", "a:b", "a\nb", "ä", strings.Repeat("x", 256)} {
		if err := h.Push(name, a); err == nil {
			t.Errorf("%q is a name", name)
		}
		if err := h.Remove(name); err == nil {
			t.Errorf("%q was removed", name)
		}
	}
	if got := h.Sweep(); !slices.Equal(got, []string{"stray"}) {
		t.Errorf("swept %q", got)
	}
	if _, err := unix.Write(p[1], []byte{1}); err != unix.EPIPE {
		t.Errorf("the stray is open: %v", err)
	}
	if got := h.Held(); len(got) != 2 || got["ctl"] != a || got["l0"] != a {
		t.Errorf("held %v", got)
	}
	if err := h.Say("no assignment"); err != nil {
		t.Errorf("nobody is there to mind: %v", err)
	}
	if _, err := NewHolder("relative", nil); !errors.Is(err, notify.ErrAddress) {
		t.Errorf("an address that is none: %v", err)
	}
}

// The names go to the next daemon in one string of its environment, which has a limit.
func TestTheNamesFitTheNextEnvironment(t *testing.T) {
	a := null(t)
	long := func(i int) string { return strconv.Itoa(i) + strings.Repeat("x", 200) }
	h, err := NewHolder("", map[string]int{long(0): null(t)})
	if err != nil {
		t.Fatal(err)
	}
	n := 1
	for ; err == nil && n < maxNames; n++ {
		err = h.Push(long(n), a)
	}
	if err == nil || !strings.Contains(err.Error(), "names") || len(h.Held()) != n-2 {
		t.Fatalf("held %d of %d: %v", len(h.Held()), n, err)
	}
	size := len(strings.Join(append(slices.Collect(maps.Keys(h.Held())), long(0)), ":"))
	if size > maxNames || size+2*len(long(n)) < maxNames {
		t.Errorf("%d names have %d bytes", n, size)
	}
	if err := h.Push(long(1), a); err != nil {
		t.Errorf("one that is there: %v", err)
	}
	h.Take(long(0))
	for i := range 3 { // room for three, once
		h.Remove(long(i))
		h.Remove(long(i))
	}
	for i := range 4 {
		if err := h.Push(long(n+i), a); (err == nil) != (i < 3) {
			t.Errorf("after 3 removals, push %d: %v", i, err)
		}
	}
}

func TestAPushOverWhatNobodyHasTaken(t *testing.T) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(p[1])
	h, _ := NewHolder("", map[string]int{ExeName: p[0]})
	a := null(t)
	if err := h.Push(ExeName, a); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.Write(p[1], []byte{1}); err != unix.EPIPE {
		t.Errorf("the inherited one is open: %v", err)
	}
	if got := h.Held(); len(untaken(h)) != 0 || got[ExeName] != a {
		t.Errorf("held %v, left %v", got, untaken(h))
	}
}

// TestAHolderThatIsAway is what a daemon does between two keepers.
func TestAHolderThatIsAway(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	h, err := NewHolder(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	a := null(t)
	if err := errors.Join(h.Push("ctl", a), h.Push("gone", a), h.Remove("gone")); err != nil {
		t.Fatal(err)
	}
	if err := h.Say("READY=1"); err == nil {
		t.Error("nobody has heard it")
	}
	if n := len(h.unsent); n != 2 {
		t.Errorf("%d unsent", n)
	}
	s := newFakeSystemd(t, path)
	if err := h.Resend(); err != nil {
		t.Fatal(err)
	}
	s.hear()
	if want := []string{"FDSTORE=1\nFDPOLL=0\nFDNAME=ctl", "FDSTOREREMOVE=1\nFDNAME=gone"}; !slices.Equal(s.texts, want) {
		t.Errorf("heard %q", s.texts)
	}
	if n := len(h.unsent); n != 0 {
		t.Errorf("%d unsent", n)
	}
}

func TestAHolderThatDoesNotListenIsAnError(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	newFakeSystemd(t, path)
	h, _ := NewHolder(path, nil)
	a := null(t)
	begun := time.Now()
	var err error
	n := 0
	for ; err == nil && n < 100_000; n++ { // its queue is max_dgram_qlen long
		err = h.Push(fmt.Sprint("w", n, ".o"), a)
	}
	if !errors.Is(err, errBusy) || time.Since(begun) < sendTimeout {
		t.Fatalf("after %d messages and %v: %v", n, time.Since(begun), err)
	}
	if got := len(h.Held()); got != n-1 {
		t.Errorf("held %d of %d", got, n)
	}
}

// hearOut takes what is sent until its senders are through.
func (s *fakeSystemd) hearOut(senders *sync.WaitGroup) {
	done := make(chan struct{})
	go func() { // ends with the senders
		senders.Wait()
		close(done)
	}()
	for alive := true; alive; {
		select {
		case <-done:
			alive = false
		default:
			unix.Poll([]unix.PollFd{{Fd: int32(s.socket.fd), Events: unix.POLLIN}}, 10)
		}
		s.hear()
	}
}

// A new keeper is told of what the old one missed while the work goes on: what is let go
// meanwhile is not stored again.
func TestAResendBesideRemovals(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	h, _ := NewHolder(path, nil)
	a := null(t)
	const rounds, names = 50, 20
	for i := range rounds {
		os.Remove(path)
		for j := range names { // to nobody
			if err := h.Push(fmt.Sprintf("w%d.%d", i, j), a); err != nil {
				t.Fatal(err)
			}
		}
		s := newFakeSystemd(t, path)
		var all sync.WaitGroup
		all.Go(func() {
			if err := h.Resend(); err != nil {
				t.Error(err)
			}
		})
		all.Go(func() {
			for j := range names {
				if err := h.Remove(fmt.Sprintf("w%d.%d", i, j)); err != nil {
					t.Error(err)
				}
			}
		})
		s.hearOut(&all)
		if len(s.names) > 0 {
			t.Fatalf("round %d: holds %q, and nobody has it any more", i, s.names)
		}
	}
}

func TestManyMayUseAHolder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	s := newFakeSystemd(t, path)
	h, _ := NewHolder(path, nil)
	a := null(t)
	var all sync.WaitGroup
	const users, each = 8, 50
	for i := range users {
		all.Go(func() {
			for j := range each {
				if err := h.Push(fmt.Sprintf("w%d.%d", i, j), a); err != nil {
					t.Error(err)
				}
			}
		})
	}
	s.hearOut(&all)
	if len(s.names) != users*each || len(h.Held()) != users*each {
		t.Errorf("holds %d, held %d, want %d", len(s.names), len(h.Held()), users*each)
	}
}
