// Package logs captures what workers write to stdout and stderr: into rotated files, into a ring of last
// lines, and to followers.
//
// Invariants:
//   - A byte on its way to a file is never in user memory only. tee(2) is used to look at it, splice(2) moves
//     it from the worker's pipe to the file, so a SIGKILL of this process at any instant loses and doubles
//     nothing. What is in the pipe is not written, what is in the file is; the file's size is the offset.
//   - Lines that get a time, or become JSON, go through a spool (see spool): bytes are in the pipe, in the spool or in
//     the file, and what of the spool is on its way to the file is on record before it goes, so that a successor writes
//     the same bytes at the same place.
//   - A file has one writer, the goroutine of its file value, however many workers write to it. Moves end at
//     the last newline, so lines of different workers do not mix; a line left open waits partialWait.
//   - Memory is bounded by the limits below, whatever a worker writes. A disk that is full or slow, a follower
//     that does not read and a console that is stuck never block a worker: what can't be kept is dropped,
//     counted and said. (A slow disk does slow workers, as it would if they wrote the files themselves.)
//   - No pipe is in Go's netpoller, which would wake a thread for every write(2) of a worker. One epoll instance
//     with EPOLLONESHOT watches all of them, see mux.
//
// The package decides nothing: it does not know what a worker is beyond a number and a label. A process that
// uses it should ignore SIGXFSZ, so that a file size limit is an error and not a death.
package logs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Limits and defaults.
const (
	// DefaultMaxSize is the size in bytes at which a file is rotated if its FileConfig names none.
	DefaultMaxSize = 10 << 20
	// DefaultMaxFiles is how many rotated files are kept beside the one being written.
	DefaultMaxFiles = 5
	// DefaultMaxTotal bounds the rotated files of all logs of a Set together, in bytes; the oldest go first.
	DefaultMaxTotal = 2 << 30
	// LineMax is the longest line in bytes that a follower gets; the rest of a longer one is cut. The file has it all.
	LineMax = 8 << 10
	// RingLines is how many last lines are kept of each worker, and RingLineMax the bytes kept of each.
	RingLines   = 50
	RingLineMax = 1 << 10

	finishedRings = 64                     // rings kept of workers that are gone
	chunkSize     = 64 << 10               // bytes looked at and moved at once; the size of a default pipe
	turnMax       = 4 * chunkSize          // bytes a stream may move before the file's other streams have a turn
	bigMove       = 32 << 10               // a turn that moved less is followed by a nap
	napTime       = 300 * time.Microsecond // lets small writes gather, so that one wake-up moves many
	partialWait   = 20 * time.Millisecond  // how long an open line may wait in the pipe for its end
	retryWait     = 100 * time.Millisecond // between two attempts to open a file that could not be opened
	callWait      = 10 * time.Second       // how long a caller waits for a file whose disk hangs
	dropReport    = 10 * time.Second       // between two Dropped facts of one file
	openLineSlack = 1 << 20                // a line without end may exceed MaxSize by this before it is cut by a rotation
	scratchCount  = 8                      // moves at once, hence threads that a dead disk can hold
	bigPipe       = 256 << 10              // pipe size of the first bigPipeCount streams; others get the default 64 KiB
	bigPipeCount  = 64                     // 16 MiB of the 64 MiB that pipe-user-pages-soft grants a user
)

// Errors a caller may act on.
var (
	// ErrQuiesced is returned by what would have to touch a pipe or file between Quiesce and Resume. Drain and
	// Finish are carried out after Resume.
	ErrQuiesced = errors.New("log capture is quiesced")
	// ErrClosed is returned after Close.
	ErrClosed = errors.New("log capture is closed")
	// ErrBusy is returned when a file did not answer in time (its disk hangs); what was asked happens later.
	ErrBusy = errors.New("the disk does not answer")
)

// Fact is what a Set tells: Failed, Dropped, Resumed, Copied.
type Fact interface{ fact() }

// Failed says that Path can't be written, rotated or opened. Workers go on. It is said once per cause.
type Failed struct {
	Path string
	Err  error
}

// Dropped counts what was thrown away for Path since the last Dropped: Bytes, and the newlines among them.
type Dropped struct {
	Path         string
	Bytes, Lines int64
}

// Resumed says that Path takes bytes again after Failed.
type Resumed struct{ Path string }

// Copied says that Path does not take splice(2), so its bytes are copied and then taken out of the pipe: a SIGKILL of
// the supervisor in between doubles up to 64 KiB. It is said once each time the file is opened.
type Copied struct {
	Path string
	Err  error
}

func (Failed) fact()  {}
func (Dropped) fact() {}
func (Resumed) fact() {}
func (Copied) fact()  {}

// Config is what a Set needs of the world.
type Config struct {
	// Facts is told what goes wrong, from any goroutine. It must not block and not call the Set. Nil: nobody is told.
	Facts func(Fact)
	// Opened is told the file that a stream's bytes go to as they are, whenever it is opened: before Open returns, by
	// Start for an adopted worker, and after each rotation. A holder of descriptors that has it can empty the pipe into
	// its end while no daemon runs. fd is valid until the next Opened of the stream, or Finish. It is not told of
	// formatted streams, whose bytes go to their spool, nor of what is no regular file. It is called by any goroutine and
	// must not block and not call the Set. Nil: nobody is told.
	Opened func(worker uint64, stream Stream, fd int)
	// MaxTotal overrides DefaultMaxTotal, in bytes; negative is no limit.
	MaxTotal int64
}

// Set is all the capture of one daemon. Its methods may be called from any goroutine.
type Set struct {
	cfg     Config
	mux     *mux
	janitor *janitor
	hub     hub
	scratch chan *scratch // a token is the right to move; nil until first used
	null    int           // /dev/null, where dropped bytes are spliced to

	gate      sync.RWMutex // read-locked while a pipe or file is touched; Quiesce holds it
	abandoned atomic.Bool  // Close while quiesced: close everything, move nothing

	reg registry
}

// registry is the leaf buffer of who exists.
type registry struct {
	mu       sync.Mutex
	workers  map[uint64]*capture
	files    map[string]*file
	finished []uint64 // ended workers whose rings are kept, oldest first
	bigPipes int
	opened   int           // files that were opened so far
	held     chan struct{} // closed while quiesced
	isHeld   bool
	closed   bool
}

// New returns a Set without workers. It holds an epoll instance, a timerfd and /dev/null, and one goroutine
// until Close.
func New(cfg Config) (*Set, error) {
	if cfg.Facts == nil {
		cfg.Facts = func(Fact) {}
	}
	if cfg.Opened == nil {
		cfg.Opened = func(uint64, Stream, int) {}
	}
	if cfg.MaxTotal == 0 {
		cfg.MaxTotal = DefaultMaxTotal
	}
	null, err := unix.Open(os.DevNull, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot open %s: %w", os.DevNull, err)
	}
	m, err := newMux()
	if err != nil {
		unix.Close(null)
		return nil, fmt.Errorf("cannot watch log pipes: %w", err)
	}
	s := &Set{cfg: cfg, mux: m, null: null, scratch: make(chan *scratch, scratchCount)}
	for range scratchCount {
		s.scratch <- nil
	}
	s.reg.workers = make(map[uint64]*capture)
	s.reg.files = make(map[string]*file)
	s.reg.held = make(chan struct{})
	s.janitor = newJanitor(s)
	return s, nil
}

// Quiesce returns when no pipe and no file is touched any more. Nothing is closed; workers that write go on
// until their pipes are full. Resume undoes it. It waits for moves under way, hence for a disk that hangs.
func (s *Set) Quiesce() {
	s.reg.mu.Lock()
	if s.reg.isHeld || s.reg.closed {
		s.reg.mu.Unlock()
		return
	}
	s.reg.isHeld = true
	close(s.reg.held)
	s.reg.mu.Unlock()
	s.gate.Lock()
}

// Resume goes on after Quiesce; nothing was lost in between.
func (s *Set) Resume() {
	s.reg.mu.Lock()
	defer s.reg.mu.Unlock()
	if !s.reg.isHeld {
		return
	}
	s.reg.isHeld = false
	s.reg.held = make(chan struct{})
	s.gate.Unlock()
}

// Close finishes all workers, closes everything and ends every follower. After Quiesce it moves nothing, and what
// is in the pipes stays there for whoever else holds them.
func (s *Set) Close() error {
	s.reg.mu.Lock()
	if s.reg.closed {
		s.reg.mu.Unlock()
		return nil
	}
	s.reg.closed = true
	held := s.reg.isHeld
	ids := make([]uint64, 0, len(s.reg.workers))
	for id := range s.reg.workers {
		ids = append(ids, id)
	}
	s.reg.mu.Unlock()
	if held {
		s.abandoned.Store(true)
		s.Resume()
	}
	errs := make([]error, len(ids))
	var wg sync.WaitGroup
	for i, id := range ids {
		wg.Go(func() { errs[i] = s.Finish(id) }) // ends within a few callWait, together if a disk hangs
	}
	wg.Wait()
	s.hub.close()
	s.janitor.close()
	s.mux.close()
	for range scratchCount {
		select { // a scratch that is out is with a file whose disk hangs
		case sc := <-s.scratch:
			sc.close()
		default:
		}
	}
	unix.Close(s.null)
	return errors.Join(errs...)
}

// Flush empties the files at paths and removes their rotated ones; without paths, those of all files that
// are open. Workers may go on writing: what they write from now on is kept.
func (s *Set) Flush(paths ...string) error {
	open := s.openFiles()
	var errs []error
	if len(paths) == 0 {
		for _, f := range open {
			errs = append(errs, f.call(f.flush))
		}
		return errors.Join(errs...)
	}
	for _, path := range paths {
		key := canonical(path)
		if f := open[key]; f != nil {
			errs = append(errs, f.call(f.flush))
		} else if key != "" {
			id, _ := idOf(key)
			errs = append(errs, flushClosed(key))
			s.hub.wasTruncated(id)
		}
	}
	return errors.Join(errs...)
}

// Reopen opens every file anew by its name and closes what was open, after logrotate(8) or a person has moved the
// files. Where that fails, the old one stays in use. No byte is lost.
func (s *Set) Reopen() error {
	var errs []error
	for _, f := range s.openFiles() {
		errs = append(errs, f.call(f.reopen))
	}
	return errors.Join(errs...)
}

func (s *Set) openFiles() map[string]*file {
	s.reg.mu.Lock()
	defer s.reg.mu.Unlock()
	files := make(map[string]*file, len(s.reg.files))
	for path, f := range s.reg.files {
		if path != "" {
			files[path] = f
		}
	}
	return files
}

// heldChan is closed while the Set is quiesced.
func (s *Set) heldChan() <-chan struct{} {
	s.reg.mu.Lock()
	defer s.reg.mu.Unlock()
	return s.reg.held
}

// canonical is path without symlinks, so that one file has one writer. A name that leads nowhere yet, or to a
// pipe (/dev/stdout), is taken as it is.
func canonical(path string) string {
	if path == "" || path == os.DevNull {
		return ""
	}
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	if dir, err := filepath.EvalSymlinks(filepath.Dir(path)); err == nil {
		return filepath.Join(dir, filepath.Base(path))
	}
	return path
}
