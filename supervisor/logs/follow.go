package logs

import (
	"context"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// followBytes bounds what waits for a follower.
const followBytes = 1 << 20

// lineCost is what a waiting Line takes beside its text, roughly.
const lineCost = 96

// Line is one line that a worker wrote.
type Line struct {
	Time   time.Time // when it left the pipe
	Worker uint64
	Label  string
	Stream Stream
	Text   string // as written, without its newline; see Printable
	Cut    bool   // Text is the begin of a line longer than LineMax
	Lost   int64  // lines lost before this one because the follower was slow
}

// Filter says which lines a follower gets.
type Filter struct {
	// Match is asked per worker; nil is all. It must not block.
	Match    func(worker uint64, label string) bool
	Out, Err bool // neither: both
}

// Follower gets lines as they leave the pipes. It holds no goroutine, and one that is not read costs at most
// followBytes: it loses lines, which are counted, and delays nobody.
type Follower struct {
	hub    *hub
	filter Filter
	wake   chan struct{} // cap 1

	mu     sync.Mutex
	lines  []Line
	bytes  int
	lost   int64
	closed bool
}

// hub is the list of followers, copied on write: with none a line costs one atomic load.
type hub struct {
	mu   sync.Mutex
	list atomic.Pointer[[]*Follower]
	over bool
}

// Follow returns a follower of what matches filter, from now on, until its Close.
func (s *Set) Follow(filter Filter) *Follower {
	if !filter.Out && !filter.Err {
		filter.Out, filter.Err = true, true
	}
	f := &Follower{hub: &s.hub, filter: filter, wake: make(chan struct{}, 1)}
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	if s.hub.over {
		f.closed = true
		return f
	}
	list := append(s.hub.followers(nil), f)
	s.hub.list.Store(&list)
	return f
}

// Next returns the lines that wait, at least one; after Close, or that of the Set, io.EOF when none is left; else
// the error of ctx.
func (f *Follower) Next(ctx context.Context) ([]Line, error) {
	for {
		f.mu.Lock()
		lines, closed := f.lines, f.closed
		f.lines, f.bytes = nil, 0
		f.mu.Unlock()
		if len(lines) > 0 {
			return lines, nil
		}
		if closed {
			return nil, io.EOF
		}
		select {
		case <-f.wake:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Close ends the follower.
func (f *Follower) Close() {
	f.hub.mu.Lock()
	list := f.hub.followers(f)
	f.hub.list.Store(&list)
	f.hub.mu.Unlock()
	f.end()
}

func (f *Follower) end() {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	f.poke()
}

func (f *Follower) poke() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

func (f *Follower) wants(st *stream) bool {
	if st.kind == Stdout && !f.filter.Out || st.kind == Stderr && !f.filter.Err {
		return false
	}
	return f.filter.Match == nil || f.filter.Match(st.worker, st.label)
}

func (f *Follower) push(now time.Time, st *stream, line []byte, cut bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return
	}
	if f.bytes+len(line)+lineCost > followBytes {
		f.lost++
		return
	}
	f.bytes += len(line) + lineCost
	text := strings.TrimSuffix(string(line), "\r")
	f.lines = append(f.lines, Line{Time: now, Worker: st.worker, Label: st.label, Stream: st.kind,
		Text: text, Cut: cut, Lost: f.lost})
	f.lost = 0
	f.poke()
}

// followers is a copy of the list, without one.
func (h *hub) followers(without *Follower) []*Follower {
	var list []*Follower
	if old := h.list.Load(); old != nil {
		for _, f := range *old {
			if f != without {
				list = append(list, f)
			}
		}
	}
	return list
}

// matching are the followers that want lines of st; nil is none.
func (h *hub) matching(st *stream) []*Follower {
	list := h.list.Load()
	if list == nil {
		return nil
	}
	var wanted []*Follower
	for _, f := range *list {
		if f.wants(st) {
			wanted = append(wanted, f)
		}
	}
	return wanted
}

func (h *hub) close() {
	h.mu.Lock()
	h.over = true
	list := h.followers(nil)
	h.list.Store(nil)
	h.mu.Unlock()
	for _, f := range list {
		f.end()
	}
}
