package process

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"supervisor/supervisor/fault"
	"supervisor/supervisor/process/shim"
)

// How long a shim may take. None of it is a program's own time, so a shim
// that exceeds them hangs (a dead network file system under Dir or Path, a
// machine without memory), and is killed.
const (
	helloTimeout = 10 * time.Second // from fork to hello
	execTimeout  = 10 * time.Second // from go to the program's first instruction
	abortTimeout = 2 * time.Second  // from the closed socket to the shim's end
	killTimeout  = 2 * time.Second  // from SIGKILL to the shim's end
)

// shimBinary is what is executed as the shim: this very binary, so that an old
// daemon never runs a new shim. Only a benchmark changes it.
var shimBinary = "/proc/self/exe"

var errShimTimeout = fmt.Errorf("the exec shim did not answer within %v", helloTimeout)

// Start forks the exec shim, the binary of this very process, and returns
// when it has prepared itself and waits for Go or Abort. It blocks for a
// millisecond or two, ten seconds at most.
//
// The error is a *StageError; nothing is left of the worker then.
func Start(spec Spec) (*Child, error) {
	c, shimEnd, err := newChild(&spec)
	if err != nil {
		return nil, &StageError{Stage: StageFork, Err: err}
	}
	err = c.fork(&spec, shimEnd)
	unix.Close(shimEnd)
	if err != nil {
		c.sock.Close()
		return nil, &StageError{Stage: StageFork, Err: err}
	}
	fault.Point("spawn.forked")
	if err := c.hear(); err != nil {
		c.bury(0)
		return nil, err
	}
	fault.Point("spawn.heard")
	return c, nil
}

// newChild opens the socket. The shim's end is a blocking one; both are
// close-on-exec, which is what makes a running program readable as EOF.
func newChild(spec *Spec) (*Child, int, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, -1, fmt.Errorf("cannot open a socket: %w", err)
	}
	if err := unix.SetNonblock(pair[0], true); err != nil {
		unix.Close(pair[0])
		unix.Close(pair[1])
		return nil, -1, err
	}
	c := &Child{
		spec:   *spec,
		sock:   os.NewFile(uintptr(pair[0]), "exec shim"),
		notify: -1,

		deserted: spec.Deserted,
		held:     spec.HoldZombie,
		stopped:  make(map[Identity]struct{}),
	}
	return c, pair[1], nil
}

// fork starts the shim, with the worker's own descriptors, environment and
// arguments.
func (c *Child) fork(spec *Spec, shimEnd int) error {
	files := make([]uintptr, 0, 4+len(spec.Files))
	null := -1
	for _, fd := range [...]int{spec.Stdin, spec.Stdout, spec.Stderr} {
		if fd < 0 && null < 0 {
			var err error
			if null, err = unix.Open(os.DevNull, unix.O_RDWR|unix.O_CLOEXEC, 0); err != nil {
				return fmt.Errorf("cannot open %s: %w", os.DevNull, err)
			}
			defer unix.Close(null)
		}
		if fd < 0 {
			fd = null
		}
		files = append(files, uintptr(fd))
	}
	for _, fd := range spec.Files {
		files = append(files, uintptr(fd))
	}
	o := spec.order(len(files))
	files = append(files, uintptr(shimEnd))

	argv := append([]string{shim.Name, o.Encode(), spec.Path}, spec.Argv...)
	if len(spec.Argv) == 0 {
		argv = append(argv, spec.Path)
	}
	pid, err := syscall.ForkExec(shimBinary, argv, &syscall.ProcAttr{
		Env:   shim.VeilEnv(spec.Env),
		Files: files,
		Sys:   &syscall.SysProcAttr{PidFD: &c.pidfd},
	})
	if err == syscall.EBADF && allOpen(files) {
		// Their copies on the way have numbers above all of them, which dup3(2)
		// calls bad when the limit is below.
		err = syscall.EMFILE
	}
	if err != nil {
		return err
	}
	c.pid = pid
	if c.pidfd < 0 {
		// Linux before 5.2, which no part of this supports.
		unix.Kill(pid, unix.SIGKILL)
		unix.Wait4(pid, nil, 0, nil)
		return errors.New("the kernel gives no pidfd")
	}
	if err := unix.SetNonblock(c.pidfd, true); err != nil {
		unix.Kill(pid, unix.SIGKILL)
		unix.Wait4(pid, nil, 0, nil)
		unix.Close(c.pidfd)
		return err
	}
	c.pidFile = os.NewFile(uintptr(c.pidfd), "pidfd")
	return nil
}

func allOpen(files []uintptr) bool {
	return !slices.ContainsFunc(files, func(fd uintptr) bool {
		_, err := unix.FcntlInt(fd, unix.F_GETFD, 0)
		return err != nil
	})
}

// order is what the shim is told.
func (spec *Spec) order(sock int) *shim.Order {
	o := &shim.Order{
		Sock:       sock,
		Filter:     spec.Filter != FilterNone,
		Unlink:     spec.Filter == FilterUnlink,
		ListenPID:  spec.ListenPID,
		Umask:      -1,
		Credential: spec.Credential,
		Limits:     spec.Limits,
		Tracer:     spec.Tracer,
		Dir:        spec.Dir,
	}
	if spec.Umask != nil {
		o.Umask = *spec.Umask
	}
	if spec.Nice != nil {
		o.SetNice, o.Nice = true, *spec.Nice
	}
	if c := spec.Credential; c != nil && os.Geteuid() != 0 && c.UID == os.Geteuid() && (c.GID < 0 || c.GID == os.Getegid()) {
		o.Credential = nil // we are that user, and may not call setgroups
	}
	return o
}

// hear takes the shim's hello.
func (c *Child) hear() error {
	message, rights, err := c.receive(helloTimeout)
	for _, fd := range rights {
		if c.notify >= 0 {
			unix.Close(c.notify)
		}
		c.notify = fd
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = errShimTimeout
	}
	if err != nil {
		return &StageError{Stage: StageHello, Err: err}
	}
	h, f := shim.DecodeMessage(message)
	switch {
	case f != nil:
		return c.spec.stageError(f.Stage, f.Errno, f.Extra)
	case h == nil:
		return &StageError{Stage: StageHello, Err: errors.New("it ended before it was ready")}
	}
	switch h.Filter {
	case shim.FilterFailed:
		c.filterErr = filterError(h.Errno)
	case shim.FilterPrivileged:
		c.filterErr = ErrNoNewPrivs
	}
	if c.startTime, err = StartTime(c.pid); err != nil {
		return &StageError{Stage: StageHello, Err: err}
	}
	return nil
}

// receive takes one message of the shim, empty at EOF, and the descriptors
// that came with it.
func (c *Child) receive(timeout time.Duration) (message []byte, rights []int, err error) {
	if err := c.sock.SetReadDeadline(time.Now().Add(timeout)); err != nil {
		return nil, nil, err
	}
	raw, err := c.sock.SyscallConn()
	if err != nil {
		return nil, nil, err
	}
	buf := make([]byte, shim.MaxMessage)
	control := make([]byte, unix.CmsgSpace(4))
	var n, nc int
	var errno error
	err = raw.Read(func(fd uintptr) bool {
		for {
			n, nc, _, _, errno = unix.Recvmsg(int(fd), buf, control, unix.MSG_CMSG_CLOEXEC)
			if errno != unix.EINTR {
				return errno != unix.EAGAIN
			}
		}
	})
	if err == nil {
		err = errno
	}
	if err != nil {
		return nil, nil, err
	}
	messages, err := unix.ParseSocketControlMessage(control[:nc])
	if err != nil {
		return nil, nil, err
	}
	for i := range messages {
		fds, err := unix.ParseUnixRights(&messages[i])
		if err == nil {
			rights = append(rights, fds...)
		}
	}
	return buf[:n], rights, nil
}

// Go sends the go byte and returns when the program runs. The error is a
// *StageError; nothing is left of the worker then. With nil, Exited and Gone
// will tell its end. It is called once, and then Abort is not.
func (c *Child) Go() error {
	if _, err := c.sock.Write([]byte{shim.MessageGo}); err != nil {
		c.bury(0)
		return &StageError{Stage: StageHello, Err: fmt.Errorf("it ended while it waited: %w", err)}
	}
	fault.Point("spawn.told")
	message, _, err := c.receive(execTimeout)
	if err != nil {
		c.bury(0)
		return &StageError{Stage: StageExec, Subject: c.spec.Path, Err: err}
	}
	if _, f := shim.DecodeMessage(message); f != nil {
		c.bury(abortTimeout)
		return c.spec.stageError(f.Stage, f.Errno, f.Extra)
	}
	fault.Point("spawn.running")
	c.sock.Close()
	c.spec = Spec{}
	c.run()
	return nil
}

// Abort ends a shim that was not told to go, and reaps it: no program has run.
// A notify descriptor that was not taken is closed.
func (c *Child) Abort() { c.bury(abortTimeout) }

// bury closes what there is of a shim, gives it grace to exit by itself, kills
// it, and reaps it. One that SIGKILL doesn't end soon (it hangs in the kernel)
// is left to a goroutine that ends with it.
func (c *Child) bury(grace time.Duration) {
	c.sock.Close()
	c.sock = nil
	if fd := c.TakeNotifyFD(); fd >= 0 {
		unix.Close(fd)
	}
	if grace == 0 || !c.awaitEnd(grace) {
		unix.PidfdSendSignal(c.pidfd, unix.SIGKILL, nil, 0)
		if !c.awaitEnd(killTimeout) {
			go func() { // ends with the process
				c.pidFile.SetReadDeadline(time.Time{})
				awaitReadable(c.pidFile)
				c.reap()
			}()
			return
		}
	}
	c.reap()
}

func (c *Child) awaitEnd(timeout time.Duration) bool {
	c.pidFile.SetReadDeadline(time.Now().Add(timeout))
	return awaitReadable(c.pidFile) == nil
}

// reap takes the ended main process out of the process table, if it is ours to
// do so, and closes its pidfd.
func (c *Child) reap() {
	if c.pidFile == nil {
		return
	}
	waitExit(c.pidfd, true)
	fault.Point("exit.reaped")
	c.pidFile.Close()
}
