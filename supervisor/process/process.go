// Package process is the kernel's side of one worker: it starts it through
// the exec shim, signals its processes, tells how it ended, and knows when
// nothing of it is left.
//
// Invariants:
//   - a worker is a process group, led by its main process; it is gone when
//     the group is empty, not when the main process has ended. A process that
//     leaves the group (setsid, setpgid: a daemon that forks itself away) is
//     not the worker's any more;
//   - no program runs before the caller has said Go: until then the shim
//     waits, and dies with whoever started it;
//   - there is one waiter per worker and none for all: no SIGCHLD handler, no
//     wait4(-1), so that another part's child is never reaped here;
//   - the main process is reaped last, so its pid and its group's number
//     belong to this worker until it is gone;
//   - an adopted main process is another's to reap, at any time: the group's number
//     counts as the worker's while the process is there by pid and start time, or its
//     pidfd has a group; else the members are known by a mark in their environment;
//   - no signal goes to a bare pid that may have been reused: a process is
//     signalled by a pidfd whose start time was compared, or by the group's
//     number while the main process is not reaped;
//   - no pipe is read here: a grandchild that holds stdout hangs nothing.
package process
