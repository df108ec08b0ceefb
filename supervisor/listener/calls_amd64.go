package listener

import "golang.org/x/sys/unix"

// isUnlink tells if a call removes a path.
func isUnlink(nr int32) bool { return nr == unix.SYS_UNLINK || nr == unix.SYS_UNLINKAT }
