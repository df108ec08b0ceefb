package handover

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The helper is this binary. It must not come as far as the tests, which would run
// all of them.
func init() {
	if IsHeir(os.Args) {
		os.Exit(HeirMain(os.Args))
	}
}

// heard is what a manager hears, and from whom.
type heard struct {
	text string
	pid  int
}

// newManager listens on a NOTIFY_SOCKET like systemd.
func newManager(t *testing.T) (socket string, next func() heard) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	raw, _ := conn.SyscallConn()
	raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PASSCRED, 1) })
	if err != nil {
		t.Fatal(err)
	}
	conn.SetDeadline(time.Now().Add(guard))
	return socket, func() heard {
		t.Helper()
		data, control := make([]byte, 4096), make([]byte, 1024)
		n, m, _, _, err := conn.ReadMsgUnix(data, control)
		if err != nil {
			t.Fatal(err)
		}
		p := accompanying(control[:m])
		p.closeFDs()
		return heard{string(data[:n]), p.pid}
	}
}

func TestTakeMain(t *testing.T) {
	socket, next := newManager(t)
	m := manager{socket}
	var order []heard
	barrier := func(context.Context) error { order = append(order, heard{text: "BARRIER"}); return nil }
	say := func(lines ...string) error {
		err := m.say(lines...)
		order = append(order, next())
		return err
	}
	s := &Successor{parent: 1 << 30}
	ctx, cancel := context.WithTimeout(context.Background(), guard)
	defer cancel()
	if err := s.TakeMain(ctx, socket, say, barrier); err != nil {
		t.Fatal(err)
	}
	order = append(order, next())
	if len(order) != 4 || order[0].pid != os.Getpid() || order[1].text != "BARRIER" || order[2].text != "BARRIER" {
		t.Fatalf("%+v", order)
	}
	helper := order[3].pid
	if order[0].text != fmt.Sprint("MAINPID=", helper) || order[3].text != fmt.Sprint("MAINPID=", os.Getpid()) || helper == os.Getpid() {
		t.Fatalf("%+v", order)
	}
	if err := unix.Kill(helper, 0); err != unix.ESRCH {
		t.Errorf("the helper is there: %v", err)
	}
}

func TestTakeMainFails(t *testing.T) {
	socket, _ := newManager(t)
	nothing := errors.New("nothing")
	say := func(err error, helper *int) func(...string) error {
		return func(lines ...string) error {
			fmt.Sscanf(lines[0], "MAINPID=%d", helper)
			return err
		}
	}
	barrier := func(err error) func(context.Context) error { return func(context.Context) error { return err } }
	helper := 1 << 30
	for _, c := range []struct {
		name    string
		socket  string
		say     func(...string) error
		barrier func(context.Context) error
		lost    bool
		want    string
	}{
		{"no manager", socket + "x", say(nil, &helper), barrier(nil), false, "cannot reach"},
		{"not heard", socket, say(nothing, &helper), barrier(nil), false, "nothing"},
		{"no barrier", socket, say(nil, &helper), barrier(nothing), true, "nothing"},
		{"helper dies", socket, say(nil, &helper), func(context.Context) error { return unix.Kill(helper, unix.SIGKILL) }, true, "the helper ended before it spoke"},
		{"called off", socket, say(nil, &helper), func(context.Context) error { return unix.Kill(helper, unix.SIGSTOP) }, true, "context deadline exceeded"},
	} {
		t.Run(c.name, func(t *testing.T) {
			patience := guard
			if c.name == "called off" {
				patience = 100 * time.Millisecond
			}
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			err := (&Successor{parent: 1 << 30}).TakeMain(ctx, c.socket, c.say, c.barrier)
			if err == nil || !strings.Contains(err.Error(), c.want) || errors.Is(err, ErrMainLost) != c.lost {
				t.Errorf("error %v", err)
			}
			if _, err := unix.Wait4(helper, nil, 0, nil); c.lost != (err == nil) { // for systemd to reap, in earnest
				t.Errorf("waiting for the helper: %v", err)
			}
		})
	}
}
