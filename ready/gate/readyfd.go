package gate

import "bytes"

const (
	// MaxReadyLine is the longest line on READY_FD that opens the gate, in bytes. A program that
	// writes more than that there took the descriptor for something else.
	MaxReadyLine = 4096
	// readyPerWindow is how many bytes of READY_FD are read in a window.
	readyPerWindow = 8192
)

// readyPipe reads READY_FD. After the line it drains, so that a worker that writes on is neither
// blocked nor killed by SIGPIPE.
type readyPipe struct {
	g    *Gates
	bad  reporter
	line readyLine
	buf  [512]byte
}

func (p *readyPipe) step(fd int) (int, error) {
	if p.g.isReady.Load() {
		return drainPipe(fd, p.buf[:], p.heard)
	}
	return readPipe(fd, p.buf[:], p.heard)
}

// heard takes the next bytes. Parts of a line may be taken out of the pipe before its end
// comes: whoever follows us finds that, and doesn't need the rest.
func (p *readyPipe) heard(b []byte) {
	opened, long := p.line.feed(b)
	if long {
		p.bad.say("long", "a line of more than %d bytes, which is not a ready message", MaxReadyLine)
	}
	if opened {
		p.g.open(ReadyFD)
	}
}

// readyLine looks for the first line of at most max bytes. What is in it doesn't
// matter (s6: "notification-fd").
type readyLine struct {
	max    int
	length int
	over   bool // found
}

// feed takes the next bytes. opened and long are true once per event, not from then on.
func (l *readyLine) feed(p []byte) (opened, long bool) {
	for !l.over && len(p) > 0 {
		i := bytes.IndexByte(p, '\n')
		n := i
		if i < 0 {
			n = len(p)
		}
		if l.length <= l.max && l.length+n > l.max {
			long = true
		}
		l.length = min(l.length+n, l.max+1)
		if i < 0 {
			return false, long
		}
		l.over = l.length <= l.max
		opened = l.over
		l.length = 0
		p = p[i+1:]
	}
	return opened, long
}
