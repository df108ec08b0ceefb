package logs

import (
	"bytes"
	"math"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"supervisor/supervisor/fault"
)

// outMax bounds the formatted bytes of one intent, but for its first line.
const outMax = 128 << 10

// spoolStep moves what the pipe of st holds to its spool, and the next lines from there to the file.
func (f *file) spoolStep(st *stream, sc *scratch, force bool) (int, outcome) {
	sp := st.spool
	if n := sp.record().raw; n > 0 { // left open by a full fifo
		if !f.redo(st) {
			return 0, stepStuck
		}
		return int(n), stepMore
	}
	filled, in, err := sp.fill(st.fd)
	if err != nil {
		f.fail(err)
	}
	raw, err := sp.read(sc.buf)
	if err != nil {
		f.fail(err)
		return 0, stepStuck
	}
	if len(raw) == 0 {
		sp.free(true)
		if in == stepStuck { // without memory for it the worker must not wait
			return f.dropUnspooled(st, sc)
		}
		return 0, in
	}
	m := bytes.LastIndexByte(raw, '\n') + 1
	switch {
	case m > 0:
	case len(raw) == len(sc.buf) && st.format.json:
		m = len(wholeRunes(raw)) // an object is a whole line, or as much of one as can be held
	case len(raw) == len(sc.buf):
		m = len(raw)
	case in == stepMore: // its end may be in the pipe
		return 0, stepMore
	case force || in == stepEOF:
		m = len(raw)
	case st.format.json:
		return 0, stepEmpty
	case len(raw) >= bigMove:
		m = len(raw)
	default:
		return 0, stepPartial
	}
	n, ok := f.writeLines(st, sc, raw[:m])
	sp.free(false)
	switch {
	case !ok:
		return n, stepStuck
	case in != stepEOF && filled < bigMove && sp.pending() < bigMove: // as for raw streams, see step
		return n, stepEmpty
	}
	return n, stepMore
}

// writeLines writes as many lines of raw as one intent takes and says how many bytes of raw these were; false is not now.
func (f *file) writeLines(st *stream, sc *scratch, raw []byte) (int, bool) {
	if !f.prepare() {
		it := record{done: st.spool.record().done, raw: int64(len(raw)), stamp: time.Now().UnixNano()}
		f.cutShort(st, it, raw, st.compose(nil, it, raw), 0)
		return len(raw), true
	}
	it, out := f.intend(st, sc, raw)
	st.spool.put(it)
	fault.Point("spool.intent")
	return int(it.raw), f.carry(st, it, f.fd, raw[:it.raw], out, 0)
}

// intend says what is written next and where, in a new file if the one in use is full.
func (f *file) intend(st *stream, sc *scratch, raw []byte) (record, []byte) {
	now := time.Now()
	for again := false; ; again = true {
		it := st.spool.record()
		it.stamp, it.skip = now.UnixNano(), 0
		it.flags = f.lineFlags(it)
		it.dev, it.ino, it.at = f.dev, f.ino, f.size
		sc.out = sc.out[:0]
		if it.flags&breakLine != 0 {
			sc.out = append(sc.out, '\n')
		}
		var n int
		sc.out, n = st.format.lines(sc.out, raw, now, it.flags&lineOpen != 0, f.room())
		it.raw = int64(n)
		fits := !f.rotates() || f.size+int64(len(sc.out)) <= f.limit
		if fits || again || !f.full() || !f.rotate() {
			return it, sc.out
		}
	}
}

// room is how many bytes one intent may write.
func (f *file) room() int {
	if !f.rotates() {
		return outMax
	}
	return int(max(0, min(f.limit-f.size, outMax)))
}

// lineFlags are those of an intent after r: whether it goes on with an open line of its own, or must end one of
// somebody else.
func (f *file) lineFlags(r record) uint64 {
	ours := !f.regular || r.ino == f.ino && r.dev == f.dev && r.end == f.size
	switch {
	case f.lineStart:
		return 0
	case r.flags&lineOpen != 0 && ours:
		return lineOpen
	}
	return breakLine
}

// compose appends to buf all that the intent it, whose bytes are raw, writes.
func (st *stream) compose(buf []byte, it record, raw []byte) []byte {
	if it.flags&breakLine != 0 {
		buf = append(buf, '\n')
	}
	begin := len(buf)
	out, _ := st.format.lines(buf, raw, time.Unix(0, it.stamp), it.flags&lineOpen != 0, math.MaxInt)
	return append(out[:begin], out[min(begin+int(it.skip), len(out)):]...)
}

// carry writes out, of which there bytes are written already, and records that the intent is done. False is not now.
func (f *file) carry(st *stream, it record, fd int, raw, out []byte, there int) bool {
	for from := there; from < len(out); {
		n, err := putAt(fd, out[from:], it.at+int64(from), it.ino != 0)
		if n > 0 {
			from += n
			continue
		}
		if err == unix.EAGAIN { // a full fifo
			st.spool.put(it.further(from))
			return false
		}
		f.fail(err)
		f.cutShort(st, it, raw, out, from)
		return true
	}
	fault.Point("spool.written")
	end := it.at + int64(len(out))
	if fd == f.fd && len(out) > 0 { // it is empty if a damaged header says so
		f.size, f.lineStart = max(f.size, end), out[len(out)-1] == '\n'
		f.recovered()
	}
	f.fulfil(st, it, raw, out, there, end)
	return true
}

// putAt writes b at an offset, or just behind what was written before.
func putAt(fd int, b []byte, at int64, regular bool) (n int, err error) {
	for err = unix.EINTR; err == unix.EINTR; {
		if regular {
			n, err = unix.Pwrite(fd, b, at)
		} else {
			n, err = unix.Write(fd, b)
		}
	}
	return n, err
}

// further is the intent after n of its bytes were written.
func (r record) further(n int) record {
	if n > 0 && r.flags&breakLine != 0 {
		r.flags &^= breakLine
		n--
	}
	r.skip += int64(n)
	return r
}

// fulfil records that the intent is done, and shows its lines, but for what was there before this process.
func (f *file) fulfil(st *stream, it record, raw, out []byte, there int, end int64) {
	done := record{done: it.done + it.raw, dev: it.dev, ino: it.ino, end: end}
	if len(out) > 0 && out[len(out)-1] != '\n' {
		done.flags = lineOpen
	}
	st.spool.put(done)
	fault.Point("spool.done")
	st.ring.feed(st.kind, raw)
	begin := it.at + int64(there)
	if out = out[there:]; it.flags&breakLine != 0 && there == 0 && f.showEnd(begin) {
		out, begin = out[1:], begin+1
	}
	f.show(st, out, begin)
}

// showEnd shows the line of another stream that ends at begin since a line of this one follows; false if none is open.
func (f *file) showEnd(begin int64) (shown bool) {
	for _, other := range f.streams {
		if len(other.shown.text) > 0 {
			f.show(other, []byte{'\n'}, begin)
			shown = true
		}
	}
	return shown
}

// cutShort gives up an intent of whose bytes only some could be written. Whole lines stay, the rest is lost.
func (f *file) cutShort(st *stream, it record, raw, out []byte, written int) {
	keep := written
	if f.fd >= 0 && it.ino != 0 && it.ino == f.ino { // the part of a line that still fitted would spoil the next one
		keep = bytes.LastIndexByte(out[:written], '\n') + 1
		if unix.Ftruncate(f.fd, it.at+int64(keep)) != nil {
			keep = written
		}
		f.size = it.at + int64(keep)
		f.lineStart = f.lineStart && keep == 0 || keep > 0 && out[keep-1] == '\n'
	}
	lines := bytes.Count(out[keep:], []byte{'\n'})
	if keep == 0 && it.flags&breakLine != 0 {
		lines--
	}
	lost := raw
	for range bytes.Count(raw, []byte{'\n'}) - lines {
		lost = lost[bytes.IndexByte(lost, '\n')+1:]
	}
	f.lost.Bytes += int64(len(lost))
	f.lost.Lines += int64(lines)
	f.report(false)
	f.fulfil(st, it, raw, out, 0, it.at+int64(keep))
}

// dropUnspooled takes bytes out of the pipe that there is no memory for.
func (f *file) dropUnspooled(st *stream, sc *scratch) (int, outcome) {
	n, out := sc.read(st.fd)
	f.lost.Bytes += int64(n)
	f.lost.Lines += int64(bytes.Count(sc.buf[:n], []byte{'\n'}))
	f.report(false)
	st.ring.feed(st.kind, sc.buf[:n])
	return n, out
}

// settle takes over what came from an earlier process, and finishes what that left open: one line of one pipe, or one
// intent. It comes before anything else is written to the file: until then the bytes of these are the last in it.
func (f *file) settle() {
	for _, st := range f.streams {
		if st.spool == nil && st.adopted && !st.settled {
			st.settled = true
			f.finish(st)
		}
	}
	for _, st := range f.streams {
		if st.spool == nil || st.spool.settled {
			continue
		}
		st.spool.settled = true
		if err := st.spool.load(); err != nil {
			f.fail(err)
			st.spool.put(record{done: max(st.spool.size, spoolData)})
		}
		if f.prepare() {
			f.lineStart = f.endsLine()
		}
		if st.spool.record().raw > 0 {
			f.redo(st)
		}
	}
}

// redo finishes the intent of st. Only what is missing is written, so if the file has it all nothing is; and where
// somebody else has written behind what there is, the lines that are not whole follow at the end.
func (f *file) redo(st *stream) bool {
	it := st.spool.record()
	raw, err := st.spool.read(make([]byte, it.raw))
	if err != nil {
		f.fail(err)
		return false
	}
	out := st.compose(nil, it, raw)
	if !f.prepare() {
		it.ino = 0
		f.cutShort(st, it, raw, out, 0)
		return true
	}
	if it.ino == 0 && !f.regular {
		return f.carry(st, it, f.fd, raw, out, 0)
	}
	keep := 0
	if fd := f.find(it); fd >= 0 {
		if fd != f.fd {
			defer unix.Close(fd)
		}
		same, last := written(fd, it.at, out)
		if same == len(out) || last {
			return f.carry(st, it, fd, raw, out, same)
		}
		keep = bytes.LastIndexByte(out[:same], '\n') + 1
	}
	it = it.further(keep)
	it.dev, it.ino, it.at = f.dev, f.ino, f.size
	it.flags &^= breakLine
	if f.lineStart = f.endsLine(); !f.lineStart {
		it.flags |= breakLine
	}
	st.spool.put(it)
	return f.carry(st, it, f.fd, raw, st.compose(nil, it, raw), 0)
}

// find returns a descriptor of the intent's file, which may have been rotated since: f.fd, or one for the caller to
// close; -1 if it is gone.
func (f *file) find(it record) int {
	if it.ino == 0 || !f.regular {
		return -1
	}
	if it.ino == f.ino && it.dev == f.dev {
		return f.fd
	}
	for _, name := range rotatedFiles(f.path) {
		fd, err := unix.Open(name, unix.O_WRONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
		if err != nil {
			continue
		}
		var st unix.Stat_t
		if unix.Fstat(fd, &st) == nil && st.Ino == it.ino && st.Dev == it.dev {
			return fd
		}
		unix.Close(fd)
	}
	return -1
}

// written says how many of out's bytes the file has at an offset, and whether these are its last.
func written(fd int, at int64, out []byte) (same int, last bool) {
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil || st.Size < at {
		return 0, false
	}
	have := int(min(st.Size-at, int64(len(out))))
	there := make([]byte, have)
	if n, err := readAgain(fd, there, at); err == nil && n == have {
		for same < have && there[same] == out[same] {
			same++
		}
	} else { // we may write and not read: the size has to tell
		same = have
	}
	return same, at+int64(same) == st.Size
}

// endsLine says whether the file ends at the end of a line.
func (f *file) endsLine() bool {
	if !f.regular || f.size == 0 {
		return true
	}
	var last [1]byte
	n, err := readAgain(f.fd, last[:], f.size-1)
	return err != nil || n == 0 || last[0] == '\n'
}

// openEnd is the last line of a file that does not end with one, as far as it is in the last chunkSize bytes.
func (f *file) openEnd() []byte {
	end := make([]byte, min(f.size, chunkSize))
	n, err := readAgain(f.fd, end, f.size-int64(len(end)))
	if err != nil && n < len(end) {
		return nil
	}
	return end[bytes.LastIndexByte(end, '\n')+1:]
}

// readAgain reads from a file that is open for writing only.
func readAgain(fd int, b []byte, at int64) (int, error) {
	file, err := os.Open("/proc/self/fd/" + strconv.Itoa(fd))
	if err != nil {
		return 0, err
	}
	defer file.Close()
	return file.ReadAt(b, at)
}
