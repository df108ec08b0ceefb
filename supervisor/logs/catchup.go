package logs

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
)

// A follower reads so many bytes of a file, and takes so many lines of it, at once.
const (
	catchUpBlock = 256 << 10
	catchUpLines = 4096
	movedFiles   = 16 // that are remembered of a log
	cutFiles     = 64 // truncated ones that are remembered
)

// place is how far the lines of a file have been shown to followers.
type place struct {
	file FileID
	size int64  // the bytes before it were shown, or were there before this process
	seq  uint64 // of the last chunk that was
	cuts uint64 // how many truncations of files there were
}

// shownPlace is a leaf buffer with the place of a file.
type shownPlace struct {
	mu sync.Mutex
	place
}

// Source is a log file that a follower can read what it did not get from: the lines of before it, and those that were
// too many to wait for it in memory.
type Source struct {
	Path   string
	Label  string // for its lines
	Stream Stream
}

// source is a Source on its way. But for behind, it belongs to whoever calls Next.
type source struct {
	Source
	behind bool // under Follower.mu: lines were not queued since they did not fit, so the file has to be read

	at      Cursor            // the lines before it were delivered
	seq     uint64            // the lines in memory up to this one are among them
	cuts    uint64            // how many truncations of files there were then
	long    []byte            // at is in the middle of a line that begins so; nil: it is not
	known   map[string]FileID // of compressed files
	unzip   *unzipped         // the compressed file that is being read; nil: none
	given   Cursor            // what at was at first; of no file once a line behind it came through memory
	unsure  bool              // at is of another Set's time, in which the file may have been truncated
	reading bool
	goal    place // how far to read
}

// FollowFrom returns a follower as Follow does, which gets of each source first the lines behind its cursor, and no
// line of it twice. A source without a cursor is followed from now on, and so is a file that a worker opens later: a Mark
// says where it is then. Lines are lost only with files that are removed or flushed before they are read, or moved where
// that was in the time of another Set, and the cursor is in an older one. Cursors in what is no source are of no account.
func (s *Set) FollowFrom(filter Filter, cursors Cursors, sources ...Source) *Follower {
	f := s.newFollower(filter)
	f.sources = make(map[string]*source)
	for _, from := range sources {
		from.Path = canonical(from.Path)
		if from.Path == "" || !f.filter.stream(from.Stream) || f.sources[from.Path] != nil {
			continue
		}
		f.order = append(f.order, f.add(from))
	}
	s.hub.add(f) // from here on its lines are queued; what was shown before is before the places that follow
	for _, src := range f.order {
		if at, ok := cursors.Of(src.Path); ok {
			src.at, src.given, src.reading, src.unsure = at, at, true, true
			continue
		}
		p := s.placeOf(src.Path)
		src.at, src.seq, src.cuts = Cursor{src.Path, p.file, p.size}, p.seq, p.cuts
	}
	for _, src := range f.order {
		if src.reading {
			src.goal = s.placeOf(src.Path)
			src.cuts = src.goal.cuts
		}
	}
	return f
}

// Sources are the files that workers write now, each once, whether anything names them still or not.
func (s *Set) Sources(filter Filter) (all []Source) {
	if !filter.Out && !filter.Err {
		filter.Out, filter.Err = true, true
	}
	known := map[string]bool{"": true} // which is no file
	s.reg.mu.Lock()
	defer s.reg.mu.Unlock()
	for _, c := range s.reg.workers {
		for _, st := range c.streams {
			if !known[st.file.path] && filter.stream(st.kind) && (filter.Match == nil || filter.Match(st.worker, st.label)) {
				known[st.file.path] = true
				all = append(all, Source{st.file.path, st.label, st.kind})
			}
		}
	}
	return all
}

// add makes a new source; mu is held, or nobody else has the follower.
func (f *Follower) add(from Source) *source {
	src := &source{Source: from, known: make(map[string]FileID)}
	f.sources[from.Path] = src
	return src
}

// meet adds a source that was unknown when the follower was made: what is shown after seq is behind at.
func (f *Follower) meet(from Source, at Cursor, seq, cuts uint64) *source {
	src := f.add(from)
	src.at, src.seq, src.cuts = at, seq, cuts
	f.met = append(f.met, src)
	return src
}

// placeOf is how far the file at path is shown. One that is not open is shown as it is.
func (s *Set) placeOf(path string) place {
	for {
		s.reg.mu.Lock()
		f, opened := s.reg.files[path], s.reg.opened
		seq := s.hub.seq.Load()
		s.reg.mu.Unlock()
		if f != nil {
			if !f.owned.Load() { // what an earlier process has written at last is not known yet, and about to be
				_ = f.call(func() error { return nil })
			}
			f.shown.mu.Lock()
			defer f.shown.mu.Unlock()
			p := f.shown.place
			p.cuts = s.hub.cuts.Load()
			return p
		}
		p := place{seq: seq, cuts: s.hub.cuts.Load()}
		if st, err := os.Stat(path); err == nil {
			if id, err := idOf(path); err == nil {
				p.file, p.size = id, st.Size()
			}
		}
		s.reg.mu.Lock()
		unchanged := s.reg.opened == opened
		s.reg.mu.Unlock()
		if unchanged {
			return p
		}
	}
}

// fromFiles are lines of the sources that have to be read; none if there is nothing to read.
func (f *Follower) fromFiles() []Line {
	f.reading.Lock()
	defer f.reading.Unlock()
	for _, src := range f.order {
		for src.reading {
			if lines := src.read(f.set); len(lines) > 0 {
				return lines
			}
		}
	}
	return nil
}

// read returns the next lines on the way to the goal. Without any it has gone on to the next file, or is there.
func (src *source) read(s *Set) []Line {
	files, to := src.files(s)
	if to < 0 {
		src.arrive()
		return nil
	}
	i := slices.IndexFunc(files, func(r retained) bool { return r.id == src.at.File })
	if i < 0 { // what the cursor was in is gone
		i = slices.IndexFunc(files, func(r retained) bool { return !r.id.isOlder(src.at.File) })
		if i < 0 || i > to {
			src.arrive()
			return nil
		}
		src.at.Offset, src.long = 0, nil
	}
	src.at.File = files[i].id
	if src.unsure {
		src.unsure = false
		src.verify(files[i])
	}
	size := catchUpBlock
	if i >= to {
		size = int(max(0, min(int64(size), src.goal.size-src.at.Offset)))
	}
	block, err := src.block(files[i], size)
	switch {
	case i >= to && s.hub.wasCut(src.goal.file, src.goal.cuts): // what is there is newer than the goal
		src.at.Offset, src.cuts, src.long = 0, s.hub.cuts.Load(), nil
		src.arrive()
		return nil
	case errors.Is(err, io.EOF) && src.at.Offset > 0: // truncated, by whom nobody knows
		src.at.Offset, src.long = 0, nil
		return nil
	case errors.Is(err, fs.ErrNotExist): // compressed or removed this moment: look again
		return nil
	}
	ended := err != nil || len(block) < size || size < catchUpBlock
	lines := src.cut(block, ended && i < to)
	switch {
	case len(lines) > 0 || !ended:
		return lines
	case i < to:
		src.at.File, src.at.Offset, src.long = files[i+1].id, 0, nil
	default:
		src.arrive()
	}
	return nil
}

// verify takes back a cursor that is in the middle of a line, which none is: the file was truncated, and is longer than
// it was by now.
func (src *source) verify(r retained) {
	if src.at.Offset == 0 {
		return
	}
	src.at.Offset--
	around, err := src.block(r, 2)
	src.at.Offset++
	if err == nil && len(around) == 2 && around[0] != '\n' {
		src.at.Offset = 0
	}
}

// block reads up to size bytes of a file from where the source is. It is valid until the next call.
func (src *source) block(r retained, size int) ([]byte, error) {
	if !strings.HasSuffix(r.name, gzSuffix) {
		src.zip()
		return r.block(src.at.Offset, size)
	}
	if src.unzip == nil || src.unzip.name != r.name || src.unzip.at > src.at.Offset {
		src.zip()
		u, err := unzip(r.name)
		if err != nil {
			return nil, err
		}
		src.unzip = u
	}
	return src.unzip.block(src.at.Offset, size)
}

// zip closes the compressed file that was read.
func (src *source) zip() {
	if src.unzip != nil {
		src.unzip.file.Close()
		src.unzip = nil
	}
}

// files are those that are kept, and which of them the goal is in; negative if it was removed, and others after it.
func (src *source) files(s *Set) ([]retained, int) {
	for range 3 { // a goal of now is in a file of now, unless that is removed this moment
		files := retainedFiles(src.Path, src.known)
		for _, moved := range slices.Backward(s.hub.movedOf(src.Path)) { // the one behind it may have been, too
			files = withMoved(files, src.Path, moved)
		}
		for _, id := range []FileID{src.at.File, src.goal.file} {
			files = withMoved(files, src.Path, movedFile{id: id})
		}
		if to := slices.IndexFunc(files, func(r retained) bool { return r.id == src.goal.file }); to >= 0 {
			return files, to
		}
		src.aim(s)
	}
	return nil, -1
}

// aim has the source read up to what is shown now.
func (src *source) aim(s *Set) {
	src.goal = s.placeOf(src.Path)
	if s.hub.wasCut(src.at.File, src.cuts) {
		src.at.Offset, src.long = 0, nil
	}
	src.cuts = src.goal.cuts
}

// arrive ends the reading.
func (src *source) arrive() {
	src.zip()
	src.reading, src.seq = false, max(src.seq, src.goal.seq)
}

// cut takes the whole lines of a block. The end of a file is the end of a line.
func (src *source) cut(block []byte, isEnd bool) (lines []Line) {
	for len(block) > 0 && len(lines) < catchUpLines {
		text, rest, whole := bytes.Cut(block, []byte{'\n'})
		if !whole && !isEnd && len(block) < catchUpBlock {
			break // its end comes with the next block, or through memory
		}
		src.at.Offset += int64(len(block) - len(rest))
		block = rest
		cut := len(text) > LineMax || src.long != nil
		if src.long == nil {
			src.long = text[:min(len(text), LineMax)]
		}
		if !whole && !isEnd { // no cursor is in the middle of a line, so this one comes with its end
			src.long = bytes.Clone(src.long)
			break
		}
		lines = append(lines, Line{Label: src.Label, Stream: src.Stream, Cursor: src.at, Cut: cut,
			Text: strings.TrimSuffix(string(src.long), "\r")})
		src.long = nil
	}
	return lines
}

// fresh takes out of lines those that were read from a file already, and says how far the others go.
func (f *Follower) fresh(lines []Line) []Line {
	return slices.DeleteFunc(lines, func(line Line) bool {
		src := line.src
		if src == nil {
			return false
		}
		if line.seq <= src.seq {
			return true
		}
		// Who reads the file may have seen what was written and is shown only now.
		if given := src.given; line.Cursor.File == given.File && line.Cursor.Offset <= given.Offset && line.cuts == src.cuts {
			return true
		}
		src.given = Cursor{}
		src.at, src.cuts, src.long = line.Cursor, line.cuts, nil
		return false
	})
}
