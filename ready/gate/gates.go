// Package gate is the supervisor's end of readiness: the channels by which one worker says that
// it is ready, and whatever else it says there. The worker's end is package ready.
//
//	READY_FD       a pipe; a line that ends in a newline (as with s6)
//	NOTIFY_SOCKET  sd_notify(3); a socket of the worker's own, the sender's credentials checked
//	node ipc       process.send('ready') on NODE_CHANNEL_FD, one JSON value per line
//	tableflip      a byte on the pipe of its parent, whom we play
//
// Invariants:
//   - The gate opens once, by the first channel; the end of a channel never opens it.
//   - Nothing that a worker writes, sends, floods, closes or leaves unread can block the
//     supervisor, or make it hold more than a named limit. Too much is slowed down, by leaving it
//     in the kernel; too long is skipped; too many messages are dropped and counted.
//   - What goes to Node is whole, valid JSON lines: anything else is an uncaught exception in the
//     worker. So a line once begun is finished before the next, whatever became of its sender.
//   - Our end of the Node channel is open as long as the Gates are: its end is 'disconnect' in the
//     worker. The owner calls Close only when the worker is gone.
//   - No descriptor that a worker passes to us enters our table.
//   - A ready message is looked at, told, and only then taken out of the kernel: who returns from
//     being told when it is on record gets it again after a crash of ours, and loses none. So does
//     Node's channel with every message that comes in one piece of up to 16 KiB; the rest of a
//     longer one is lost with us.
//   - What we write to Node is whole or not there, if it is no longer than 32 KiB: so much the
//     kernel takes in one piece (unix_stream_sendmsg, UNIX_SKB_FRAGS_SZ). A longer line that we die
//     in is cut for good.
package gate

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"supervisor/supervisor/fault"
	"supervisor/supervisor/notify"
)

// readyPipeSize is the READY_FD pipe's size in bytes, one page: a flood then blocks early, and
// the pages that a user may have in pipes (pipe(7)) are left to the logs.
const readyPipeSize = 4096

// Config says which channels a worker gets.
type Config struct {
	Worker uint64 // the worker's id, repeated in every fact

	FD     bool // READY_FD
	Notify bool // NOTIFY_SOCKET
	Node   bool // NODE_CHANNEL_FD

	// Tableflip excludes all others: its descriptors have fixed numbers.
	Tableflip *Tableflip

	// Allow tells whether a process may speak for the worker on NOTIFY_SOCKET: is it in the
	// worker's process group? Compulsory with Notify. pid is 0 for one that our pid namespace
	// doesn't show. It is called by a reader and must not block. The sender may be gone already,
	// unless it waits for its barrier (systemd-notify does): that is lifted after Allow.
	Allow func(pid int32, uid uint32) bool
}

// Child is what the worker's process inherits.
type Child struct {
	// Files are the worker's ends, close-on-exec here, to be placed in this order on consecutive
	// descriptors. They belong to the Gates: CloseChild closes them. With Tableflip the first is
	// to be TableflipBase, and the listeners, which stay the caller's, come after ours.
	Files []int

	fixed  []string // variables without a number
	number []string // the variable that names the descriptor, for each of Files
}

// Env is what the worker's environment needs, given that Files[0] becomes descriptor base.
func (c Child) Env(base int) []string {
	env := append([]string(nil), c.fixed...)
	for i, name := range c.number {
		env = append(env, name+"="+strconv.Itoa(base+i))
	}
	return env
}

// Gates are one worker's channels. CloseChild, Alone, Drain and Close are the owner's, one at a
// time; Start, Quiesce and Resume may come while the owner drains or closes; Send is anybody's at
// any time.
type Gates struct {
	worker  uint64
	facts   func(Fact)
	isReady atomic.Bool
	child   []int
	readers []*reader
	stream  []*reader // those of readers that end with the worker's end
	held    map[string]int
	said    *notified // nil without Notify
	out     *writer   // nil without Node
	parent  *os.File  // tableflip: open as long as the worker's predecessor is there
	closers []func() error

	turn sync.Mutex // of who lets the readers and the writer run, or rest
	over bool       // under turn: Drain or Close has put them to rest for good
}

// Open creates the channels and reads nothing yet. The caller forks with Child, and then calls
// CloseChild and Start; a failed fork is followed by Close. facts is called by the readers, from
// several goroutines. While it does not return, its channel is not read, and Quiesce waits; what
// it was told of Ready stays in the kernel until it has.
func Open(cfg Config, facts func(Fact)) (*Gates, Child, error) {
	g := &Gates{worker: cfg.Worker, facts: facts, held: make(map[string]int)}
	var c Child
	var err error
	if cfg.FD {
		err = g.openFD(&c)
	}
	if err == nil && cfg.Notify {
		err = g.openNotify(&c, cfg.Allow)
	}
	if err == nil && cfg.Node {
		err = g.openNode(&c)
	}
	if err == nil && cfg.Tableflip != nil {
		if len(g.child) > 0 {
			err = errors.New("cannot open tableflip's pipes: their numbers are fixed, and another channel was asked for")
		} else {
			err = g.openTableflip(&c, *cfg.Tableflip)
		}
	}
	if err != nil {
		g.Close()
		return nil, Child{}, err
	}
	c.Files = append(append([]int(nil), g.child...), c.Files...)
	return g, c, nil
}

func (g *Gates) openFD(c *Child) error {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return fmt.Errorf("cannot open a pipe for READY_FD: %w", err)
	}
	unix.FcntlInt(uintptr(p[1]), unix.F_SETPIPE_SZ, readyPipeSize) // a smaller pipe is a wish
	g.child = append(g.child, p[1])
	c.number = append(c.number, "READY_FD")
	return g.readFD(p[0])
}

// readFD takes our end of READY_FD over. Only that becomes non-blocking: the worker's stays
// blocking, as programs expect of a pipe.
func (g *Gates) readFD(fd int) error {
	file, err := nonblocking(fd, "READY_FD")
	if err != nil {
		return err
	}
	g.held[SuffixFD] = fd
	l := &readyPipe{g: g, bad: reporter{g: g, channel: ReadyFD}, line: readyLine{max: MaxReadyLine}}
	return g.addStream(file, l.step, readyPerWindow, &l.bad)
}

func (g *Gates) openNotify(c *Child, allow func(int32, uint32) bool) error {
	if allow == nil {
		return errUnchecked
	}
	socket, err := notify.Listen(fmt.Sprintf("supervisor/%d/", g.worker))
	if err != nil {
		return err
	}
	c.fixed = append(c.fixed, "NOTIFY_SOCKET="+socket.Addr())
	g.readNotify(socket, allow)
	return nil
}

var errUnchecked = errors.New("cannot open NOTIFY_SOCKET: nobody checks who speaks on it")

// readNotify takes the socket over.
func (g *Gates) readNotify(socket *notify.Receiver, allow func(int32, uint32) bool) {
	g.closers = append(g.closers, socket.Close)
	g.held[SuffixNotify] = socket.FD()
	g.said = &notified{g: g, socket: socket, allow: allow, bad: reporter{g: g, channel: NotifySocket}}
	g.readers = append(g.readers, newReader(g.said.receive, socket.SetDeadline, datagramsPerWindow, &g.said.bad))
}

func (g *Gates) openNode(c *Child) error {
	p, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("cannot open a channel for Node: %w", err)
	}
	g.child = append(g.child, p[1])
	c.number = append(c.number, "NODE_CHANNEL_FD")
	// Always said: an inherited "advanced" would change the framing.
	c.fixed = append(c.fixed, "NODE_CHANNEL_SERIALIZATION_MODE=json")
	return g.readNode(p[0], false)
}

// readNode takes our end of the Node channel over; torn: another has read of it.
func (g *Gates) readNode(fd int, torn bool) error {
	file, err := nonblocking(fd, "NODE_CHANNEL_FD")
	if err != nil {
		return err
	}
	if g.out, err = newWriter(file); err != nil {
		file.Close()
		return err
	}
	n := &nodeChannel{g: g, bad: reporter{g: g, channel: NodeIPC}, ack: g.out.ack, split: splitter{max: MaxLine}, torn: torn}
	g.held[SuffixNode] = fd
	return g.addStream(file, n.step, nodePerWindow, &n.bad)
}

// addStream takes file over, and reads it by step: one look at the descriptor, EAGAIN when
// there is nothing.
func (g *Gates) addStream(file *os.File, step func(fd int) (int, error), perWindow int, bad *reporter) error {
	g.closers = append(g.closers, file.Close)
	raw, err := file.SyscallConn()
	if err != nil {
		return fmt.Errorf("cannot read %s: %w", file.Name(), err)
	}
	wait := func() (cost int, err error) {
		if werr := raw.Read(func(fd uintptr) bool {
			cost, err = step(int(fd))
			return err != unix.EAGAIN
		}); werr != nil {
			return 0, werr
		}
		return cost, err
	}
	r := newReader(wait, file.SetReadDeadline, perWindow, bad)
	g.readers = append(g.readers, r)
	g.stream = append(g.stream, r)
	return nil
}

// nonblocking makes a file of a raw descriptor; non-blocking first, or Go's poller leaves it.
func nonblocking(fd int, name string) (*os.File, error) {
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("cannot read %s: %w", name, err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// CloseChild closes our copies of the worker's ends, which have to be closed for the end of a
// channel to be seen. Call it after the fork.
func (g *Gates) CloseChild() {
	for _, fd := range g.child {
		unix.Close(fd)
	}
	g.child = nil
}

// Start lets the readers run. They end with the worker's end of their channel, or with Close.
func (g *Gates) Start() { g.Resume() }

// Quiesce returns when no goroutine of the Gates touches a descriptor any more, and no fact
// comes until Resume. Nothing is closed; what the worker says meanwhile waits in the kernel.
// Sends wait, too.
func (g *Gates) Quiesce() {
	g.turn.Lock()
	defer g.turn.Unlock()
	g.rest()
}

// rest is Quiesce; turn is held.
func (g *Gates) rest() {
	for _, r := range g.readers {
		r.halt()
	}
	if g.out != nil {
		g.out.halt()
	}
	for _, r := range g.readers {
		r.join()
	}
	if g.out != nil {
		g.out.join()
		g.out.answer()
	}
}

// Resume undoes Quiesce. Channels that have ended stay so, and all of them after Drain.
func (g *Gates) Resume() {
	g.turn.Lock()
	defer g.turn.Unlock()
	if g.over {
		return
	}
	for _, r := range g.readers {
		r.start()
	}
	if g.out != nil {
		g.out.start()
	}
}

// Drain is for a worker that has exited: it returns when all that it said has been reported, or
// with ctx's error, since a process that it left behind may hold its ends open. No fact comes
// after it, and Send fails. Call it between Start and Close.
func (g *Gates) Drain(ctx context.Context) error {
	var err error
	for _, r := range g.stream {
		select {
		case <-r.ended:
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
	}
	g.turn.Lock()
	defer g.turn.Unlock()
	g.over = true
	g.rest()
	if g.out != nil {
		g.out.leave()
	}
	if g.said != nil {
		g.said.sweep() // a datagram socket has no end
	}
	return err
}

// Close ends the readers, fails the Sends that wait, and closes every descriptor. A worker that
// still lives sees the end of its Node channel. It may be called twice, and without Start.
func (g *Gates) Close() {
	g.turn.Lock()
	defer g.turn.Unlock()
	g.over = true
	g.rest()
	if g.out != nil {
		g.out.shut()
	}
	g.CloseChild()
	g.Alone()
	for _, c := range g.closers {
		c()
	}
	g.closers, g.held = nil, nil
}

// open reports Ready, the first time.
func (g *Gates) open(via Channel) {
	if g.isReady.CompareAndSwap(false, true) {
		fault.Point("gate.seen")
		g.facts(Ready{Worker: g.worker, Via: via})
		fault.Point("gate.told")
	}
}
