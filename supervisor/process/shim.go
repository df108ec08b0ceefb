package process

import (
	"errors"
	"fmt"
	"math"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"supervisor/signals"
)

// ShimExit is the exit code of a shim that executed nothing: the daemon went
// away or said no, or a stage failed (125 as in env(1) and docker).
const ShimExit = 125

// IsShim tells whether a process with these arguments (os.Args) was started as
// the exec shim. main asks before it does anything else.
func IsShim(args []string) bool {
	return len(args) > 0 && args[0] == shimName
}

// ShimMain is the whole of a process that Start has forked: it prepares
// itself, reports, waits for the go byte and becomes the worker. It never
// returns.
//
// Everything happens on one locked thread, since filter, credentials, nice
// value and signal mask are a thread's, and execve makes the calling thread
// the whole process. The order is: signals, process group, limits, nice,
// umask, filter; hello; go; the strangling limits, groups, group, user,
// working directory, LISTEN_PID, exec.
func ShimMain() {
	runtime.LockOSThread()
	// argv: name, order, path, the worker's argv...
	if len(os.Args) < 4 {
		fmt.Fprintln(os.Stderr, "cannot run as exec shim: it is started by the supervisor alone")
		os.Exit(ShimExit)
	}
	o, err := decodeOrder(os.Args[1])
	if err != nil {
		fmt.Fprintf(os.Stderr, "cannot run as exec shim: %v\n", err)
		os.Exit(ShimExit)
	}
	closeRest(o.sock)
	path, argv, env := os.Args[2], os.Args[3:], unveilEnv(os.Environ())

	if f := o.prepare(); f != nil {
		o.fail(f)
	}
	o.greet(path)
	if !o.awaitGo() {
		os.Exit(ShimExit)
	}
	if f := o.become(); f != nil {
		o.fail(f)
	}
	if o.listenPID {
		env = setVariable(env, "LISTEN_PID", strconv.Itoa(os.Getpid()))
	}
	// syscall.Exec gives back the soft limit of descriptors that Go's runtime
	// has raised for itself, unless setLimit has set one.
	err = syscall.Exec(path, argv, env)
	o.fail(&failure{stage: StageExec, errno: errnoOf(err)})
}

// closeRest makes the socket close-on-exec, and with it every descriptor above
// the worker's own: what the supervisor itself has inherited from a careless
// parent, or Go's runtime has opened, is not for the worker. Before Linux 5.11
// only the socket.
func closeRest(sock int) {
	if err := unix.CloseRange(uint(sock), math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		unix.CloseOnExec(sock)
	}
}

// prepare does what needs no word from the daemon.
func (o *order) prepare() *failure {
	if err := signals.ResetForExec(); err != nil {
		return &failure{stage: StageSignals, errno: errnoOf(err)}
	}
	if err := unix.Setpgid(0, 0); err != nil {
		return &failure{stage: StageSetpgid, errno: errnoOf(err)}
	}
	if f := o.setLimits(false); f != nil {
		return f
	}
	if o.setNice {
		if err := unix.Setpriority(unix.PRIO_PROCESS, 0, o.nice); err != nil {
			return &failure{stage: StageNice, errno: errnoOf(err), extra: o.nice}
		}
	}
	if o.umask >= 0 {
		unix.Umask(o.umask)
	}
	return nil
}

// setLimits sets the limits that strangle a Go program, or the others. Those
// that do (address space, threads, descriptors) come as late as they can and
// still with the supervisor's privilege: the runtime needs memory, perhaps a
// thread, and the filter's descriptor.
func (o *order) setLimits(strangling bool) *failure {
	for _, l := range o.limits {
		switch l.Resource {
		case unix.RLIMIT_AS, unix.RLIMIT_DATA, unix.RLIMIT_NPROC, unix.RLIMIT_NOFILE:
			if !strangling {
				continue
			}
		default:
			if strangling {
				continue
			}
		}
		// syscall's, not unix's: it tells syscall.Exec to leave NOFILE alone.
		if err := syscall.Setrlimit(l.Resource, &syscall.Rlimit{Cur: l.Soft, Max: l.Hard}); err != nil {
			return &failure{stage: StageRlimit, errno: errnoOf(err), extra: l.Resource}
		}
	}
	return nil
}

// greet installs the filter, if one is asked for, and says hello with its
// descriptor. A shim that can't be heard has nobody to work for.
func (o *order) greet(path string) {
	notify, h := -1, hello{filter: filterNotAsked}
	if o.filter != FilterNone {
		fd, err := installFilter(o.filter == FilterUnlink, func() error { return refusePrivileged(path) })
		switch {
		case err == nil:
			notify, h.filter = fd, filterInstalled
		case errors.Is(err, ErrNoNewPrivs):
			h.filter = filterPrivileged
		default:
			h.filter, h.errno = filterFailed, errnoOf(err)
		}
	}
	var rights []byte
	if notify >= 0 {
		rights = unix.UnixRights(notify)
	}
	if !o.send(h.encode(), rights) {
		os.Exit(ShimExit)
	}
	if notify >= 0 {
		unix.Close(notify)
	}
}

// awaitGo waits for the go byte; false is the daemon's end or its no.
func (o *order) awaitGo() bool {
	var b [1]byte
	for {
		n, err := unix.Read(o.sock, b[:])
		if err == unix.EINTR {
			continue
		}
		return err == nil && n == 1 && b[0] == messageGo
	}
}

// become takes on the worker's identity. The calls are raw ones, for this
// thread: it is the one that survives execve.
func (o *order) become() *failure {
	if f := o.setLimits(true); f != nil {
		return f
	}
	if c := o.credential; c != nil {
		if c.Groups != nil {
			groups := make([]uint32, len(c.Groups)+1) // one more: &groups[0] exists
			for i, g := range c.Groups {
				groups[i] = uint32(g)
			}
			if _, _, e := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(c.Groups)), uintptr(unsafe.Pointer(&groups[0])), 0); e != 0 {
				return &failure{stage: StageSetgroups, errno: e}
			}
		}
		if g := uintptr(c.GID); c.GID >= 0 {
			if _, _, e := unix.RawSyscall(unix.SYS_SETRESGID, g, g, g); e != 0 {
				return &failure{stage: StageSetgid, errno: e}
			}
		}
		if u := uintptr(c.UID); c.UID >= 0 {
			if _, _, e := unix.RawSyscall(unix.SYS_SETRESUID, u, u, u); e != 0 {
				return &failure{stage: StageSetuid, errno: e}
			}
		}
	}
	if o.dir != "" {
		if err := unix.Chdir(o.dir); err != nil {
			return &failure{stage: StageChdir, errno: errnoOf(err)}
		}
	}
	return nil
}

// fail reports a stage and ends the shim.
func (o *order) fail(f *failure) {
	o.send(f.encode(), nil)
	os.Exit(ShimExit)
}

func (o *order) send(message, rights []byte) bool {
	for {
		err := unix.Sendmsg(o.sock, message, rights, nil, unix.MSG_NOSIGNAL)
		if err != unix.EINTR {
			return err == nil
		}
	}
}

func errnoOf(err error) syscall.Errno {
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return syscall.EINVAL // a NUL byte in a path or argument
	}
	return errno
}

// setVariable puts name=value in place of the entry of that name, or last.
func setVariable(env []string, name, value string) []string {
	entry := name + "=" + value
	for i, old := range env {
		if strings.HasPrefix(old, name) && strings.HasPrefix(old[len(name):], "=") {
			env[i] = entry
			return env
		}
	}
	return append(env, entry)
}
