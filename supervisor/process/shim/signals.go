package shim

import (
	"syscall"
	"unsafe"
)

// kernelAction is struct sigaction as rt_sigaction(2) takes it on amd64 and
// arm64, which is not libc's.
type kernelAction struct {
	handler  uintptr
	flags    uint64
	restorer uintptr
	mask     uint64
}

// resetSignals makes the calling thread fit to execve a program: every signal
// that is ignored becomes default, and the thread's mask is emptied. Handlers
// need nothing, execve resets them. Both outlive execve and are inherited, so
// a daemon started by a shell's `&` or nohup would hand its workers a SIGINT
// that does nothing (signal(7), execve(2)).
//
// It goes past Go's runtime on purpose, which keeps an ignored SIGHUP and
// SIGINT, and the terminal's stop signals, as it found them.
func resetSignals() syscall.Errno {
	for sig := uintptr(1); sig <= lastSignal; sig++ {
		if sig == uintptr(syscall.SIGKILL) || sig == uintptr(syscall.SIGSTOP) {
			continue
		}
		var action kernelAction
		_, _, errno := syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, sig, 0, uintptr(unsafe.Pointer(&action)), sizeofSet, 0, 0)
		if errno != 0 {
			return errno
		}
		if action.handler != sigIgnore {
			continue
		}
		action = kernelAction{handler: sigDefault}
		_, _, errno = syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, sig, uintptr(unsafe.Pointer(&action)), 0, sizeofSet, 0, 0)
		if errno != 0 {
			return errno
		}
	}
	var none uint64
	_, _, errno := syscall.RawSyscall6(syscall.SYS_RT_SIGPROCMASK, sigSetMask, uintptr(unsafe.Pointer(&none)), 0, sizeofSet, 0, 0)
	return errno
}
