package logs

import (
	"bytes"
	"context"
	"io"
	"maps"
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
	Cursor Cursor // just behind the line; of no file if its worker has none
	Mark   bool   // it is no line: a worker has opened a file that was none of the sources, and Cursor is where that is

	seq  uint64  // of the chunk that ended it
	cuts uint64  // how many truncations of files there were
	src  *source // nil: none
}

// Filter says which lines a follower gets.
type Filter struct {
	// Match is asked per worker; nil is all. It must not block.
	Match    func(worker uint64, label string) bool
	Out, Err bool // neither: both
}

func (f Filter) stream(kind Stream) bool {
	return kind == Stdout && f.Out || kind == Stderr && f.Err
}

// Follower gets lines as they leave the pipes. It holds no goroutine, and one that is not read costs at most
// followBytes: it loses lines, which are counted, and delays nobody. Those of its sources (FollowFrom) it does not lose,
// since they can be read again.
type Follower struct {
	set    *Set
	filter Filter
	wake   chan struct{} // cap 1

	order   []*source
	reading sync.Mutex // of who reads the sources' files, or closes them

	mu      sync.Mutex
	sources map[string]*source // by path; nil: it wants none
	met     []*source          // those that are not in order yet
	lines   []Line
	bytes   int
	lost    int64
	closed  bool
}

// hub is the list of followers, copied on write: with none a line costs one atomic load.
type hub struct {
	seq   atomic.Uint64 // counts the chunks that were shown
	cuts  atomic.Uint64 // counts the truncations of files
	mu    sync.Mutex
	moved map[string][]movedFile // by path, the last movedFiles of each
	cut   map[FileID]uint64      // the last truncation of a file, by what it was of all; the last cutFiles of them
	list  atomic.Pointer[[]*Follower]
	over  bool
}

// Follow returns a follower of what matches filter, from now on, until its Close.
func (s *Set) Follow(filter Filter) *Follower {
	f := s.newFollower(filter)
	s.hub.add(f)
	return f
}

func (s *Set) newFollower(filter Filter) *Follower {
	if !filter.Out && !filter.Err {
		filter.Out, filter.Err = true, true
	}
	return &Follower{set: s, filter: filter, wake: make(chan struct{}, 1)}
}

// Next returns the lines that wait, at least one; after Close, or that of the Set, io.EOF when none is left; else
// the error of ctx. It is for one goroutine at a time.
func (f *Follower) Next(ctx context.Context) ([]Line, error) {
	for {
		if lines := f.fromFiles(); len(lines) > 0 {
			return lines, nil
		}
		lines, behind, closed := f.take()
		lines = f.fresh(lines)
		for _, src := range behind { // what comes is behind these lines, and before what is queued from here on
			src.aim(f.set)
			src.reading = true
		}
		switch {
		case len(lines) > 0:
			return lines, nil
		case len(behind) > 0:
			continue
		case closed:
			f.zip()
			return nil, io.EOF
		}
		select {
		case <-f.wake:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// take empties the queue.
func (f *Follower) take() (lines []Line, behind []*source, closed bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	lines = f.lines
	f.lines, f.bytes = nil, 0
	if len(f.met) > 0 {
		f.reading.Lock()
		f.order, f.met = append(f.order, f.met...), nil
		f.reading.Unlock()
	}
	for _, src := range f.order {
		if src.behind {
			src.behind = false
			behind = append(behind, src)
		}
	}
	return lines, behind, f.closed
}

// Close ends the follower.
func (f *Follower) Close() {
	f.set.hub.remove(f)
	f.end()
	f.zip()
}

// zip closes what is open of the sources.
func (f *Follower) zip() {
	f.reading.Lock()
	defer f.reading.Unlock()
	for _, src := range f.order {
		src.zip()
	}
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
	if !f.filter.stream(st.kind) {
		return false
	}
	return f.filter.Match == nil || f.filter.Match(st.worker, st.label)
}

// push takes a line that begins at an offset of its file.
func (f *Follower) push(line Line, begin int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return
	}
	at := line.Cursor
	src := f.sources[at.Path]
	if src == nil && at.File != 0 && f.sources != nil {
		at.Offset = min(at.Offset, begin)
		src = f.meet(Source{at.Path, line.Label, line.Stream}, at, line.seq-1, line.cuts)
	}
	if src != nil && src.behind {
		return
	}
	line.src = src
	if f.bytes+len(line.Text)+lineCost > followBytes {
		if src != nil {
			src.behind = true
		} else {
			f.lost++
		}
		return
	}
	f.bytes += len(line.Text) + lineCost
	line.Lost, f.lost = f.lost, 0
	f.lines = append(f.lines, line)
	f.poke()
}

// opens marks a file that is unknown to the follower.
func (f *Follower) opens(mark Line) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed || f.sources == nil || f.sources[mark.Cursor.Path] != nil {
		return
	}
	mark.src = f.meet(Source{mark.Cursor.Path, mark.Label, mark.Stream}, mark.Cursor, mark.seq-1, mark.cuts)
	f.lines = append(f.lines, mark) // also where no line has room: a file has one mark
	f.bytes += lineCost
	f.poke()
}

// tellOpen tells followers that st writes the file from here on.
func (f *file) tellOpen(st *stream) {
	followers := f.set.hub.matching(st)
	if followers == nil || f.id == 0 {
		return
	}
	p := &f.shown
	p.mu.Lock()
	defer p.mu.Unlock()
	p.file, p.size, p.seq = f.id, f.size, f.set.hub.seq.Add(1)
	at := Cursor{f.path, f.id, f.size}
	if !f.lineStart {
		open := len(f.openEnd())
		if open == 0 || open >= chunkSize {
			return // no cursor is in the middle of a line: the first line will tell
		}
		at.Offset -= int64(open)
	}
	for _, follower := range followers {
		follower.opens(Line{Worker: st.worker, Label: st.label, Stream: st.kind, Cursor: at, Mark: true, seq: p.seq, cuts: f.set.hub.cuts.Load()})
	}
}

// show gives what was written at begin of the file for st to followers.
func (f *file) show(st *stream, chunk []byte, begin int64) {
	p := &f.shown
	p.mu.Lock()
	defer p.mu.Unlock()
	p.file, p.size, p.seq = f.id, f.size, f.set.hub.seq.Add(1)
	followers := f.set.hub.matching(st)
	if len(chunk) > 0 && len(f.left.text) > 0 {
		st.shown, f.left = f.left, openLine{}
	}
	line := Line{Worker: st.worker, Label: st.label, Stream: st.kind, seq: p.seq, cuts: f.set.hub.cuts.Load()}
	if followers == nil {
		if i := bytes.LastIndexByte(chunk, '\n') + 1; i > 0 {
			st.shown.reset()
			chunk = chunk[i:]
		}
	} else {
		line.Time = time.Now()
	}
	end := begin
	for {
		text, rest, whole := bytes.Cut(chunk, []byte{'\n'})
		if !whole {
			st.shown.add(text)
			return
		}
		begin = end - int64(len(st.shown.text))
		end += int64(len(text)) + 1
		text, line.Cut = st.shown.end(text)
		line.Text = strings.TrimSuffix(string(text), "\r")
		if f.id != 0 {
			line.Cursor = Cursor{f.path, f.id, min(end, f.size)} // what could not be written is not there
		}
		for _, follower := range followers {
			follower.push(line, begin)
		}
		st.shown.reset()
		chunk = rest
	}
}

// wasTruncated notes it for followers that have not read the file yet: what they would find is newer.
func (h *hub) wasTruncated(id FileID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.cut == nil {
		h.cut = make(map[FileID]uint64)
	}
	n := h.cuts.Add(1)
	h.cut[id] = n
	if len(h.cut) > cutFiles {
		maps.DeleteFunc(h.cut, func(_ FileID, nth uint64) bool { return nth <= n-cutFiles })
	}
}

// wasCut says that a file was truncated after so many truncations.
func (h *hub) wasCut(id FileID, cuts uint64) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.cut[id] > cuts
}

// publish says what is there already, by whomever it was written.
func (f *file) publish() {
	f.shown.mu.Lock()
	defer f.shown.mu.Unlock()
	f.shown.file, f.shown.size, f.shown.seq = f.id, f.size, f.set.hub.seq.Load()
}

// truncated says that the file has been, to what its size is now.
func (f *file) truncated() {
	f.lineStart, f.limit, f.left = true, f.cfg.MaxSize, openLine{}
	f.shown.mu.Lock()
	defer f.shown.mu.Unlock()
	f.shown.file, f.shown.size = f.id, f.size
	f.set.hub.wasTruncated(f.id)
}

// feed gives bytes that left the pipe of st, and are at begin of the file, to the ring and to followers.
func (f *file) feed(st *stream, chunk []byte, begin int64) {
	if len(chunk) > 0 {
		st.ring.feed(st.kind, chunk)
		f.show(st, chunk, begin)
	}
}

func (h *hub) add(f *Follower) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.over {
		f.closed = true
		return
	}
	list := append(h.followers(nil), f)
	h.list.Store(&list)
}

func (h *hub) remove(f *Follower) {
	h.mu.Lock()
	defer h.mu.Unlock()
	list := h.followers(f)
	h.list.Store(&list)
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
