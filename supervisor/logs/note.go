package logs

import (
	"bytes"

	"golang.org/x/sys/unix"
)

// What is noted on a pipe for a successor: a SIGKILL can end splice(2) in the middle of a line. The note is the number of
// the signal for O_ASYNC, which is off: it lives as long as anybody has the pipe, and means nothing else.
const (
	noteNone    = unix.Signal(0)
	noteMoving  = unix.SIGURG  // some bytes are on their way to a file that others write too: if a line is open there, its rest has to follow first
	noteCutting = unix.SIGXFSZ // the rest of a line, whose begin is taken off the file, is on its way out
)

// mark makes a note.
func (st *stream) mark(note unix.Signal) {
	_, _ = unix.FcntlInt(uintptr(st.fd), unix.F_SETSIG, int(note)) // can't fail: a valid signal
}

// noted is the note that was made last.
func (st *stream) noted() unix.Signal {
	sig, err := unix.FcntlInt(uintptr(st.fd), unix.F_GETSIG, 0)
	if err != nil {
		return noteNone
	}
	return unix.Signal(sig)
}

// finish does what an earlier process has left of a raw stream.
func (f *file) finish(st *stream) {
	switch note := st.noted(); {
	case note == noteCutting && f.lineStart:
		f.skipLine(st)
	case note != noteNone && !f.lineStart:
		f.steps(st, 1, false)
	}
	st.mark(noteNone)
}

// skipLine drops what the pipe begins with, to the end of a line.
func (f *file) skipLine(st *stream) {
	sc, err := newScratch()
	if err != nil {
		return
	}
	defer sc.close()
	n, _ := sc.look(st.fd)
	rest := sc.buf[:n]
	if i := bytes.IndexByte(rest, '\n'); i >= 0 {
		rest = rest[:i+1]
	}
	f.drop(st, rest, 0, len(rest))
}
