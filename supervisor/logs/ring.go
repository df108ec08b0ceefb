package logs

import (
	"bytes"
	"slices"
	"sync"
)

// ring keeps the last lines of a worker and puts its lines together. A leaf buffer: files of both streams feed it.
type ring struct {
	mu    sync.Mutex
	lines [][]byte // the oldest is at next once it is full; their memory is used again
	next  int
	open  [2]openLine
}

// openLine is the begin of a line whose end has not come yet.
type openLine struct {
	text []byte // at most LineMax
	cut  bool
}

func newRing() *ring { return &ring{} }

func (o *openLine) add(part []byte) {
	room := LineMax - len(o.text)
	if len(part) > room {
		part, o.cut = part[:room], true
	}
	o.text = append(o.text, part...)
}

// end is the whole line, of which last is the end, and whether it is cut to LineMax. It is valid until reset.
func (o *openLine) end(last []byte) (line []byte, cut bool) {
	if len(o.text) > 0 {
		o.add(last)
		last = o.text
	}
	cut = o.cut || len(last) > LineMax
	return last[:min(len(last), LineMax)], cut
}

func (o *openLine) reset() { o.text, o.cut = o.text[:0], false }

// feed takes the bytes that left a pipe: each whole line goes to the ring.
func (r *ring) feed(kind Stream, chunk []byte) {
	if len(chunk) == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	o := &r.open[kind]
	if i := tailStart(chunk, RingLines); i > 0 { // nobody looks at the lines before
		o.reset()
		chunk = chunk[i:]
	}
	for {
		line, rest, whole := bytes.Cut(chunk, []byte{'\n'})
		if !whole {
			o.add(line)
			return
		}
		line, _ = o.end(line)
		r.push(line)
		o.reset()
		chunk = rest
	}
}

// tailStart is where the last n whole lines of chunk begin, 0 if it has no more than that.
func tailStart(chunk []byte, n int) int {
	end := len(chunk)
	for range n + 1 {
		end = bytes.LastIndexByte(chunk[:end], '\n')
		if end < 0 {
			return 0
		}
	}
	return end + 1
}

// push adds a line; mu is held.
func (r *ring) push(line []byte) {
	line = line[:min(len(line), RingLineMax)]
	if len(r.lines) < RingLines {
		r.lines = append(r.lines, slices.Clone(line))
		return
	}
	r.lines[r.next] = append(r.lines[r.next][:0], line...)
	r.next = (r.next + 1) % RingLines
}

// endLine ends an open line of a stream that is over, and gives back its memory.
func (r *ring) endLine(kind Stream) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if o := &r.open[kind]; len(o.text) > 0 {
		r.push(o.text)
	}
	r.open[kind] = openLine{}
}

// prepend adds lines from before the first, as far as there is room.
func (r *ring) prepend(lines []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	room := max(RingLines-len(r.lines), 0) // it is full, or next is 0
	lines = lines[max(len(lines)-room, 0):]
	older := make([][]byte, 0, len(lines)+len(r.lines))
	for _, line := range lines {
		older = append(older, []byte(line[:min(len(line), RingLineMax)]))
	}
	r.lines = append(older, r.lines...)
}

func (r *ring) last(n int) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	lines := make([][]byte, 0, len(r.lines)+2)
	lines = append(lines, r.lines[r.next:]...)
	lines = append(lines, r.lines[:r.next]...)
	for _, o := range r.open {
		if len(o.text) > 0 {
			lines = append(lines, o.text[:min(len(o.text), RingLineMax)])
		}
	}
	lines = lines[max(len(lines)-max(n, 0), 0):]
	text := make([]string, len(lines))
	for i, line := range lines {
		text[i] = Printable(string(line))
	}
	return text
}
