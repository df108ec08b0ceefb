package logs

import (
	"errors"
	"fmt"
	"strconv"

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
}

// Worker is one spawn whose output is captured.
type Worker struct {
	ID       uint64 // unique for ever
	Label    string // what its lines are prefixed with, for example web:0
	Out, Err FileConfig
	// UID and GID get the pipes, so that a worker of another user can open /dev/stdout. Both 0: left to us.
	UID, GID int
}

// Ends are the descriptors of a new worker.
type Ends struct {
	// Stdout and Stderr belong to the caller, who dups them to 1 and 2 of the child and then calls Close. They
	// are read-write on the worker's side, so that a dead supervisor can't raise SIGPIPE in it, and blocking. Where
	// both streams go to one file they are the same pipe, which keeps their order; its lines count as stdout.
	Stdout, Stderr int
	// PipeOut and PipeErr are the ends we read, for a holder of descriptors. They belong to the Set and are valid
	// until Finish. PipeErr is -1 when both streams are one pipe.
	PipeOut, PipeErr int
}

// Close closes Stdout and Stderr.
func (e Ends) Close() {
	unix.Close(e.Stdout)
	unix.Close(e.Stderr)
}

// capture is a worker's streams and its ring.
type capture struct {
	streams []*stream
	ring    *ring
	bigs    int // big pipes to give back
}

// stream is the end of a pipe that we read. The fields after ring belong to the goroutine of file.
type stream struct {
	id     uint64 // in the mux
	worker uint64
	label  string
	kind   Stream
	fd     int
	file   *file
	ring   *ring

	wait   waiting
	closed bool
	eof    bool
}

// Open creates the pipes and opens the files of w. Nothing is read before Start.
func (s *Set) Open(w Worker) (Ends, error) {
	ends := Ends{Stdout: -1, Stderr: -1, PipeOut: -1, PipeErr: -1}
	c := &capture{ring: newRing()}
	if s.isClosed() {
		return Ends{}, fmt.Errorf("cannot capture the output of %s: %w", w.Label, ErrClosed)
	}
	err := s.openStream(c, w, Stdout, &ends.PipeOut, &ends.Stdout)
	if err == nil {
		if onePipe(w) {
			ends.Stderr, err = unix.FcntlInt(uintptr(ends.Stdout), unix.F_DUPFD_CLOEXEC, 0)
		} else {
			err = s.openStream(c, w, Stderr, &ends.PipeErr, &ends.Stderr)
		}
	}
	if err == nil {
		err = s.register(w, c)
	}
	if err == nil {
		return ends, nil
	}
	for _, fd := range []int{ends.Stdout, ends.Stderr} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
	_ = s.release(c)
	return Ends{}, fmt.Errorf("cannot capture the output of %s: %w", w.Label, err)
}

// Adopt takes over the pipes of a worker that an earlier process captured: the PipeOut and PipeErr that its Open
// returned. The descriptors belong to the Set from here on, also after an error. Nothing is read before Start.
func (s *Set) Adopt(w Worker, pipeOut, pipeErr int) error {
	c := &capture{ring: newRing()}
	var err error
	if s.isClosed() {
		err = ErrClosed
	}
	for kind, r := range []int{pipeOut, pipeErr} {
		if r < 0 {
			continue
		}
		if err == nil {
			// Handed on, it may have become blocking; tee(2) and splice(2) are told not to, read(2) is not.
			err = unix.SetNonblock(r, true)
		}
		if err == nil {
			err = s.attach(c, w, Stream(kind), r, false)
		}
		if err != nil {
			unix.Close(r)
		}
	}
	if err == nil {
		err = s.register(w, c)
	}
	if err != nil {
		_ = s.release(c)
		return fmt.Errorf("cannot capture the output of %s: %w", w.Label, err)
	}
	return nil
}

// onePipe says that both streams of w go to one file.
func onePipe(w Worker) bool {
	out := canonical(w.Out.Path)
	return out != "" && out == canonical(w.Err.Path)
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

// openStream creates the pipe of a stream and attaches it.
func (s *Set) openStream(c *capture, w Worker, kind Stream, pipe, end *int) error {
	s.reg.mu.Lock()
	big := s.reg.bigPipes < bigPipeCount
	s.reg.mu.Unlock()
	r, worker, grown, err := newPipe(big, w.UID, w.GID)
	if err != nil {
		return err
	}
	if err := s.attach(c, w, kind, r, grown); err != nil {
		unix.Close(r)
		unix.Close(worker)
		return err
	}
	*pipe, *end = r, worker
	return nil
}

// attach makes the pipe r a stream of c.
func (s *Set) attach(c *capture, w Worker, kind Stream, r int, grown bool) error {
	cfg := w.Out
	if kind == Stderr {
		cfg = w.Err
	}
	f, err := s.acquire(cfg)
	if err != nil {
		return err
	}
	st := &stream{worker: w.ID, label: w.Label, kind: kind, fd: r, file: f, ring: c.ring}
	if err := s.mux.add(st); err != nil {
		s.unref(f)
		return err
	}
	if grown {
		c.bigs++
		s.reg.mu.Lock()
		s.reg.bigPipes++
		s.reg.mu.Unlock()
	}
	c.streams = append(c.streams, st)
	return nil
}

// newPipe returns our end and the worker's, which is a file description of its own: blocking, and read-write.
func newPipe(big bool, uid, gid int) (r, worker int, grown bool, err error) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return -1, -1, false, fmt.Errorf("cannot create a pipe: %w", err)
	}
	defer unix.Close(p[1])
	if big { // EPERM: the user's share of pipe memory is used up, the default will do
		_, err := unix.FcntlInt(uintptr(p[0]), unix.F_SETPIPE_SZ, bigPipe)
		grown = err == nil
	}
	if uid != 0 || gid != 0 {
		if err := unix.Fchown(p[0], uid, gid); err != nil {
			unix.Close(p[0])
			return -1, -1, false, fmt.Errorf("cannot give a pipe to user %d: %w", uid, err)
		}
	}
	worker, err = unix.Open("/proc/self/fd/"+strconv.Itoa(p[1]), unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		unix.Close(p[0])
		return -1, -1, false, fmt.Errorf("cannot open a pipe read-write: %w", err)
	}
	return p[0], worker, grown, nil
}

// Start begins to read what the worker writes. An unknown worker is ignored.
func (s *Set) Start(worker uint64) {
	for _, st := range s.streamsOf(worker) {
		s.mux.arm(st)
	}
}

// Drain moves everything that the worker's pipes hold at this moment, open lines included. It is for the time
// after the leader's exit and before its last lines are quoted. It waits for the disk, for callWait at most
// (ErrBusy), and not for a grandchild that goes on writing.
func (s *Set) Drain(worker uint64) error {
	var errs []error
	for _, st := range s.streamsOf(worker) {
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
	return s.release(gone)
}

// release drains and closes the streams of c, and files that nobody else uses.
func (s *Set) release(c *capture) error {
	var errs []error
	for _, st := range c.streams {
		f := st.file
		errs = append(errs, f.call(func() error { f.end(st); return nil }))
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
