package listener_test

import (
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"supervisor/supervisor/listener"
)

// Where we may not look into a worker (Yama, another user), its calls are its own,
// that is said once and by name, and what is held stays as it is.
func TestBlind(t *testing.T) {
	parallel(t)
	for _, c := range []struct {
		name   string
		errno  unix.Errno
		what   []string
		reason string // "": nothing has to be said
		alone  bool   // the worker gets no share of what is held
	}{
		{"yama", unix.EPERM, []string{"take", "/mem"}, "memory", true},
		{"everything", unix.EACCES, []string{"take", "/mem", "/fd", "/fdinfo", "/ns", "/root"}, "memory", true},
		{"memory", unix.EACCES, []string{"/mem"}, "memory", true},
		{"namespace", unix.EACCES, []string{"/ns"}, "namespace", true},
		{"flags", unix.EACCES, []string{"/fdinfo"}, "flags", false},
		{"descriptors", unix.EACCES, []string{"/fd"}, "", false},
		{"taking and descriptors", unix.EPERM, []string{"take", "/fd"}, "pidfd_getfd", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			parallel(t)
			r := newRig(t)
			on := r.Blind(c.errno, c.what...)
			port, free := freePort(t), freePort(t)
			addr := fmt.Sprintf("127.0.0.1:%d", port)
			one := r.start(goServer(addr))
			r.listening(one)
			before := r.Sockets("web")
			on.Store(true)
			if two := r.start(rawServer(addr)); c.alone {
				two.says("address already in use") // the kernel's answer
				two.wait()
			} else {
				r.listening(two)
				two.stop(syscall.SIGINT)
			}
			// An address of its own is the worker's alone, or held.
			three := r.start(spec{app: "web", role: "rebind", env: []string{"PORT=" + strconv.Itoa(free)}})
			three.says("once")
			if c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", free)); err != nil {
				t.Error(err)
			} else {
				c.Close()
			}
			three.stop(syscall.SIGKILL)
			held := r.Sockets("web")
			if len(held) == 0 || held[0].Inode != before[0].Inode || !held[0].Listening || len(held) > 1 && c.alone {
				t.Errorf("held %+v, before %+v", held, before)
			}
			if _, err := get("tcp", addr); err != nil {
				t.Error(err)
			}
			r.wantSaid(c.reason)
			one.stop(syscall.SIGINT)
		})
	}
}

// wantSaid checks that a reason was told once, with what can be done about it.
func (r *rig) wantSaid(reason string) {
	r.t.Helper()
	said := map[string]int{}
	for _, f := range r.all() {
		if f, ok := f.(listener.Unavailable); ok {
			said[f.Reason]++
			if f.App != "web" || !strings.Contains(f.Remedy, "CAP_SYS_PTRACE") {
				r.t.Errorf("%+v", f)
			}
		}
	}
	found := reason == ""
	for text, n := range said {
		found = found || strings.Contains(text, reason)
		if n > 1 || reason == "" {
			r.t.Errorf("%d times: %s", n, text)
		}
	}
	if !found {
		r.t.Errorf("%q is not said: %v", reason, said)
	}
}

// What can't be seen to be open is not taken for closed.
func TestBlindKeepsWhatIsOpen(t *testing.T) {
	parallel(t)
	r := newRig(t)
	on := r.Blind(unix.EACCES, "/fd")
	w := r.start(spec{app: "web", role: "rebind", env: []string{"PORT=" + strconv.Itoa(freePort(t))}})
	w.says("once")
	before := r.Sockets("web")
	on.Store(true)
	w.cmd.Process.Signal(syscall.SIGUSR1)
	w.says("twice")
	if held := r.Sockets("web"); len(held) != 1 || held[0].Inode != before[0].Inode {
		t.Errorf("held %+v, before %+v", held, before)
	}
	w.stop(syscall.SIGKILL)
}

// A sibling's candidate that can't be taken is not forgotten: it is not known to be
// closed.
func TestBlindKeepsCandidates(t *testing.T) {
	parallel(t)
	r := newRig(t)
	on := r.Blind(unix.EPERM, "take")
	port := freePort(t)
	one := r.start(spec{app: "web", role: "late-listen", env: []string{"PORT=" + strconv.Itoa(port)}})
	one.says("bound")
	on.Store(true)
	two := r.start(spec{app: "web", role: "late-listen", env: []string{"PORT=" + strconv.Itoa(port)}})
	two.says("address already in use")
	on.Store(false)
	one.cmd.Process.Signal(syscall.SIGUSR1)
	r.listening(one)
	r.wantSaid("another worker")
	one.stop(syscall.SIGKILL)
	two.wait()
}

// The path of an unlink that can't be read is the worker's own business.
func TestBlindUnlink(t *testing.T) {
	parallel(t)
	r := newRig(t)
	on := r.Blind(unix.EACCES, "/root")
	path := filepath.Join(t.TempDir(), "s")
	if err := r.Open("web", []listener.Declared{{Network: "unix", Address: path}}); err != nil {
		t.Fatal(err)
	}
	on.Store(true)
	w := r.start(spec{app: "web", unlink: true, role: "serve", env: []string{"ADDR=" + path}})
	w.says("address already in use")
	w.wait()
	if held := r.Sockets("web"); len(held) != 1 || !held[0].Listening {
		t.Errorf("%+v", held)
	}
	r.wantSaid("folder")
	r.Release("web")
}
