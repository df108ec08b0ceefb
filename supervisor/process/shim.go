package process

import (
	"fmt"
	"os"

	"supervisor/supervisor/process/shim"
)

// ShimExit is the exit code of a shim that executed nothing: the daemon went
// away or said no, or a stage failed (125 as in env(1) and docker).
const ShimExit = shim.Exit

// IsShim tells whether a process with these arguments (os.Args) was started as
// the exec shim. main asks before it does anything else. A shim ends in the
// init of package shim and does not come that far, unless it could not read
// its own arguments there.
func IsShim(args []string) bool {
	return len(args) > 0 && args[0] == shim.Name
}

// ShimMain is the whole of a process that Start has forked, where IsShim says
// so. It never returns.
func ShimMain() { shim.Main(os.Args) }

// ErrNoNewPrivs is why no filter was installed for a program whose file has
// the setuid or setgid bit or capabilities: without CAP_SYS_ADMIN a filter
// needs no_new_privs, which takes just these away from the program
// (prctl(2), PR_SET_NO_NEW_PRIVS).
var ErrNoNewPrivs = shim.ErrNoNewPrivs

// InstallFilter installs on the calling thread a seccomp filter that reports
// bind and listen, and with unlink unlink and unlinkat too, to the notify
// descriptor that it returns (SECCOMP_RET_USER_NOTIF, seccomp_unotify(2)).
// Everything else is allowed, and so is a bind with the length of a netlink
// address, and every call of a foreign architecture (a 32-bit program).
//
// The filter stays for the life of the thread and is inherited by what it
// forks and executes, so the caller has locked its goroutine to the thread
// and never unlocks it. no_new_privs is set only where CAP_SYS_ADMIN is
// lacking. The descriptor is close-on-exec and the caller's.
//
// Errors are the kernel's: EBUSY where the thread already has a filter with a
// listener (a supervisor of this kind under another), ENOSYS or EINVAL where
// seccomp or the listener (5.5) is missing, EACCES where it is forbidden.
func InstallFilter(unlink bool) (notifyFD int, err error) {
	fd, err := shim.InstallFilter(unlink, nil)
	return fd, filterError(err)
}

func filterError(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("cannot install the seccomp filter: %w", err)
}
