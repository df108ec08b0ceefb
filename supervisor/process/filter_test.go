package process

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"supervisor/supervisor/process/shim"
)

// notification and response are struct seccomp_notif and seccomp_notif_resp.
type notification struct {
	id    uint64
	pid   uint32
	flags uint32
	nr    int32
	arch  uint32
	ip    uint64
	args  [6]uint64
}

type response struct {
	id    uint64
	value int64
	errno int32
	flags uint32
}

// answer takes n notifications from the filter's descriptor and answers them
// with errno; it gives the numbers of the calls.
func answer(t *testing.T, fd, n int, errno unix.Errno) []int32 {
	var calls []int32
	for range n {
		var note notification
		if _, _, err := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SECCOMP_IOCTL_NOTIF_RECV, uintptr(unsafe.Pointer(&note))); err != 0 {
			t.Errorf("RECV: %v", err)
			return calls
		}
		calls = append(calls, note.nr)
		reply := response{id: note.id, errno: -int32(errno)}
		if _, _, err := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SECCOMP_IOCTL_NOTIF_SEND, uintptr(unsafe.Pointer(&reply))); err != 0 {
			t.Errorf("SEND: %v", err)
			return calls
		}
	}
	return calls
}

// filtered runs f on a thread of its own that has the filter, and gives the
// filter's descriptor. The thread ends with f.
func filtered(t *testing.T, unlink bool, f func()) (fd int, done chan struct{}) {
	t.Helper()
	type result struct {
		fd  int
		err error
	}
	installed, done := make(chan result), make(chan struct{})
	go func() { // ends with f; never unlocked, so the thread ends too
		defer close(done)
		runtime.LockOSThread()
		fd, err := InstallFilter(unlink)
		installed <- result{fd, err}
		if err == nil {
			f()
		}
	}()
	r := <-installed
	if r.err != nil {
		<-done
		t.Skipf("no filter here: %v", r.err)
	}
	t.Cleanup(func() { unix.Close(r.fd) })
	return r.fd, done
}

func TestFilterReportsBindAndListen(t *testing.T) {
	file := filepath.Join(t.TempDir(), "kept")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, unlink := range []bool{false, true} {
		var bind, listen, netlink, remove error
		fd, done := filtered(t, unlink, func() {
			s, _ := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			bind = unix.Bind(s, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})
			listen = unix.Listen(s, 1)
			unix.Close(s)
			n, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
			if err == nil {
				netlink = unix.Bind(n, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
				unix.Close(n)
			}
			remove = unix.Unlinkat(unix.AT_FDCWD, file, 0)
		})
		want := []int32{unix.SYS_BIND, unix.SYS_LISTEN}
		if unlink {
			want = append(want, unix.SYS_UNLINKAT)
		}
		calls := answer(t, fd, len(want), unix.EDOM)
		<-done
		for i := range want {
			if i >= len(calls) || calls[i] != want[i] {
				t.Fatalf("unlink %v: calls reported: %v, want %v", unlink, calls, want)
			}
		}
		if bind != unix.EDOM || listen != unix.EDOM {
			t.Errorf("bind and listen give %v, %v; want the answer's EDOM", bind, listen)
		}
		if netlink != nil {
			t.Errorf("bind of a netlink socket: %v, want it let through", netlink)
		}
		if _, err := os.Stat(file); (err == nil) != unlink {
			t.Errorf("unlink %v: the file afterwards: %v, unlinkat gave %v", unlink, err, remove)
		}
		if !unlink {
			os.WriteFile(file, nil, 0o600)
		}
	}
}

// One thread's filter chain has room for one listener.
func TestFilterUnderAFilter(t *testing.T) {
	var second error
	_, done := filtered(t, false, func() { _, second = InstallFilter(false) })
	<-done
	if !errors.Is(second, unix.EBUSY) {
		t.Errorf("a second filter gives %v, want EBUSY", second)
	}
}

func TestFilterKeepsPrivilegedPrograms(t *testing.T) {
	file := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(file, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := shim.RefusePrivileged(file); err != nil {
		t.Errorf("a plain file: %v", err)
	}
	if err := os.Chmod(file, 0o755|os.ModeSetuid); err != nil {
		t.Fatal(err)
	}
	if err := shim.RefusePrivileged(file); !errors.Is(err, ErrNoNewPrivs) {
		t.Errorf("a setuid file gives %v, want %v", err, ErrNoNewPrivs)
	}
}
