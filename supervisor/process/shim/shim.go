// Package shim is the exec shim: a worker's process between the fork and the
// worker's own program. It is the supervisor's binary, executed once more.
//
// Invariants:
//   - the shim is done before the rest of the binary begins: it runs from this
//     package's init, and this package imports nothing but what the runtime
//     initialises first anyway. The go command initialises packages whose
//     imports are ready in the order of their paths, and almost all of the
//     standard library needs os, time or unicode, which come after this one.
//     A worker so pays for none of cli, yaml and net/http, which is most of
//     what a spawn costs beside two execs. A test holds both: the imports, and
//     what has been initialised before;
//   - it is correct in any order: Main does the same from main;
//   - everything happens on the process's first thread, since filter,
//     credentials, nice value and signal mask are a thread's, and execve makes
//     the calling thread the whole process;
//   - no program runs before the go byte.
package shim

import (
	"runtime"
	"strconv"
	"syscall"
	"unsafe"
)

// Exit is the exit code of a shim that executed nothing (env(1), docker).
const Exit = 125

// An init, and the only one of this module: see the package's first invariant.
// In every process that is no shim it reads one file of /proc.
func init() {
	if args := commandLine(); len(args) > 0 {
		run(args)
	}
}

// Main is the whole of the process. It never returns. args are Name, the
// order, the path, and the worker's argument vector.
//
// The order of things: signals, process group, limits, nice, umask, tracer,
// filter; hello; go; the strangling limits, groups, group, user, working directory,
// LISTEN_PID, exec.
func Main(args []string) {
	runtime.LockOSThread()
	run(args)
}

// run is Main on a goroutine that is locked to its thread, as the one that
// runs init functions is; LockOSThread would start another thread, which
// execve has to end.
func run(args []string) {
	if len(args) < 4 {
		refuse("it is started by the supervisor alone")
	}
	o, err := decodeOrder(args[1])
	if err != nil {
		refuse(err.Error())
	}
	closeRest(o.Sock)
	path, argv, env := args[2], args[3:], unveilEnv(syscall.Environ())

	if f := o.prepare(); f != nil {
		o.fail(f)
	}
	o.greet(path)
	if !o.awaitGo() {
		syscall.Exit(Exit)
	}
	if f := o.become(); f != nil {
		o.fail(f)
	}
	if o.ListenPID {
		env = setVariable(env, "LISTEN_PID", strconv.Itoa(syscall.Getpid()))
	}
	// syscall.Exec gives back the soft limit of descriptors if package os has
	// raised it (from main), unless setLimits has set one.
	o.fail(&Failure{Stage: StageExec, Errno: errnoOf(syscall.Exec(path, argv, env))})
}

// commandLine is os.Args, which package os has not set yet, of a shim; nil in
// any other process. Without /proc nothing could have started a shim.
func commandLine() []string {
	fd, err := syscall.Open("/proc/self/cmdline", syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer syscall.Close(fd)
	text := make([]byte, 4096)
	n := 0
	for {
		got, err := syscall.Read(fd, text[n:])
		if err == syscall.EINTR {
			continue
		}
		if err != nil || got < 0 {
			return nil
		}
		if n += got; n < len(Name)+1 || string(text[:len(Name)+1]) != Name+"\x00" {
			return nil
		}
		if got == 0 {
			return split(text[:n])
		}
		if n == len(text) {
			text = append(text, make([]byte, len(text))...)
		}
	}
}

// split takes apart what proc_pid_cmdline(5) gives: each argument ends in NUL.
func split(text []byte) []string {
	var args []string
	begin := 0
	for i, c := range text {
		if c == 0 {
			args = append(args, string(text[begin:i]))
			begin = i + 1
		}
	}
	return args
}

// refuse ends a process that nobody of ours has started.
func refuse(why string) {
	syscall.Write(2, []byte("cannot run as exec shim: "+why+"\n"))
	syscall.Exit(Exit)
}

// closeRest makes the socket close-on-exec, and with it every descriptor above
// the worker's own: what the supervisor itself has inherited from a careless
// parent, or Go's runtime has opened, is not for the worker. Before Linux 5.11
// only the socket.
func closeRest(sock int) {
	if _, _, errno := syscall.RawSyscall(sysCloseRange, uintptr(sock), ^uintptr(0)>>32, closeRangeCloexec); errno != 0 {
		syscall.CloseOnExec(sock)
	}
}

// prepare does what needs no word from the daemon.
func (o *Order) prepare() *Failure {
	if errno := resetSignals(); errno != 0 {
		return &Failure{Stage: StageSignals, Errno: errno}
	}
	if err := syscall.Setpgid(0, 0); err != nil {
		return &Failure{Stage: StageSetpgid, Errno: errnoOf(err)}
	}
	if f := o.setLimits(false); f != nil {
		return f
	}
	if o.SetNice {
		if err := syscall.Setpriority(syscall.PRIO_PROCESS, 0, o.Nice); err != nil {
			return &Failure{Stage: StageNice, Errno: errnoOf(err), Extra: o.Nice}
		}
	}
	if o.Umask >= 0 {
		syscall.Umask(o.Umask)
	}
	o.allowTracer()
	return nil
}

// allowTracer lets the tracer and its descendants trace the worker, where Yama
// (ptrace_scope 1) lets nobody but the worker's ancestors: a supervisor that follows
// the one that has forked us is none. Without Yama, or the tracer, it is EINVAL and
// nothing is lost.
//
// The exception is the process's, not its program's: it holds over execve and until
// the tracer or the process ends. What the worker forks does not inherit it
// (security/yama/yama_lsm.c).
func (o *Order) allowTracer() {
	if o.Tracer != 0 {
		syscall.RawSyscall6(syscall.SYS_PRCTL, prSetPtracer, uintptr(o.Tracer), 0, 0, 0, 0)
	}
}

// setLimits sets the limits that strangle a Go program, or the others. Those
// that do (address space, threads, descriptors) come as late as they can and
// still with the supervisor's privilege: the runtime needs memory, perhaps a
// thread, and the filter's descriptor.
func (o *Order) setLimits(strangling bool) *Failure {
	for _, l := range o.Limits {
		switch l.Resource {
		case syscall.RLIMIT_AS, syscall.RLIMIT_DATA, rlimitNPROC, syscall.RLIMIT_NOFILE:
			if !strangling {
				continue
			}
		default:
			if strangling {
				continue
			}
		}
		// This one tells syscall.Exec to leave NOFILE alone.
		if err := syscall.Setrlimit(l.Resource, &syscall.Rlimit{Cur: l.Soft, Max: l.Hard}); err != nil {
			return &Failure{Stage: StageRlimit, Errno: errnoOf(err), Extra: l.Resource}
		}
	}
	return nil
}

// greet installs the filter, if one is asked for, and says hello with its
// descriptor. A shim that can't be heard has nobody to work for.
func (o *Order) greet(path string) {
	notify, h := -1, Hello{Filter: FilterNotAsked}
	if o.Filter {
		fd, err := InstallFilter(o.Unlink, func() error { return RefusePrivileged(path) })
		switch err {
		case nil:
			notify, h.Filter = fd, FilterInstalled
		case ErrNoNewPrivs:
			h.Filter = FilterPrivileged
		default:
			h.Filter, h.Errno = FilterFailed, errnoOf(err)
		}
	}
	var rights []byte
	if notify >= 0 {
		rights = syscall.UnixRights(notify)
	}
	if !o.send(h.encode(), rights) {
		syscall.Exit(Exit)
	}
	if notify >= 0 {
		syscall.Close(notify)
	}
}

// awaitGo waits for the go byte; false is the daemon's end or its no.
func (o *Order) awaitGo() bool {
	var b [1]byte
	for {
		n, err := syscall.Read(o.Sock, b[:])
		if err == syscall.EINTR {
			continue
		}
		return err == nil && n == 1 && b[0] == MessageGo
	}
}

// become takes on the worker's identity. The calls are raw ones, for this
// thread: it is the one that survives execve.
func (o *Order) become() *Failure {
	if f := o.setLimits(true); f != nil {
		return f
	}
	if c := o.Credential; c != nil {
		if c.Groups != nil {
			groups := make([]uint32, len(c.Groups)+1) // one more: &groups[0] exists
			for i, g := range c.Groups {
				groups[i] = uint32(g)
			}
			if _, _, e := syscall.RawSyscall(syscall.SYS_SETGROUPS, uintptr(len(c.Groups)), uintptr(unsafe.Pointer(&groups[0])), 0); e != 0 {
				return &Failure{Stage: StageSetgroups, Errno: e}
			}
		}
		if g := uintptr(c.GID); c.GID >= 0 {
			if _, _, e := syscall.RawSyscall(syscall.SYS_SETRESGID, g, g, g); e != 0 {
				return &Failure{Stage: StageSetgid, Errno: e}
			}
		}
		if u := uintptr(c.UID); c.UID >= 0 {
			if _, _, e := syscall.RawSyscall(syscall.SYS_SETRESUID, u, u, u); e != 0 {
				return &Failure{Stage: StageSetuid, Errno: e}
			}
		}
	}
	if o.Dir != "" {
		if err := syscall.Chdir(o.Dir); err != nil {
			return &Failure{Stage: StageChdir, Errno: errnoOf(err)}
		}
	}
	return nil
}

// fail reports a stage and ends the shim.
func (o *Order) fail(f *Failure) {
	o.send(f.encode(), nil)
	syscall.Exit(Exit)
}

func (o *Order) send(message, rights []byte) bool {
	for {
		err := syscall.Sendmsg(o.Sock, message, rights, nil, syscall.MSG_NOSIGNAL)
		if err != syscall.EINTR {
			return err == nil
		}
	}
}

func errnoOf(err error) syscall.Errno {
	errno, ok := err.(syscall.Errno) // package syscall wraps none
	if !ok {
		return syscall.EINVAL // a NUL byte in a path or argument
	}
	return errno
}
