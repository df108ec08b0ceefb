package logs

import (
	"bytes"
	"slices"
	"sync"
	"time"
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

// feed takes the bytes that left a pipe. Each whole line goes to the ring and to followers.
func (s *Set) feed(st *stream, chunk []byte) {
	if len(chunk) == 0 {
		return
	}
	followers := s.hub.matching(st)
	var now time.Time
	if followers != nil {
		now = time.Now()
	}
	r := st.ring
	r.mu.Lock()
	defer r.mu.Unlock()
	o := &r.open[st.kind]
	if followers == nil {
		if i := tailStart(chunk, RingLines); i > 0 { // nobody looks at the lines before
			o.text, o.cut = o.text[:0], false
			chunk = chunk[i:]
		}
	}
	for {
		line, rest, whole := bytes.Cut(chunk, []byte{'\n'})
		if !whole {
			o.add(line)
			return
		}
		if len(o.text) > 0 {
			o.add(line)
			line = o.text
		}
		cut := o.cut || len(line) > LineMax
		line = line[:min(len(line), LineMax)]
		r.push(line)
		for _, f := range followers {
			f.push(now, st, line, cut)
		}
		o.text, o.cut = o.text[:0], false
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
