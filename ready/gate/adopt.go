package gate

import (
	"errors"
	"maps"

	"golang.org/x/sys/unix"

	"supervisor/supervisor/notify"
)

// The names by which Held and Adopt know our descriptors; the worker's id comes before them in
// the store that keeps them over our death.
const (
	SuffixFD        = ".r" // READY_FD, a pipe's read end
	SuffixNotify    = ".d" // NOTIFY_SOCKET, the bound datagram socket
	SuffixNode      = ".c" // the Node channel, a stream socket
	SuffixFlip      = ".x" // tableflip's ready pipe, its read end
	SuffixFlipNames = ".y" // tableflip's names pipe, its write end, until Alone
)

// Held is our descriptors by their suffix. They stay the Gates', and are valid until Close (that
// of the names pipe until Alone).
func (g *Gates) Held() map[string]int { return maps.Clone(g.held) }

// Adopt goes on with the channels that a process which is no more has opened: held is what its
// Held said. The descriptors are the Gates' from then on, and closed on an error; under other
// names they stay the caller's. A channel that is not in held is over. Of cfg only Worker and
// Allow count. isReady says that Ready is on record: it does not come again.
//
// Start, facts and everything else is as after Open. What the worker has said and nobody was told
// of comes now; what was told and not taken out of the kernel comes twice: Ready, unless isReady,
// and Node's messages. Of a message that the predecessor has read in part the rest is skipped, or
// taken for one of its own where it happens to be JSON.
func Adopt(cfg Config, held map[string]int, isReady bool, facts func(Fact)) (*Gates, error) {
	g := &Gates{worker: cfg.Worker, facts: facts, held: make(map[string]int)}
	g.isReady.Store(isReady)
	var failed error
	take := func(suffix string, adopt func(fd int) error) {
		if fd, ok := held[suffix]; ok {
			failed = errors.Join(failed, adopt(fd))
		}
	}
	take(SuffixFD, g.readFD)
	take(SuffixNotify, func(fd int) error { return g.adoptNotify(fd, cfg.Allow) })
	take(SuffixNode, func(fd int) error { return g.readNode(fd, true) })
	take(SuffixFlip, g.readFlip)
	take(SuffixFlipNames, g.keepNames)
	if failed != nil {
		g.Close()
		return nil, failed
	}
	return g, nil
}

func (g *Gates) adoptNotify(fd int, allow func(int32, uint32) bool) error {
	if allow == nil {
		unix.Close(fd)
		return errUnchecked
	}
	socket, err := notify.Adopt(fd)
	if err != nil {
		return err
	}
	g.readNotify(socket, allow)
	return nil
}
