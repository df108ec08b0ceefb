package listener

import "golang.org/x/sys/unix"

// isUnlink tells if a call removes a path; there is no unlink on arm64.
func isUnlink(nr int32) bool { return nr == unix.SYS_UNLINKAT }
