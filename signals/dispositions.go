package signals

import (
	"fmt"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Values of sigaction(2): Go's own packages don't export them.
const (
	sigDefault = 0
	sigIgnore  = 1
	// sizeofSet is what the kernel wants as the size of its signal set.
	sizeofSet = 8
)

// kernelAction is struct sigaction as rt_sigaction(2) takes it on amd64 and
// arm64, which is not libc's.
type kernelAction struct {
	handler  uintptr
	flags    uint64
	restorer uintptr
	mask     uint64
}

// ResetForExec makes the calling thread fit to execve a program: every signal
// that is ignored becomes default, and the thread's mask is emptied. Handlers
// need nothing, execve resets them. Both outlive execve and are inherited, so
// a daemon started by a shell's `&` or nohup would hand its workers a SIGINT
// that does nothing (signal(7), execve(2)).
//
// It goes past Go's runtime on purpose, which keeps an ignored SIGHUP and
// SIGINT, and the terminal's stop signals, as it found them. The caller has
// locked its goroutine to the thread and execs from it.
func ResetForExec() error {
	for sig := uintptr(1); sig <= last; sig++ {
		if !Catchable(syscall.Signal(sig)) {
			continue
		}
		var action kernelAction
		_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, sig, 0, uintptr(unsafe.Pointer(&action)), sizeofSet, 0, 0)
		if errno != 0 {
			return fmt.Errorf("cannot read the disposition of %s: %w", Name(syscall.Signal(sig)), errno)
		}
		if action.handler != sigIgnore {
			continue
		}
		action = kernelAction{handler: sigDefault}
		_, _, errno = unix.RawSyscall6(unix.SYS_RT_SIGACTION, sig, uintptr(unsafe.Pointer(&action)), 0, sizeofSet, 0, 0)
		if errno != 0 {
			return fmt.Errorf("cannot reset %s: %w", Name(syscall.Signal(sig)), errno)
		}
	}
	var none uint64
	_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&none)), 0, sizeofSet, 0, 0)
	if errno != 0 {
		return fmt.Errorf("cannot empty the signal mask: %w", errno)
	}
	return nil
}
