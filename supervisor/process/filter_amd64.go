package process

import "golang.org/x/sys/unix"

// auditArch is the one architecture whose system call numbers the filter knows.
const auditArch = unix.AUDIT_ARCH_X86_64

// unlinkCalls are the calls that remove a path.
var unlinkCalls = [...]uint32{unix.SYS_UNLINK, unix.SYS_UNLINKAT}
