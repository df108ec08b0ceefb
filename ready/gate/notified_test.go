package gate

import (
	"net"
	"os"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"supervisor/supervisor/notify"
)

// dial connects to the worker's NOTIFY_SOCKET as a process of its own would.
func dial(t *testing.T, r *rig) *net.UnixConn {
	t.Helper()
	for _, v := range r.child.Env(3) {
		if addr, ok := strings.CutPrefix(v, "NOTIFY_SOCKET="); ok {
			c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: addr, Net: "unixgram"})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { c.Close() })
			return c
		}
	}
	t.Fatal("no NOTIFY_SOCKET")
	return nil
}

func TestNotifications(t *testing.T) {
	r := open(t, Config{Notify: true})
	c := dial(t, r)
	r.Start()
	for _, s := range []string{
		"EXTEND_TIMEOUT_USEC=2000000\nSTATUS=warming up", "STATUS=warming up", "READY=1\nSTATUS=\x1b[31mserving\x07",
		"READY=1", "MAINPID=1", "WATCHDOG=1", "WATCHDOG=trigger", "STOPPING=1",
	} {
		c.Write([]byte(s))
	}
	r.want(ExtendTimeout{7, 2 * time.Second}, Status{7, "warming up"}, Status{7, "[31mserving"}, Ready{7, NotifySocket},
		Watchdog{7, false}, Watchdog{7, true}, Stopping{7})
	if err := r.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.silent()
}

func TestNotifyGarbage(t *testing.T) {
	r := open(t, Config{Notify: true})
	c := dial(t, r)
	r.Start()
	for _, s := range []string{"", "ready", "READY=1\x00\x00STATUS=x", strings.Repeat("x", 50_000), "READY=0", "READY=1"} {
		c.Write([]byte(s))
	}
	r.want(Bad{7, NotifySocket, "not a notification: no VAR=VALUE line in it"},
		Bad{7, NotifySocket, "a message of more than 4096 bytes"}, Ready{7, NotifySocket})
}

func TestForeignProcessIsRefused(t *testing.T) {
	asked := make(chan int32, 10)
	r := open(t, Config{Notify: true, Allow: func(pid int32, uid uint32) bool { asked <- pid; return false }})
	c := dial(t, r)
	r.Start()
	c.Write([]byte("READY=1"))
	c.Write([]byte("STATUS=I am it"))
	f := r.next()
	if b, ok := f.(Bad); !ok || !strings.Contains(b.Why, "does not belong to the worker") {
		t.Fatalf("%#v", f)
	}
	for range 2 {
		if pid := <-asked; int(pid) != os.Getpid() {
			t.Fatalf("asked for %d", pid)
		}
	}
	if err := r.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.silent()
}

func TestNotifyFlood(t *testing.T) {
	r := open(t, Config{Notify: true})
	c := dial(t, r)
	r.Start()
	for range 4 * datagramsPerWindow { // blocks while the reader pauses, and ends
		if _, err := c.Write([]byte("STATUS=the same\nX=y")); err != nil {
			t.Fatal(err)
		}
	}
	c.Write([]byte("READY=1"))
	r.want(Status{7, "the same"}, Ready{7, NotifySocket})
}

// TestBarrier: a short-lived sender waits until it has been judged and heard.
func TestBarrier(t *testing.T) {
	r := open(t, Config{Notify: true})
	s, err := notify.NewSender(r.Gates.said.socket.Addr())
	if err != nil {
		t.Fatal(err)
	}
	r.Start()
	if err := s.Send(t.Context(), notify.Message{Ready: true}); err != nil {
		t.Fatal(err)
	}
	if err := s.Barrier(t.Context()); err != nil {
		t.Fatal(err)
	}
	select {
	case f := <-r.said:
		if f != (Ready{7, NotifySocket}) {
			t.Fatal(f)
		}
	default:
		t.Fatal("the barrier was lifted before the message was heard")
	}
}

const pythonNotify = `
import os, socket
addr = os.environ["NOTIFY_SOCKET"]
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
s.connect("\0" + addr[1:] if addr[0] == "@" else addr)
s.sendall(b"STATUS=loading the model")
r, w = os.pipe()
socket.send_fds(s, [b"FDSTORE=1\nFDNAME=x"], [w] * 5)
s.sendall(b"READY=1\n")
`

func TestPython(t *testing.T) {
	r := open(t, Config{FD: true, Notify: true, Node: true})
	r.spawn(nil, "python3", "-c", pythonNotify)
	r.want(Status{7, "loading the model"}, Ready{7, NotifySocket})
	if ws := r.wait(); ws.ExitStatus() != 0 {
		t.Fatal(ws)
	}
	if err := r.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.silent()
}

func TestSystemdNotify(t *testing.T) {
	r := open(t, Config{Notify: true})
	r.spawn(nil, "sh", "-c", "systemd-notify --status='from a shell' --ready && read x")
	r.want(Status{7, "from a shell"}, Ready{7, NotifySocket})
}

func TestPythonReadyFD(t *testing.T) {
	r := open(t, Config{FD: true})
	r.spawn(nil, "python3", "-c", "import os; os.write(int(os.environ['READY_FD']), b'ready\\n')")
	r.want(Ready{7, ReadyFD})
}

func FuzzCleanStatus(f *testing.F) {
	f.Add("ok")
	f.Add("\x1b]0;title\x07 \u202e\xff" + strings.Repeat("ä", MaxStatus))
	f.Fuzz(func(t *testing.T, s string) {
		c := cleanStatus(s)
		if len(c) > MaxStatus || !utf8.ValidString(c) || strings.ContainsAny(c, "\x1b\n\r\u202e\u2028\x7f") {
			t.Fatalf("cleanStatus(%q) = %q", s, c)
		}
		if cleanStatus(c) != c {
			t.Fatalf("cleanStatus(%q) = %q is not clean", s, c)
		}
	})
}
