package control

import "time"

// Limits of the server. They are far above what the command line needs, and far
// below what would hurt the daemon.
const (
	MaxConnections = 512      // open at once; one more waits in the accept queue
	MaxRequests    = 256      // in work at once, streams included; one more is answered 503
	MaxBody        = 4 << 20  // bytes of a request: the caller's environment is in it (execve(2) allows about 2 MiB)
	MaxHeader      = 16 << 10 // bytes of a request's head
	MaxID          = 64       // bytes of a request's ID
	MaxNames       = 4096     // apps named in one request
	MaxLogLines    = 100_000  // the last lines that one logs request can ask for
	MaxReceipts    = 10_000   // of one history request
	MaxCursors     = 16 << 10 // of one logs request: two for each worker
	MaxCursor      = 6 << 10  // bytes of one: a path of PATH_MAX in base64, and whose it is
)

const (
	headTimeout   = 5 * time.Second  // to send a request's head
	bodyTimeout   = 10 * time.Second // to send its body
	answerTimeout = 10 * time.Second // to take a whole answer that isn't a stream
	idleTimeout   = 5 * time.Second  // a connection between two requests

	// streamTimeout is how long one write of a stream may wait for its reader:
	// long, since `logs -f` in a pager or a stopped terminal is a reader too.
	streamTimeout = time.Hour
)
