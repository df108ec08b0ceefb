package shim

// sysSeccomp is the number of seccomp(2), which package syscall lacks.
const sysSeccomp = 277

// auditArch is the one architecture whose system call numbers the filter knows
// (linux/audit.h, AUDIT_ARCH_AARCH64).
const auditArch = 0xc00000b7

// unlinkCalls are the calls that remove a path: arm64 has only unlinkat.
var unlinkCalls = [...]uint32{35}
