package listener_test

import (
	"errors"
	"fmt"
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

func tcp(format string, args ...any) listener.Declared {
	return listener.Declared{Network: "tcp", Address: fmt.Sprintf(format, args...)}
}

func TestOpen(t *testing.T) {
	r := newRig(t)
	p, q := freePort(t), freePort(t)
	path := filepath.Join(t.TempDir(), "s")
	list := []listener.Declared{tcp("127.0.0.1:%d", p), tcp("[::1]:%d", q), {Network: "unix", Address: path, Name: "u"}}
	if err := r.Open("web", list); err != nil {
		t.Fatal(err)
	}
	before := r.Sockets("web")
	files := r.files("web", list)
	wanted := []string{fmt.Sprintf("tcp://127.0.0.1:%d", p), fmt.Sprintf("tcp://[::1]:%d", q), "unix:" + path}
	for i, addr := range wanted {
		if files[i].Addr != addr || before[i].Addr != addr || !before[i].Declared || !before[i].Listening {
			t.Errorf("%d: %+v, %+v, not %s", i, files[i], before[i], addr)
		}
		if flags, err := unix.FcntlInt(uintptr(files[i].FD), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
			t.Errorf("%s is not close-on-exec: %v", addr, err)
		}
	}
	if files[2].Name != "u" {
		t.Errorf("name %q", files[2].Name)
	}
	// Again, in another order, with one more: the others stay as they are.
	more := tcp("127.0.0.1:%d", freePort(t))
	if err := r.Open("web", []listener.Declared{more, list[2], list[0]}); err != nil {
		t.Fatal(err)
	}
	after := r.Sockets("web")
	if len(after) != 4 || after[0].Inode != before[0].Inode {
		t.Errorf("%+v, before %+v", after, before)
	}
	if files := r.files("web", []listener.Declared{more, list[2], list[0]}); files[1].Addr != wanted[2] {
		t.Errorf("%+v", files)
	}
	// What was declared before is still there, for the workers of that generation.
	for i, f := range r.files("web", list) {
		if f.Addr != wanted[i] || f.Name != list[i].Name {
			t.Errorf("%d: %+v, not %s", i, f, wanted[i])
		}
	}
	r.Retain("web", []listener.Declared{more}, nil)
	if _, err := r.Files(listener.Worker{ID: 99, App: "web"}, list); err == nil || !strings.Contains(err.Error(), "is not held") {
		t.Errorf("sockets that are not held: %v", err)
	}
	if left := r.Sockets("web"); len(left) != 1 || left[0].Addr != "tcp://"+more.Address {
		t.Errorf("%+v", left)
	}
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("the path is still there: %v", err)
	}
	r.Release("web")
	if _, err := net.Dial("tcp", more.Address); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("released: %v", err)
	}
}

func TestOpenFails(t *testing.T) {
	r := newRig(t)
	dir := t.TempDir()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	live, err := net.Listen("unix", filepath.Join(dir, "live"))
	if err != nil {
		t.Fatal(err)
	}
	defer live.Close()
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	other := tcp("127.0.0.1:%d", freePort(t))
	if err := r.Open("other", []listener.Declared{other}); err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(other.Address)
	self := "pid " + strconv.Itoa(os.Getpid())
	for _, c := range []struct {
		d    listener.Declared
		want string
	}{
		{listener.Declared{Network: "tcp", Address: taken.Addr().String()}, self},
		{tcp("0.0.0.0:%d", taken.Addr().(*net.TCPAddr).Port), self},
		{other, "app other has it"},
		{tcp("0.0.0.0:%s", port), "app other has it"},
		{tcp("example.org:80"), "not an IP address"},
		{tcp("127.0.0.1:0"), "not a port"},
		{tcp("127.0.0.1:65536"), "not a port"},
		{tcp("127.0.0.1"), "no port"},
		{tcp("::1:80"), "brackets"},
		{tcp("192.0.2.1:%d", freePort(t)), "cannot assign"},
		{listener.Declared{Network: "udp", Address: "127.0.0.1:80"}, "not tcp or unix"},
		{listener.Declared{Network: "unix", Address: "s"}, "not an absolute path"},
		{listener.Declared{Network: "unix", Address: "/" + strings.Repeat("x", 107)}, "longer than"},
		{listener.Declared{Network: "unix", Address: filepath.Join(dir, "live")}, self},
		{listener.Declared{Network: "unix", Address: filepath.Join(dir, "file")}, "no socket"},
		{listener.Declared{Network: "unix", Address: filepath.Join(dir, "no", "s")}, "no such file"},
	} {
		first := tcp("127.0.0.1:%d", freePort(t))
		err := r.Open("web", []listener.Declared{first, c.d})
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), c.d.Address) {
			t.Errorf("%s: %v, wanted %q", c.d.Address, err, c.want)
		}
		if held := r.Sockets("web"); len(held) != 0 {
			t.Errorf("%s: held %+v", c.d.Address, held)
		}
	}
	if err := r.Open("web", []listener.Declared{other, other}); err == nil {
		t.Error("declared twice")
	}
}

func TestStaleUnixSocket(t *testing.T) {
	r := newRig(t)
	path := filepath.Join(t.TempDir(), "s")
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	dead.Close()
	if err := r.Open("web", []listener.Declared{{Network: "unix", Address: path}}); err != nil {
		t.Fatal(err)
	}
	r.Release("web")
}

// [::] serves both families, unless 0.0.0.0 is declared beside it.
func TestWildcards(t *testing.T) {
	r := newRig(t)
	p, q := freePort(t), freePort(t)
	if err := r.Open("one", []listener.Declared{tcp(":%d", p)}); err != nil {
		t.Fatal(err)
	}
	if err := r.Open("two", []listener.Declared{tcp("[::]:%d", q), tcp("0.0.0.0:%d", q)}); err != nil {
		t.Fatal(err)
	}
	for _, addr := range []string{"127.0.0.1", "::1"} {
		for _, port := range []int{p, q} {
			c, err := net.Dial("tcp", net.JoinHostPort(addr, strconv.Itoa(port)))
			if err != nil {
				t.Error(err)
				continue
			}
			c.Close()
		}
	}
}

// A worker that binds a declared address gets it, also one that it covers.
func TestDeclaredIsGivenAtBind(t *testing.T) {
	parallel(t)
	for _, declared := range []string{"127.0.0.1", "0.0.0.0", "[::]", ""} {
		t.Run(declared, func(t *testing.T) {
			parallel(t)
			r := newRig(t)
			port := freePort(t)
			if err := r.Open("web", []listener.Declared{tcp("%s:%d", declared, port)}); err != nil {
				t.Fatal(err)
			}
			addr := fmt.Sprintf("127.0.0.1:%d", port)
			w := r.start(spec{app: "web", role: "serve", env: []string{"ADDR=" + addr}})
			r.listening(w)
			if held := r.Sockets("web"); len(held) != 1 || len(held[0].Workers) != 1 {
				t.Errorf("%+v", held)
			}
			if _, err := get("tcp", addr); err != nil {
				t.Error(err)
			}
			w.stop(syscall.SIGINT)
		})
	}
}

// Programs unlink a declared path before bind and at the end; nobody notices.
func TestDeclaredUnixIsReplaced(t *testing.T) {
	parallel(t)
	for _, c := range []struct {
		name string
		spec func(path string) spec
	}{
		{"go", func(path string) spec { return spec{role: "serve", env: []string{"ADDR=" + path}} }},
		{"python", func(path string) spec {
			return spec{args: []string{has(t, "python3"), "testdata/unix_server.py", path, "027"}}
		}},
		{"node", func(path string) spec {
			return spec{args: []string{has(t, "node"), "testdata/server.js"}, env: []string{"SOCKET=" + path}}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			parallel(t)
			r := newRig(t)
			path := filepath.Join(t.TempDir(), "s")
			declared := []listener.Declared{{Network: "unix", Address: path}}
			if err := r.Open("web", declared); err != nil {
				t.Fatal(err)
			}
			s := c.spec(path)
			s.app, s.unlink = "web", true
			w := r.start(s)
			r.listening(w)
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			if c.name == "python" && info.Mode().Perm() != 0o750 {
				t.Errorf("mode %v with umask 027", info.Mode())
			}
			l := startLoad(t, "unix", path, 4)
			for range 3 {
				next := r.start(s)
				r.listening(next)
				w.stop(syscall.SIGINT)
				w = next
			}
			l.finish()
			r.Retain("web", declared, []uint64{w.id})
			w.stop(syscall.SIGKILL) // as in rolling
			r.Release("web")
			if _, err := os.Lstat(path); !os.IsNotExist(err) {
				t.Errorf("the path is still there: %v", err)
			}
		})
	}
}

// Undeclared paths: shared if nobody unlinks, the newest wins if somebody does.
func TestUndeclaredUnix(t *testing.T) {
	parallel(t)
	r := newRig(t)
	path := filepath.Join(t.TempDir(), "s")
	s := spec{app: "web", role: "serve", env: []string{"ADDR=" + path}}
	one, two := r.start(s), (*worker)(nil)
	r.listening(one)
	two = r.start(s)
	r.listening(two)
	if held := r.Sockets("web"); len(held) != 1 || len(held[0].Workers) != 2 {
		t.Fatalf("%+v", held)
	}
	three := r.start(spec{app: "web", args: []string{has(t, "python3"), "testdata/unix_server.py", path}})
	r.listening(three)
	held := r.Sockets("web")
	if len(held) != 1 || len(held[0].Workers) != 1 || held[0].Workers[0] != three.id {
		t.Errorf("%+v", held)
	}
	pid, err := get("unix", path)
	if err != nil || pid != strconv.Itoa(three.cmd.Process.Pid) {
		t.Errorf("%q %v", pid, err)
	}
	for _, w := range []*worker{one, two, three} {
		w.stop(syscall.SIGKILL)
	}
	r.Release("web")
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("the path is still there: %v", err)
	}
}

// files are those of a declaration that is held.
func (r *rig) files(app string, list []listener.Declared) []listener.File {
	r.t.Helper()
	files, err := r.Files(listener.Worker{ID: 100, App: app}, list)
	if err != nil || len(files) != len(list) {
		r.t.Fatalf("%+v: %v", files, err)
	}
	return files
}
