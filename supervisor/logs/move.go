package logs

import (
	"bytes"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"supervisor/supervisor/fault"
)

// outcome is how a step ended.
type outcome uint8

const (
	stepMore    outcome = iota // there may be more
	stepEmpty                  // the pipe is empty, or nearly
	stepPartial                // an open line is left in the pipe
	stepStuck                  // the destination, or a scratch, can't be had now
	stepEOF                    // no process has the worker's end any more
)

// turn moves up to turnMax bytes of st and says whether its next turn is now; else it has armed st or
// put it to sleep.
func (f *file) turn(st *stream) (again bool) {
	if st.closed || st.eof || !st.begun { // a hang-up is told of what is not armed yet, too
		return false
	}
	now := time.Now()
	force := !st.wait.since.IsZero() && now.Sub(st.wait.since) >= partialWait
	moved, out := f.steps(st, turnMax, force)
	if moved > 0 {
		st.wait = waiting{}
	}
	switch out {
	case stepMore:
		return true
	case stepEOF:
		st.eof = true
	case stepEmpty:
		if moved > 0 && moved < bigMove {
			f.nap(st, napTime)
		} else {
			f.set.mux.arm(st)
		}
	case stepPartial:
		// It can't be armed: what is in the pipe would fire at once. So it is looked at again, ever more rarely.
		if st.wait.since.IsZero() {
			st.wait.since = now
		}
		left := partialWait - now.Sub(st.wait.since)
		f.nap(st, min(max(2*st.wait.nap, napTime), max(left, napTime)))
	case stepStuck:
		f.nap(st, partialWait)
	}
	return false
}

func (f *file) nap(st *stream, d time.Duration) {
	st.wait.nap, st.wait.due = d, time.Now().Add(d)
	if !slices.Contains(f.naps, st) { // a second Start would have it here twice
		f.naps = append(f.naps, st)
	}
}

// drain moves what st holds at this moment, open line included, and no more than that: who writes on can't keep it.
func (f *file) drain(st *stream) {
	if st.closed || f.set.abandoned.Load() {
		return
	}
	f.settle()
	for left := st.held(); left > 0; {
		n, out := f.steps(st, left, true)
		if n == 0 && out != stepMore {
			return
		}
		left -= n
	}
}

// held is how many bytes of st are not in the file.
func (st *stream) held() int {
	n, err := unix.IoctlGetInt(st.fd, unix.TIOCINQ) // FIONREAD
	if err != nil {
		n = 0
	}
	if st.spool != nil {
		n += st.spool.pending()
	}
	return n
}

// end drains and closes st. What a stuck destination did not take is lost, and counted.
func (f *file) end(st *stream) {
	if st.closed {
		return
	}
	f.drain(st)
	if !f.set.abandoned.Load() {
		if left := st.held(); left > 0 && !f.regular && f.path != "" {
			f.lost.Bytes += int64(left)
		}
		f.report(true)
		st.ring.endLine(st.kind)
		if len(st.shown.text) > 0 && f.regular && !f.lineStart { // whoever writes next goes on with it, or ends it
			f.left = openLine{}
			f.left.add(f.openEnd())
		}
	}
	f.leave(st)
}

// leave closes st as it is.
func (f *file) leave(st *stream) {
	st.closed = true
	without := func(list []*stream) []*stream {
		return slices.DeleteFunc(list, func(other *stream) bool { return other == st })
	}
	f.naps, f.streams = without(f.naps), without(f.streams)
	f.set.mux.remove(st)
	st.close()
}

// steps moves at most about limit bytes; force moves an open line too.
func (f *file) steps(st *stream, limit int, force bool) (moved int, out outcome) {
	sc := <-f.set.scratch
	defer func() {
		if sc != nil && sc.bad {
			sc.close()
			sc = nil
		}
		f.set.scratch <- sc
	}()
	if sc == nil {
		var err error
		if sc, err = newScratch(); err != nil { // EMFILE: later
			f.fail(err)
			sc = nil
			return 0, stepStuck
		}
	}
	for moved < limit {
		var n int
		n, out = f.step(st, sc, force)
		moved += n
		if out != stepMore {
			return moved, out
		}
	}
	return moved, stepMore
}

// step looks at the next chunk and moves it up to its last newline.
func (f *file) step(st *stream, sc *scratch, force bool) (int, outcome) {
	if st.spool != nil {
		return f.spoolStep(st, sc, force)
	}
	if f.path == "" {
		n, out := sc.read(st.fd)
		f.feed(st, sc.buf[:n], 0)
		return n, out
	}
	n, out := sc.look(st.fd)
	if out != stepMore {
		return 0, out
	}
	buf := sc.buf[:n]
	m := bytes.LastIndexByte(buf, '\n') + 1
	if force || m == 0 && n >= bigMove {
		m = n
	}
	if m == 0 {
		return 0, stepPartial
	}
	m, begin := f.write(st, buf, m)
	f.feed(st, buf[:m], begin)
	switch {
	case m == 0:
		return 0, stepStuck
	case n < bigMove: // to look again at once is to chase the worker for a few lines at a time
		return m, stepEmpty
	}
	return m, stepMore
}

// write takes up to m bytes, of which buf is a copy, out of the pipe of st and puts them at the end of the file,
// or drops them if that fails. It returns how many left the pipe, 0 means not now, and where they are in the file.
func (f *file) write(st *stream, buf []byte, m int) (done int, begin int64) {
	if !f.prepare() {
		return f.drop(st, buf[:m], 0, m), f.size
	}
	m = f.fit(buf, m)
	begin = f.size
	if len(f.streams) > 1 {
		st.mark(noteMoving)
		defer st.mark(noteNone)
	}
	for done < m {
		n, err := f.move(st.fd, buf[done:m])
		if n > 0 {
			done += n
			f.size += int64(n)
			continue
		}
		if err == unix.EAGAIN { // a full fifo: the worker waits, as it would if it wrote there itself
			break
		}
		f.fail(err)
		keep := done
		if f.regular {
			keep = bytes.LastIndexByte(buf[:done], '\n') + 1
			if cut := done - keep; cut > 0 || keep == 0 && !f.lineStart {
				st.mark(noteCutting)
				if f.cutLine(cut) {
					rest := bytes.IndexByte(buf[done:m], '\n') + 1
					done += f.set.discard(st.fd, rest)
				} else {
					keep = done
				}
				st.mark(noteNone)
			}
		}
		return done + f.drop(st, buf[:m], keep, m-done), begin
	}
	if done > 0 {
		f.lineStart = buf[done-1] == '\n'
		f.recovered()
	}
	return done, begin
}

// cutLine takes the open line off the end of the file, of which cut bytes came last: its rest is lost, and the part of a
// line would spoil the next one. It says whether the file ends at the end of a line now.
func (f *file) cutLine(cut int) bool {
	if !f.lineStart {
		open := len(f.openEnd())
		f.lost.Bytes += int64(max(0, open-cut))
		cut = max(cut, open)
	}
	if unix.Ftruncate(f.fd, f.size-int64(cut)) != nil {
		f.lineStart = f.endsLine()
		return false
	}
	f.size -= int64(cut)
	f.lineStart = true
	return true
}

// move puts bytes of the pipe at the end of the file.
func (f *file) move(pipe int, buf []byte) (int, error) {
	if f.copies {
		return f.copy(pipe, buf)
	}
	off := &f.size
	if !f.regular {
		off = nil
	}
	for {
		var at int64
		if off != nil {
			at = f.size
			off = &at
		}
		n, err := unix.Splice(pipe, nil, f.fd, off, len(buf), unix.SPLICE_F_MOVE|unix.SPLICE_F_NONBLOCK)
		switch {
		case err == unix.EINTR:
		case err == unix.EINVAL:
			f.copies = true
			f.set.cfg.Facts(Copied{Path: f.path, Err: err})
			return f.copy(pipe, buf)
		case err == nil && n == 0:
			return 0, unix.EAGAIN
		default:
			fault.Point("logs.moved")
			return int(n), err
		}
	}
}

// copy does what move does for a file that does not take splice(2): buf is written, then taken out of the pipe.
// In this order a SIGKILL in between doubles bytes and does not lose them.
func (f *file) copy(pipe int, buf []byte) (int, error) {
	for {
		var n int
		var err error
		if f.regular {
			n, err = unix.Pwrite(f.fd, buf, f.size)
		} else {
			n, err = unix.Write(f.fd, buf)
		}
		if err == unix.EINTR {
			continue
		}
		if n > 0 {
			f.set.discard(pipe, n)
		}
		return n, err
	}
}

// drop takes n bytes out of the pipe and counts what follows keep in buf as lost.
func (f *file) drop(st *stream, buf []byte, keep, n int) int {
	n = f.set.discard(st.fd, n)
	lost := buf[keep:]
	f.lost.Bytes += int64(len(lost))
	f.lost.Lines += int64(bytes.Count(lost, []byte{'\n'}))
	f.report(false)
	return n
}

// discard takes n bytes out of the pipe.
func (s *Set) discard(pipe, n int) int {
	done := 0
	for done < n {
		m, err := unix.Splice(pipe, nil, s.null, nil, n-done, unix.SPLICE_F_NONBLOCK)
		if err == unix.EINTR {
			continue
		}
		if err != nil || m == 0 {
			break
		}
		done += int(m)
	}
	return done
}

// fail says err, once until it changes.
func (f *file) fail(err error) {
	if f.failing == err.Error() {
		return
	}
	f.failing = err.Error()
	f.reported = time.Now()
	f.set.cfg.Facts(Failed{Path: f.path, Err: err})
}

// recovered says that all is well again.
func (f *file) recovered() {
	if f.failing == "" || f.moved {
		return
	}
	f.failing = ""
	f.report(true)
	f.set.cfg.Facts(Resumed{Path: f.path})
}

// report says what was lost, every dropReport at most unless it is now.
func (f *file) report(now bool) {
	if f.lost.Bytes == 0 || !now && time.Since(f.reported) < dropReport {
		return
	}
	f.reported = time.Now()
	lost := f.lost
	lost.Path = f.path
	f.lost = Dropped{}
	f.set.cfg.Facts(lost)
}
