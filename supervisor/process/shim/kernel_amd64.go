package shim

// sysSeccomp is the number of seccomp(2), which package syscall lacks.
const sysSeccomp = 317

// auditArch is the one architecture whose system call numbers the filter knows
// (linux/audit.h, AUDIT_ARCH_X86_64).
const auditArch = 0xc000003e

// unlinkCalls are the calls that remove a path: unlink and unlinkat.
var unlinkCalls = [...]uint32{87, 263}
