package logs

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// Stream tells a worker's stdout from its stderr.
type Stream uint8

// The streams of a worker.
const (
	Stdout Stream = iota
	Stderr
)

// String is "out" or "err".
func (k Stream) String() string {
	if k == Stderr {
		return "err"
	}
	return "out"
}

// FileConfig says where a stream goes. Workers that name one path share the file; the last one's limits count.
type FileConfig struct {
	// Path of the file; "" and /dev/null keep last lines and followers only. Its folders are created (0700), and so
	// is the file (0600). A fifo, a terminal or /dev/stdout is written and not rotated.
	Path string
	// MaxSize in bytes before the file is rotated; 0 is DefaultMaxSize, negative is never.
	MaxSize int64
	// MaxFiles is how many rotated files are kept; 0 is DefaultMaxFiles, negative is none.
	MaxFiles int
	// Compress the rotated files with gzip.
	Compress bool
	// Format of the lines.
	Format Format
	// Merged says that several workers write the file all the time. Their lines go through spools in any format, so that
	// whole lines stay whole even where somebody else empties the pipes.
	Merged bool
}

// Worker is one spawn whose output is captured.
type Worker struct {
	ID       uint64 // unique for ever
	Label    string // what its lines are prefixed with, for example web:0
	App      string // and Slot: what JSON lines name it by
	Slot     int
	Out, Err FileConfig
	// UID and GID get the pipes, so that a worker of another user can open /dev/stdout. Both 0: left to us.
	UID, GID int
}

// config is that of one stream.
func (w Worker) config(kind Stream) FileConfig {
	if kind == Stderr {
		return w.Err
	}
	return w.Out
}

// onePipe says that both streams of w go to one file, and that no line has to say which of them it is of.
func (w Worker) onePipe() bool {
	out := canonical(w.Out.Path)
	return out != "" && out == canonical(w.Err.Path) && !w.Out.Format.JSON
}

// capture is a worker's streams and its ring.
type capture struct {
	streams []*stream
	ring    *ring
	pipes   Pipes
	bigs    int // big pipes to give back
}

// stream is the end of a pipe that we read. The fields after ring belong to the goroutine of file.
type stream struct {
	id      uint64 // in the mux
	worker  uint64
	label   string
	kind    Stream
	fd      int
	adopted bool
	file    *file
	ring    *ring

	format  *formatter // nil: the bytes go to the file as they are, and
	spool   *spool     // there is no spool
	shown   openLine   // what followers have not got yet
	settled bool       // an adopted raw stream: what was open is finished
	before  Cursor     // of an adopted stream: what was there when it was started
	wait    waiting
	begun   bool // it may be read
	closed  bool
	eof     bool
}

// close closes the descriptors.
func (st *stream) close() {
	unix.Close(st.fd)
	if st.spool != nil {
		st.spool.close()
	}
}

// Open creates the pipes and opens the files of w. Nothing is read before Start.
func (s *Set) Open(w Worker) (Ends, error) {
	ends := Ends{Stdout: -1, Stderr: -1}
	c := &capture{ring: newRing(), pipes: noPipes()}
	var err error
	if s.isClosed() {
		err = ErrClosed
	}
	if err == nil {
		ends.Stdout, err = s.openStream(c, w, Stdout)
	}
	if err == nil {
		if w.onePipe() {
			ends.Stderr, err = unix.FcntlInt(uintptr(ends.Stdout), unix.F_DUPFD_CLOEXEC, 0)
		} else {
			ends.Stderr, err = s.openStream(c, w, Stderr)
		}
	}
	if err == nil {
		err = s.register(w, c)
	}
	if err == nil {
		ends.Pipes = c.pipes
		return ends, nil
	}
	for _, fd := range []int{ends.Stdout, ends.Stderr} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
	_ = s.release(c, (*file).end)
	return Ends{}, fmt.Errorf("cannot capture the output of %s: %w", w.Label, err)
}

// Adopt takes over the streams of a worker that an earlier process captured: p are the Pipes that its Open returned,
// and w is what that was told. The descriptors belong to the Set from here on, also after an error. Nothing is read or
// written before Start, so the earlier process may still be at work; who gives up until then calls Quiesce and Close.
// All workers that share a file must be adopted
// before one of them is started: then what a crash left half written is finished first. A formatted stream without a
// spool, if that is lost, gets a new one (see Pipes).
func (s *Set) Adopt(w Worker, p Pipes) error {
	c := &capture{ring: newRing(), pipes: noPipes()}
	var err error
	if s.isClosed() {
		err = ErrClosed
	}
	for _, kind := range []Stream{Stdout, Stderr} {
		pipe, spool := p.of(kind)
		if err == nil && *pipe >= 0 {
			// Handed on, it may have become blocking; tee(2) and splice(2) are told not to, read(2) is not.
			if err = unix.SetNonblock(*pipe, true); err == nil {
				if err = s.adoptStream(c, w, kind, *pipe, *spool); err == nil {
					continue
				}
			}
		}
		for _, fd := range []int{*pipe, *spool} {
			if fd >= 0 {
				unix.Close(fd)
			}
		}
	}
	if err == nil {
		err = s.register(w, c)
	}
	if err != nil {
		_ = s.release(c, (*file).leave)
		return fmt.Errorf("cannot capture the output of %s: %w", w.Label, err)
	}
	return nil
}

// Pipes are the descriptors of a worker that is captured.
func (s *Set) Pipes(worker uint64) (Pipes, bool) {
	s.reg.mu.Lock()
	defer s.reg.mu.Unlock()
	if c := s.reg.workers[worker]; c != nil && c.streams != nil {
		return c.pipes, true
	}
	return noPipes(), false
}

func (s *Set) isClosed() bool {
	s.reg.mu.Lock()
	defer s.reg.mu.Unlock()
	return s.reg.closed
}

func (s *Set) register(w Worker, c *capture) error {
	s.reg.mu.Lock()
	defer s.reg.mu.Unlock()
	if s.reg.closed {
		return ErrClosed
	}
	if _, twice := s.reg.workers[w.ID]; twice {
		return fmt.Errorf("worker %d is captured already", w.ID)
	}
	s.reg.workers[w.ID] = c
	return nil
}

// openStream creates the pipe of a stream, and its spool if it is formatted, and returns the worker's end.
func (s *Set) openStream(c *capture, w Worker, kind Stream) (end int, err error) {
	s.reg.mu.Lock()
	big := s.reg.bigPipes < bigPipeCount
	s.reg.mu.Unlock()
	r, end, grown, err := newPipe(big, w.UID, w.GID)
	if err != nil {
		return -1, err
	}
	st := &stream{fd: r}
	if err = s.attach(c, w, kind, st); err != nil {
		st.close()
		unix.Close(end)
		return -1, err
	}
	if grown {
		c.bigs++
		s.reg.mu.Lock()
		s.reg.bigPipes++
		s.reg.mu.Unlock()
	}
	return end, nil
}

// adoptStream makes a stream of descriptors that stay the caller's if it fails.
func (s *Set) adoptStream(c *capture, w Worker, kind Stream, pipe, spool int) error {
	st := &stream{fd: pipe, adopted: true}
	if spool >= 0 {
		var err error
		if st.spool, err = adoptSpool(spool); err != nil {
			return err
		}
	}
	err := s.attach(c, w, kind, st)
	if err != nil && st.spool != nil {
		st.spool.unmap()
		if spool < 0 { // it is new
			unix.Close(st.spool.fd)
		}
	}
	return err
}

// attach makes st, which has its descriptors, a stream of c. What is missing of a spool is created.
func (s *Set) attach(c *capture, w Worker, kind Stream, st *stream) error {
	cfg := w.config(kind)
	st.worker, st.label, st.kind, st.ring = w.ID, w.Label, kind, c.ring
	f, err := s.acquire(cfg)
	if err != nil {
		return err
	}
	if st.spool != nil || f.path != "" && (cfg.Merged || cfg.Format != (Format{})) {
		st.format, err = newFormatter(cfg.Format, w, kind)
		if err == nil && st.spool == nil {
			st.spool, err = newSpool()
		}
	}
	st.file = f
	if err == nil {
		err = s.mux.add(st)
	}
	if err != nil {
		s.unref(f)
		return err
	}
	f.enter(st)
	c.streams = append(c.streams, st)
	pipe, spool := c.pipes.of(kind)
	*pipe = st.fd
	if st.spool != nil {
		*spool = st.spool.fd
	}
	return nil
}

// Start begins to read what the worker writes. An unknown worker is ignored.
func (s *Set) Start(worker uint64) {
	for _, st := range s.streamsOf(worker) {
		st.file.post(func() { st.file.begin(st) })
	}
}

// Drain moves everything that the worker's pipes hold at this moment, open lines included. It is for the time
// after the leader's exit and before its last lines are quoted. It waits for the disk, for callWait at most
// (ErrBusy), and not for a grandchild that goes on writing.
func (s *Set) Drain(worker uint64) error {
	var errs []error
	streams := s.streamsOf(worker)
	for _, st := range slices.Backward(streams) { // the lines of stderr are the later ones in the ring
		_ = st.file.call(func() error { st.file.recall(st); return nil })
	}
	for _, st := range streams {
		errs = append(errs, st.file.call(func() error { st.file.drain(st); return nil }))
	}
	return errors.Join(errs...)
}

// Finish drains and closes the pipes of a worker whose group is gone. Its last lines are kept for the
// last finishedRings workers or until Forget. What escaped from the group and still holds a pipe blocks when it is full.
func (s *Set) Finish(worker uint64) error {
	s.reg.mu.Lock()
	c := s.reg.workers[worker]
	if c == nil || c.streams == nil {
		s.reg.mu.Unlock()
		return nil
	}
	gone := &capture{streams: c.streams, bigs: c.bigs}
	s.reg.workers[worker] = &capture{ring: c.ring}
	s.reg.finished = append(s.reg.finished, worker)
	if len(s.reg.finished) > finishedRings {
		delete(s.reg.workers, s.reg.finished[0])
		s.reg.finished = s.reg.finished[1:]
	}
	s.reg.mu.Unlock()
	return s.release(gone, (*file).end)
}

// release ends the streams of c by end, or leave, and files that nobody else uses.
func (s *Set) release(c *capture, end func(*file, *stream)) error {
	var errs []error
	for _, st := range c.streams {
		f := st.file
		errs = append(errs, f.call(func() error { end(f, st); return nil }))
		s.unref(f)
	}
	s.reg.mu.Lock()
	s.reg.bigPipes -= c.bigs
	s.reg.mu.Unlock()
	return errors.Join(errs...)
}

// Forget drops the last lines of a finished worker.
func (s *Set) Forget(worker uint64) {
	s.reg.mu.Lock()
	defer s.reg.mu.Unlock()
	if c := s.reg.workers[worker]; c == nil || c.streams != nil {
		return
	}
	delete(s.reg.workers, worker)
	for i, id := range s.reg.finished {
		if id == worker {
			s.reg.finished = append(s.reg.finished[:i], s.reg.finished[i+1:]...)
			return
		}
	}
}

// LastLines returns the last n lines of both streams in the order of their arrival, an open line included,
// fit for a terminal (Printable) and at most RingLines of RingLineMax bytes. Nil for an unknown worker.
func (s *Set) LastLines(worker uint64, n int) []string {
	s.reg.mu.Lock()
	c := s.reg.workers[worker]
	s.reg.mu.Unlock()
	if c == nil {
		return nil
	}
	return c.ring.last(n)
}

func (s *Set) streamsOf(worker uint64) []*stream {
	s.reg.mu.Lock()
	defer s.reg.mu.Unlock()
	if c := s.reg.workers[worker]; c != nil {
		return c.streams
	}
	return nil
}
