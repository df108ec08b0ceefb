package process

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Offsets in struct seccomp_data (seccomp(2)); an argument is eight bytes,
// its low half first on the little-endian machines that we build for.
const (
	offsetNr         = 0
	offsetArch       = 4
	offsetArgs       = 16
	offsetBindLength = offsetArgs + 2*8
)

// netlinkLength is sizeof(struct sockaddr_nl). No other family has this
// length, and Go's net.Interfaces, libc's resolver and every other netlink
// user binds with it: those must not wait for the supervisor.
const netlinkLength = 12

// ErrNoNewPrivs is why no filter was installed for a program whose file has
// the setuid or setgid bit or capabilities: without CAP_SYS_ADMIN a filter
// needs no_new_privs, which takes just these away from the program
// (prctl(2), PR_SET_NO_NEW_PRIVS).
var ErrNoNewPrivs = errors.New("the program's file has setuid, setgid or capabilities, which no_new_privs would take from it, and CAP_SYS_ADMIN is lacking")

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
	return installFilter(unlink, nil)
}

// installFilter is InstallFilter, with a last word before no_new_privs is
// set: an error of mayDrop is returned, and nothing was installed then.
func installFilter(unlink bool, mayDrop func() error) (int, error) {
	program := filterProgram(unlink)
	fd, err := setFilter(program)
	if err != unix.EACCES {
		return fd, filterError(err)
	}
	// EACCES: neither CAP_SYS_ADMIN nor no_new_privs.
	if mayDrop != nil {
		if err := mayDrop(); err != nil {
			return -1, err
		}
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return -1, fmt.Errorf("cannot set no_new_privs: %w", err)
	}
	fd, err = setFilter(program)
	return fd, filterError(err)
}

func filterError(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("cannot install the seccomp filter: %w", err)
}

// setFilter hands the program to the kernel. WAIT_KILLABLE_RECV (5.19) keeps
// signals, Go's preemption among them, from breaking off a call that the
// supervisor already works on; an older kernel says EINVAL and does without.
func setFilter(program []unix.SockFilter) (int, error) {
	const base = unix.SECCOMP_FILTER_FLAG_NEW_LISTENER | unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW
	prog := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	for _, flags := range [...]uintptr{base | unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, base} {
		fd, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(&prog)))
		if errno == 0 {
			return int(fd), nil
		}
		if errno != unix.EINVAL {
			return -1, errno
		}
	}
	return -1, unix.EINVAL
}

// filterProgram is the filter in classic BPF. Jumps count instructions to
// skip, so the calls that notify come before two fixed last instructions.
func filterProgram(unlink bool) []unix.SockFilter {
	calls := []uint32{unix.SYS_LISTEN}
	if unlink {
		calls = append(calls, unlinkCalls[:]...)
	}
	const (
		load      = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		jumpEqual = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		jump      = unix.BPF_JMP | unix.BPF_JA
		result    = unix.BPF_RET | unix.BPF_K
	)
	n := uint8(len(calls))
	// 0 load arch; 1 foreign -> allow; 2 load nr; 3 bind -> its length;
	// 4.. the other calls -> notify; jump to allow; load length;
	// length 12 -> allow; notify; allow.
	program := []unix.SockFilter{
		{Code: load, K: offsetArch},
		{Code: jumpEqual, K: auditArch, Jf: n + 6},
		{Code: load, K: offsetNr},
		{Code: jumpEqual, K: unix.SYS_BIND, Jt: n + 1},
	}
	for i, nr := range calls {
		program = append(program, unix.SockFilter{Code: jumpEqual, K: nr, Jt: n + 2 - uint8(i)})
	}
	return append(program,
		unix.SockFilter{Code: jump, K: 3},
		unix.SockFilter{Code: load, K: offsetBindLength},
		unix.SockFilter{Code: jumpEqual, K: netlinkLength, Jt: 1},
		unix.SockFilter{Code: result, K: unix.SECCOMP_RET_USER_NOTIF},
		unix.SockFilter{Code: result, K: unix.SECCOMP_RET_ALLOW},
	)
}

// refusePrivileged gives ErrNoNewPrivs if the file at path gains privileges
// when it is executed. A file that can't be looked at is not refused: exec
// itself says what is wrong with it.
func refusePrivileged(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return nil
	}
	if info.Mode()&(os.ModeSetuid|os.ModeSetgid) != 0 {
		return ErrNoNewPrivs
	}
	if n, err := unix.Getxattr(path, "security.capability", nil); err == nil && n > 0 {
		return ErrNoNewPrivs
	}
	return nil
}
