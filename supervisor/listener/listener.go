// Package listener opens, holds, names and hands out the listening sockets of
// all apps, and answers the bind and listen calls of their workers, so that
// any server shares its sockets with its successor unmodified.
//
// Invariants:
//   - one goroutine owns the table of sockets and decides; it makes only
//     system calls that can't block (and removes the files of our own unix
//     sockets). Reading a worker's memory, looking
//     through /proc, stat and unlink happen in the one goroutine that reads
//     this worker's notifications, so a slow or hostile worker delays itself;
//   - a socket is held from listen(2) on. Between bind and listen it is a
//     candidate, and of a candidate no copy is kept: a socket that is closed,
//     or connects from its source port, is its worker's alone, and its FIN
//     leaves at once;
//   - a held socket outlives its workers. It is closed by Release and Retain,
//     and when the very worker that brought it has closed it again (programs
//     that look for a free port);
//   - an address has one socket, or several shares: one for each worker of the
//     policy `even`. They are closed all together or not at all: an open share
//     keeps its place in the kernel's group, and what waits in it is not reset.
//     A share that nobody has any more goes to the next worker that asks;
//   - among shares the kernel chooses only those that the attached program
//     names (see steer.go): those of workers that are admitted, if there are
//     any. There is always one to choose;
//   - a call that is refused only because of what a sibling has just brought
//     waits, at most settleTime, in its own worker's reader (later.go);
//   - nothing about an address is normalised: what covers what is decided by
//     the kernel's EADDRINUSE;
//   - O_NONBLOCK of a held socket is set when a newcomer wants it and never
//     cleared: it belongs to every process that has the socket;
//   - what a worker can make grow has a limit with a name;
//   - a call is received, carried out in the kernel, stored, recorded, and only then
//     answered, and each of these steps may be done twice. So whoever finds a
//     notification in hand after a crash does all of it again (adopt.go, again.go),
//     and a notification that is not answered is never forgotten: it is with the
//     kernel, or in a slot of Hands.
//
// A held socket is put over the number of the worker's own, which is closed:
// what a program did with that one before bind or listen, registering it with
// epoll for instance, is lost with it. None of the usual runtimes does so.
//
// Unix sockets that the app's file does not declare are best effort: they are
// held from listen on, and a second worker that binds the path while its file
// is still there gets the held socket. A program that unlinks the path first
// (most do) makes a socket of its own there, as it does without a supervisor,
// and the former one is let go at its listen: what then waits in the former
// one's queue is served by its workers if they live, and lost otherwise.
// Declared ones lose nothing, since there unlink is answered without being done.
package listener

// Limits on what one worker can cause.
const (
	// maxSockets is how many undeclared sockets of one worker are held.
	maxSockets = 256
	// maxCandidates is how many sockets between bind and listen are
	// remembered of one worker; the oldest is forgotten.
	maxCandidates = 64
	// maxListeners is how many processes of one worker are remembered as
	// listening on one socket (servers that fork anew for ever).
	maxListeners = 64
	// maxFacts is how many facts of one worker may come at once (for
	// Listening it is maxSockets), and factsPerSecond how many after that; the
	// others are not told.
	maxFacts       = 64
	factsPerSecond = 20
	// maxReasons is how many reasons are told why an app's sockets can't be shared,
	// until the app is stopped.
	maxReasons = 32
	// maxLooks is how many EADDRINUSE of one worker have their holder looked
	// up in /proc at once, and looksPerSecond how many after that.
	maxLooks       = 8
	looksPerSecond = 1
	// maxShares is how many shares a TCP address may have; the workers beyond
	// it share the first.
	maxShares = 1024
	// maxArrivals is how many new connections of one address are counted at
	// once, and arrivalsPerSecond how many after that; then its shares are
	// chosen at random for calmTime.
	maxArrivals       = 100
	arrivalsPerSecond = 200
)

// minBacklog is what declared sockets ask for at least; the kernel cuts it to
// net.core.somaxconn.
const minBacklog = 511

// Store keeps descriptors beyond the life of this process (systemd's or the
// keeper's FDSTORE). Both are called by the goroutine that owns the table, in
// the order of events: Push before the worker learns that it listens. They
// must not wait for a worker.
type Store interface {
	// Push gives a copy of fd to the store under name; fd stays the caller's.
	Push(name string, fd int) error
	// Remove drops what Push stored.
	Remove(name string) error
}

// Config is what a Table needs of others.
type Config struct {
	// Store may be nil: nothing is stored then.
	Store Store
	// Holder is the process that has copies of what is stored, if that is not our parent
	// (a keeper that took another's place); nil, or 0: it is our parent.
	Holder func() (pid int)
	// Facts gets every fact, in order, from the goroutine that owns the
	// table and before the worker gets its answer. It must not block, and
	// must not call the Table.
	Facts func(Fact)
	// Hands is memory for the notifications in hand that outlives this process, so
	// that a successor can answer them; nil: each reader has its own.
	Hands *Hands
	// Record is given all that is held, from the goroutine that owns the table,
	// once for each operation that has changed it. It must not block, call the
	// Table or change what it was given; the channel is closed when that, or
	// something newer, is on record, and no worker is answered before. nil, or a
	// nil channel: nobody records.
	Record func([]Record) (recorded <-chan struct{})
}

// Worker is a worker as the table knows it.
type Worker struct {
	ID   uint64 // daemon-wide, never reused
	App  string
	Slot int
	PID  int // its main process; 0 until it is attached
	// Even gives it a share of its own of every TCP address (policy `even`);
	// else it shares one socket with the others (`shared`).
	Even bool
	// Hand is its slot in Config.Hands, from Take or Use; < 0: it has none, and a
	// call that is in hand when this process dies is never answered.
	Hand int
}

// Declared is a socket that the app's file asks for.
type Declared struct {
	// Network is "tcp" or "unix".
	Network string
	// Address is "127.0.0.1:3000", "[::1]:3000", ":3000" (the wildcard of
	// both families) or "localhost:3000", or an absolute path.
	Address string
	// Name is the descriptor's name for LISTEN_FDNAMES, may be empty.
	Name string
}

// File is a declared socket as it is passed to a worker. FD stays the table's
// and must not be closed.
type File struct {
	FD   int
	Name string
	Addr string
}

// Socket describes a held address.
type Socket struct {
	Addr      string   // tcp://127.0.0.1:3000, tcp://[::]:3000, unix:/path
	Inode     uint64   // of its first share
	Workers   []uint64 // those alive that called listen on it, ascending
	Declared  bool
	Listening bool // false after a failed second listen(2)
	Shares    []Share
}

// Share is one of the sockets of an address, in the kernel's order.
type Share struct {
	Inode   uint64
	Index   int      // in the SO_REUSEPORT group
	Workers []uint64 // its owners, whether they listen yet or not, ascending
}

// Fact is what happened to a socket.
type Fact interface{ fact() }

type (
	// Bound says that a worker's bind(2) was answered with success.
	Bound struct {
		Worker    uint64
		App, Addr string
	}
	// Listening says that a process of a worker called listen(2) on a held
	// socket, told once for each process and socket.
	Listening struct {
		Worker    uint64
		App, Addr string
		PID       int // the process (tgid) that called listen
	}
	// Hung says that somebody called shutdown(2) on a held socket, which
	// stops it for everybody. It listens again already, unless Err says why
	// not. Worker is a guess, 0 if there is none.
	Hung struct {
		App, Addr string
		Worker    uint64
		Err       error
	}
	// Refused says that a worker got an error, and who has the address: an
	// app's name, or a process's pid and command.
	Refused struct {
		Worker    uint64
		App, Addr string
		Holder    string
		Err       error
	}
	// Unavailable says why the sockets of an app can't be shared by the
	// interceptor, once for an app and reason, maxReasons at most.
	Unavailable struct {
		Worker         uint64
		App            string
		Reason, Remedy string
	}
	// Closed says that a held address was closed by us.
	Closed struct{ App, Addr string }
	// Abandoned says that Count connections were reset which waited for a
	// worker that has left, and that nobody else took.
	Abandoned struct {
		App, Addr string
		Count     int
	}
)

func (Bound) fact()       {}
func (Listening) fact()   {}
func (Hung) fact()        {}
func (Refused) fact()     {}
func (Unavailable) fact() {}
func (Closed) fact()      {}
func (Abandoned) fact()   {}
