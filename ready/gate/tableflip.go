package gate

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// A tableflip program (github.com/cloudflare/tableflip, env.go and parent.go) finds its
// parent's pipes and files by these.
const (
	tableflipSentinel = "TABLEFLIP_HAS_PARENT_7DIU3=yes"
	tableflipReady    = 42
	// TableflipBase is the descriptor on which Child.Files must begin with Tableflip.
	TableflipBase = 3
)

// flipPerWindow is how many bytes of the ready pipe are read in a window. There is one to read.
const flipPerWindow = 512

// Tableflip is what a tableflip program inherits from the parent that we play.
type Tableflip struct {
	Listeners []Listener
}

// openTableflip makes the ready pipe, written by the worker, and the names pipe, which holds the
// names of the files already and whose writing end we keep: its end says that the predecessor is
// gone (Alone).
func (g *Gates) openTableflip(c *Child, t Tableflip) error {
	var said, names [2]int
	if err := unix.Pipe2(said[:], unix.O_CLOEXEC); err != nil {
		return fmt.Errorf("cannot open tableflip's ready pipe: %w", err)
	}
	g.child = append(g.child, said[1])
	if err := g.readFlip(said[0]); err != nil {
		return err
	}
	if err := unix.Pipe2(names[:], unix.O_CLOEXEC); err != nil {
		return fmt.Errorf("cannot open tableflip's names pipe: %w", err)
	}
	g.child = append(g.child, names[0])
	if err := g.keepNames(names[1]); err != nil {
		return err
	}
	files := aliases(t.Listeners)
	text := encodeNames(files)
	if n, err := rawWrite(g.parent, text); err != nil || n != len(text) {
		return fmt.Errorf("cannot write the names of %d listeners into a pipe: %d of %d bytes: %v", len(t.Listeners), n, len(text), err)
	}
	c.fixed = append(c.fixed, tableflipSentinel)
	for _, f := range files {
		c.Files = append(c.Files, f.fd)
	}
	return nil
}

// readFlip takes our end of the ready pipe over.
func (g *Gates) readFlip(fd int) error {
	file, err := nonblocking(fd, "tableflip's ready pipe")
	if err != nil {
		return err
	}
	g.held[SuffixFlip] = fd
	p := &flipPipe{g: g, bad: reporter{g: g, channel: TableflipPipe}}
	return g.addStream(file, p.step, flipPerWindow, &p.bad)
}

// keepNames takes our end of the names pipe over. Ours alone is non-blocking: the worker's end
// stays as it is, and no worker of ours can block us.
func (g *Gates) keepNames(fd int) (err error) {
	if g.parent, err = nonblocking(fd, "tableflip's names pipe"); err == nil {
		g.held[SuffixFlipNames] = fd
	}
	return err
}

// rawWrite is one write(2), which takes everything or says so.
func rawWrite(f *os.File, b []byte) (n int, err error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return 0, err
	}
	if cerr := raw.Control(func(fd uintptr) { n, err = unix.Write(int(fd), b) }); cerr != nil {
		return 0, cerr
	}
	return max(n, 0), err
}

// Alone tells a tableflip worker that its predecessor is gone: its WaitForParent returns, and an
// Upgrade of its own is not refused any more. It may be called again, and for other workers.
// Whoever keeps our end of the names pipe too (Held) gives it up first.
func (g *Gates) Alone() {
	if g.parent != nil {
		g.parent.Close()
		g.parent = nil
		delete(g.held, SuffixFlipNames)
	}
}

// flipPipe reads the ready pipe: one byte, then its end.
type flipPipe struct {
	g   *Gates
	bad reporter
	buf [64]byte
}

func (p *flipPipe) step(fd int) (int, error) { return readPipe(fd, p.buf[:], p.heard) }

func (p *flipPipe) heard(b []byte) {
	if b[0] == tableflipReady {
		p.g.open(TableflipPipe)
	} else {
		p.bad.say("garbage", "byte %d instead of %d", b[0], tableflipReady)
	}
}
