package container

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"supervisor/testdata/lab"
)

// listening is an engine that wants to hear when the service is ready (podman's
// --sdnotify=container): it has the other end of NOTIFY_SOCKET.
type listening struct {
	t    *testing.T
	conn *net.UnixConn
	dir  string
}

func newListening(t *testing.T) listening {
	t.Helper()
	dir := t.TempDir()
	open(t, dir)
	path := filepath.Join(dir, "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PASSCRED, 1) })
	if err == nil {
		err = os.Chmod(path, 0o666)
	}
	if err != nil {
		t.Fatal(err)
	}
	return listening{t, conn, dir}
}

// bare is an image whose container has the socket.
func (l listening) bare(ecosystem string) (image, func(*world)) {
	i := bare(l.t, ecosystem)
	i.env = append(i.env, "NOTIFY_SOCKET=/run/notify")
	return i, func(w *world) { w.Binds = map[string]string{l.dir: "/run"} }
}

// await returns the next message that has a line, which has to be the first process's:
// systemd-nspawn hears no other.
func (l listening) await(c *container, line string) string {
	l.t.Helper()
	buf, oob := make([]byte, 4096), make([]byte, unix.CmsgSpace(unix.SizeofUcred))
	l.conn.SetReadDeadline(time.Now().Add(lab.Guard))
	for {
		n, oobn, _, _, err := l.conn.ReadMsgUnix(buf, oob)
		if err != nil {
			l.t.Fatalf("no %q was said: %v\n%s", line, err, c.all())
		}
		text := string(buf[:n])
		if !strings.Contains("\n"+text+"\n", "\n"+line+"\n") {
			continue
		}
		messages, err := unix.ParseSocketControlMessage(oob[:oobn])
		if err != nil || len(messages) != 1 {
			l.t.Fatalf("%d control messages: %v", len(messages), err)
		}
		if cred, err := unix.ParseUnixCredentials(&messages[0]); err != nil || int(cred.Pid) != c.cmd.Process.Pid {
			l.t.Errorf("%q was said by pid %+v, not by %d (%v)", text, cred, c.cmd.Process.Pid, err)
		}
		return text
	}
}

// A container of which somebody waits to hear that it is ready is none the worse for it.
func TestAnEngineHearsOfTheService(t *testing.T) {
	t.Parallel()
	l := newListening(t)
	i, socket := l.bare(file(app("tree", "orphan"), app("job", "finish 6", once)))
	c := run(t, i, socket)
	daemon, orphan := 0, 0
	fscan(t, strings.TrimSuffix(strings.Fields(c.await(c.err, ", pid "))[0], ","), &daemon)
	if text := l.await(c, "READY=1"); !strings.Contains(text, "STATUS=2 apps, 2 workers online") || strings.Contains(text, "X_") {
		t.Errorf("said is %q", text)
	}
	fscan(t, c.await(c.err, "orphan is pid "), &orphan)
	job, left := c.pid("job"), c.process(orphan)

	c.kill(daemon, syscall.SIGKILL)
	c.await(c.err, "was killed by SIGKILL; started again as pid ")
	l.await(c, "READY=1")
	if said := c.exec(i, "upgrade"); !strings.Contains(said, "2 workers kept") { // the keeper is replaced, too
		t.Errorf("upgrade: %s", said)
	}
	l.await(c, "READY=1")
	if list := c.exec(i, "list"); !strings.Contains(list, " "+text(job)+" ") {
		t.Errorf("pid %d is not in the list:\n%s", job, list)
	}
	if err := unix.PidfdSendSignal(left, unix.SIGTERM, nil, 0); err != nil {
		t.Fatal(err)
	}
	c.reaped(left)
	c.exec(i, "reload", "tree")
	l.await(c, "RELOADING=1")
	l.await(c, "READY=1")
	c.exec(i, "stop", "tree")
	c.kill(job, syscall.SIGUSR1)
	c.signal(syscall.SIGTERM)
	l.await(c, "STOPPING=1")
	c.ends(0)
}

// The sockets that an engine is activated by get through, to every supervisor in turn.
func TestSocketsOfAnEngineAreServed(t *testing.T) {
	for _, said := range []bool{false, true} {
		t.Run(map[bool]string{false: "by a plain one", true: "by one that listens"}[said], func(t *testing.T) {
			t.Parallel()
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			passed, err := ln.(*net.TCPListener).File()
			if err != nil {
				t.Fatal(err)
			}
			defer passed.Close()
			apps := file(app("web", "serve", "listen: front=tcp://127.0.0.1:9"))
			i, change := bare(t, apps), func(*world) {}
			if said {
				i, change = newListening(t).bare(apps)
			}
			i.env = append(i.env, "LISTEN_PID=1", "LISTEN_FDS=1", "LISTEN_FDNAMES=front")
			c := run(t, i, func(w *world) { change(w); w.Passed = []*os.File{passed} })
			ask := func() string {
				conn, err := net.Dial("tcp", ln.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				conn.SetDeadline(time.Now().Add(lab.Guard))
				text, err := io.ReadAll(conn)
				if err != nil {
					t.Fatalf("%v\n%s", err, c.all())
				}
				return string(text)
			}
			before := ask()
			if want := "web is pid " + text(c.pid("web")) + "\n"; before != want {
				t.Errorf("%q answers, not %q", before, want)
			}
			c.exec(i, "upgrade") // the keeper becomes another program, too
			c.exec(i, "stop", "web")
			daemon := 0
			fscan(t, strings.TrimPrefix(c.exec(i, "ping"), "pid "), &daemon) // nobody but the keeper has it, then
			c.kill(daemon, syscall.SIGKILL)
			c.exec(i, "start", "web")
			if after := ask(); after == before || !strings.HasPrefix(after, "web is pid ") {
				t.Errorf("%q answers, before it was %q", after, before)
			}
			c.signal(syscall.SIGTERM)
			c.ends(0)
		})
	}
}
