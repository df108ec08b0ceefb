package shim

// What package syscall, which is frozen, does not name (linux/close_range.h,
// linux/prctl.h, linux/seccomp.h, linux/resource.h, linux/signal.h).
// golang.org/x/sys/unix names all of it and may not be imported here (see the
// package's invariants); a test compares.
const (
	sysCloseRange     = 436 // the same on every architecture
	closeRangeCloexec = 1 << 2

	prSetNoNewPrivs = 38
	prSetPtracer    = 0x59616d61 // "Yama"

	seccompSetModeFilter = 1
	seccompSpecAllow     = 1 << 2
	seccompNewListener   = 1 << 3
	seccompWaitKillable  = 1 << 5
	seccompRetUserNotif  = 0x7fc00000
	seccompRetAllow      = 0x7fff0000

	rlimitNPROC = 6

	sigSetMask = 2
	sigDefault = 0
	sigIgnore  = 1
	// lastSignal is the highest signal number (_NSIG), sizeofSet what the
	// kernel wants as the size of its signal set, in bytes.
	lastSignal = 64
	sizeofSet  = 8
)
