package shim

import (
	"errors"
	"syscall"
	"unsafe"
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

// ErrNoNewPrivs is process.ErrNoNewPrivs.
var ErrNoNewPrivs = errors.New("the program's file has setuid, setgid or capabilities, which no_new_privs would take from it, and CAP_SYS_ADMIN is lacking")

// InstallFilter is process.InstallFilter, with a last word before no_new_privs
// is set: an error of mayDrop, which may be nil, is returned, and nothing was
// installed then. Every other error is a syscall.Errno.
func InstallFilter(unlink bool, mayDrop func() error) (int, error) {
	program := filterProgram(unlink)
	fd, err := setFilter(program)
	if err != syscall.EACCES {
		return fd, err
	}
	// EACCES: neither CAP_SYS_ADMIN nor no_new_privs.
	if mayDrop != nil {
		if err := mayDrop(); err != nil {
			return -1, err
		}
	}
	if _, _, errno := syscall.RawSyscall6(syscall.SYS_PRCTL, prSetNoNewPrivs, 1, 0, 0, 0, 0); errno != 0 {
		return -1, errno
	}
	return setFilter(program)
}

// setFilter hands the program to the kernel. WAIT_KILLABLE_RECV (5.19) keeps
// signals, Go's preemption among them, from breaking off a call that the
// supervisor already works on; an older kernel says EINVAL and does without.
func setFilter(program []syscall.SockFilter) (int, error) {
	const base = seccompNewListener | seccompSpecAllow
	prog := syscall.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	for _, flags := range [...]uintptr{base | seccompWaitKillable, base} {
		fd, _, errno := syscall.RawSyscall(sysSeccomp, seccompSetModeFilter, flags, uintptr(unsafe.Pointer(&prog)))
		if errno == 0 {
			return int(fd), nil
		}
		if errno != syscall.EINVAL {
			return -1, errno
		}
	}
	return -1, syscall.EINVAL
}

// filterProgram is the filter in classic BPF. Jumps count instructions to
// skip, so the calls that notify come before two fixed last instructions.
func filterProgram(unlink bool) []syscall.SockFilter {
	calls := []uint32{syscall.SYS_LISTEN}
	if unlink {
		calls = append(calls, unlinkCalls[:]...)
	}
	const (
		load      = syscall.BPF_LD | syscall.BPF_W | syscall.BPF_ABS
		jumpEqual = syscall.BPF_JMP | syscall.BPF_JEQ | syscall.BPF_K
		jump      = syscall.BPF_JMP | syscall.BPF_JA
		result    = syscall.BPF_RET | syscall.BPF_K
	)
	n := uint8(len(calls))
	// 0 load arch; 1 foreign -> allow; 2 load nr; 3 bind -> its length;
	// 4.. the other calls -> notify; jump to allow; load length;
	// length 12 -> allow; notify; allow.
	program := []syscall.SockFilter{
		{Code: load, K: offsetArch},
		{Code: jumpEqual, K: auditArch, Jf: n + 6},
		{Code: load, K: offsetNr},
		{Code: jumpEqual, K: syscall.SYS_BIND, Jt: n + 1},
	}
	for i, nr := range calls {
		program = append(program, syscall.SockFilter{Code: jumpEqual, K: nr, Jt: n + 2 - uint8(i)})
	}
	return append(program,
		syscall.SockFilter{Code: jump, K: 3},
		syscall.SockFilter{Code: load, K: offsetBindLength},
		syscall.SockFilter{Code: jumpEqual, K: netlinkLength, Jt: 1},
		syscall.SockFilter{Code: result, K: seccompRetUserNotif},
		syscall.SockFilter{Code: result, K: seccompRetAllow},
	)
}

// RefusePrivileged gives ErrNoNewPrivs if the file at path gains privileges
// when it is executed. A file that can't be looked at is not refused: exec
// itself says what is wrong with it.
func RefusePrivileged(path string) error {
	var st syscall.Stat_t
	if syscall.Stat(path, &st) != nil {
		return nil
	}
	if st.Mode&(syscall.S_ISUID|syscall.S_ISGID) != 0 {
		return ErrNoNewPrivs
	}
	if n, err := syscall.Getxattr(path, "security.capability", nil); err == nil && n > 0 {
		return ErrNoNewPrivs
	}
	return nil
}
