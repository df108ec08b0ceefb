package gate

import (
	"bytes"
	"encoding/json"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// MaxMessages and MaxMessageBytes are how much of what a worker says with process.send() is
	// passed on in a second.
	MaxMessages     = 256
	MaxMessageBytes = 2 << 20
	// nodePerWindow is what is read of a channel in a window: a byte costs 1, a byte of a line
	// that is dealt with parseCost more, a call and a line lineCost on top.
	nodePerWindow = 4 << 20
	parseCost     = 3
	lineCost      = 256
	// nodeBuffer is how much is looked at in one call of a busy channel. A quiet one, as most are,
	// makes do with smallBuffer: a daemon has many.
	nodeBuffer  = 16 << 10
	smallBuffer = 512
)

// nodeChannel reads NODE_CHANNEL_FD. A line is looked at (MSG_PEEK), dealt with, and only then
// consumed: whoever records a fact before facts returns gets it again after a crash, and loses
// none. Lines that come in parts, or are longer than nodeBuffer, are the exception: their parts
// are in our memory alone.
type nodeChannel struct {
	g     *Gates
	bad   reporter
	ack   func() bool // answers a handle; false when too many answers wait
	split splitter
	torn  bool   // the next line may be the rest of one that our predecessor has begun to read
	buf   []byte // nodeBuffer while there is much to read, else nil
	small [smallBuffer]byte

	second  time.Time // the second that passed and size count in
	passed  int
	size    int
	dropped uint64
}

func (n *nodeChannel) step(fd int) (int, error) {
	seen, err := n.peek(fd)
	if err != nil || len(seen) == 0 {
		return 0, err
	}
	// Whole lines, if there are any. Never wait for the rest of one: a worker that writes byte by
	// byte fills the socket with less than a line.
	if i := bytes.LastIndexByte(seen, '\n'); i >= 0 {
		seen = seen[:i+1]
	}
	cost := len(seen) + lineCost
	now := time.Now()
	n.split.feed(seen, func(line []byte, long bool) {
		if long {
			n.long(line)
			return
		}
		cost += lineCost + parseCost*len(line)
		n.line(line, now)
		n.torn = false
	})
	consume(fd, seen)
	return cost, nil
}

// peek returns what is in the socket, up to nodeBuffer. There is no room for control messages:
// the kernel closes the handles that an app passes to us.
func (n *nodeChannel) peek(fd int) ([]byte, error) {
	for {
		buf := n.buf
		if buf == nil {
			buf = n.small[:]
		}
		got, _, err := unix.Recvfrom(fd, buf, unix.MSG_PEEK|unix.MSG_DONTWAIT)
		if got, err = readSome(got, err); err != nil {
			return nil, err
		}
		if n.buf == nil && got == len(buf) {
			n.buf = make([]byte, nodeBuffer) // and look again
			continue
		}
		if got < smallBuffer {
			n.buf = nil
		}
		return buf[:got], nil
	}
}

// consume takes what has been seen out of the socket; in parts, where a handle came between.
func consume(fd int, seen []byte) {
	for len(seen) > 0 {
		k, _, err := unix.Recvfrom(fd, seen, unix.MSG_DONTWAIT)
		if err == unix.EINTR {
			continue
		}
		if err != nil || k == 0 {
			return // it was there, so it can't be
		}
		seen = seen[k:]
	}
}

// long hears of a line that is too long, and gets its beginning. If it came with a handle, Node
// waits for the answer with everything else it has to say.
func (n *nodeChannel) long(head []byte) {
	n.bad.say("long", "a message of more than %d bytes", MaxLine)
	if bytes.HasPrefix(head, []byte(`{"cmd":"NODE_HANDLE",`)) {
		n.answer()
	}
}

func (n *nodeChannel) line(line []byte, now time.Time) {
	f := decode(line)
	if f.kind == frameHandle {
		n.answer()
		f = decode(f.inner)
	}
	switch f.kind {
	case frameReady:
		n.g.open(NodeIPC)
	case frameUser:
		n.pass(f, now)
	case frameGarbage:
		n.garbage()
	}
}

func (n *nodeChannel) garbage() {
	if !n.torn {
		n.bad.say("garbage", "not a JSON line")
	}
}

func (n *nodeChannel) answer() {
	if !n.ack() {
		n.bad.say("handles", "handles without end, and the answers are not read")
	}
}

// pass hands a message on, unless there are too many in this second.
func (n *nodeChannel) pass(f frame, now time.Time) {
	if now.Sub(n.second) >= time.Second {
		n.second, n.passed, n.size = now, 0, 0
	}
	if n.passed >= MaxMessages || n.size+len(f.inner) > MaxMessageBytes {
		n.dropped++
		n.bad.say("flood", "more than %d messages or %d bytes in a second: dropped", MaxMessages, MaxMessageBytes)
		return
	}
	// Counted before it is looked at: garbage costs no less.
	n.passed++
	n.size += len(f.inner)
	if !json.Valid(f.inner) {
		n.garbage()
		return
	}
	n.g.facts(Message{Worker: n.g.worker, JSON: bytes.Clone(f.inner), Dropped: n.dropped})
	n.dropped = 0
}

type frameKind uint8

const (
	frameGarbage  frameKind = iota
	frameReady              // "ready", which is all that pm2 takes for it, too
	frameUser               // inner is the message, perhaps not valid JSON
	frameHandle             // inner is the message that came with the handle
	frameInternal           // Node's own; not for us
)

type frame struct {
	kind  frameKind
	inner []byte
}

// decode tells what a line is. It doesn't look at more of a user's message than it must.
func decode(line []byte) frame {
	line = bytes.Trim(line, " \t\r") // what JSON takes for space, in a line
	switch {
	case len(line) == 0:
		return frame{kind: frameGarbage}
	case string(line) == `"ready"`:
		return frame{kind: frameReady}
	case line[0] != '{' || !bytes.Contains(line, []byte(`"NODE_`)):
		return frame{kind: frameUser, inner: line}
	}
	// A map and not a struct: encoding/json takes "CMD" for cmd, and an answer that Node doesn't
	// expect is an exception in it.
	var m map[string]json.RawMessage
	if json.Unmarshal(line, &m) != nil {
		return frame{kind: frameGarbage}
	}
	var cmd string
	if json.Unmarshal(m["cmd"], &cmd) != nil || !strings.HasPrefix(cmd, "NODE_") || cmd == "NODE_" {
		return frame{kind: frameUser, inner: line}
	}
	if cmd == "NODE_HANDLE" {
		return frame{kind: frameHandle, inner: m["msg"]}
	}
	return frame{kind: frameInternal}
}
