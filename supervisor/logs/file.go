package logs

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// file is one destination and the only writer to it. Everything but the inbox belongs to its goroutine, which
// ends when the last worker that names the path is finished.
type file struct {
	set  *Set
	path string // canonical; "" is no file
	refs int    // under set.reg.mu
	done chan struct{}

	inbox   inbox
	streams []*stream // that go here
	naps    []*stream // those that have a turn to take later
	stop    bool
	owned   atomic.Bool // no earlier process is at work on it

	fd        int    // -1: could not be opened
	dev, ino  uint64 // of a regular file
	id        FileID
	device    bool // it was no regular file from the start: /dev/stdout, which is a symlink
	opened    time.Time
	regular   bool
	copies    bool  // it does not take splice(2)
	size      int64 // where the next byte goes
	lineStart bool  // size is at the begin of a line
	cfg       FileConfig
	limit     int64 // size at which it is rotated; beyond cfg.MaxSize after a rotation that failed
	moved     bool  // renamed, but its successor could not be opened yet
	lastStamp string

	shown shownPlace
	left  openLine // the begin of the last line, which an earlier process or worker has left open; until it is shown

	failing  string // the error that was said, "" while all is well
	lost     Dropped
	reported time.Time
}

// inbox is what others want of a file: a leaf buffer, bounded by the number of streams and callers.
type inbox struct {
	mu    sync.Mutex
	ready []*stream
	calls []func()
	wake  chan struct{}
}

// waiting is why a stream has no turn now.
type waiting struct {
	due   time.Time     // of its next turn
	since time.Time     // when an open line was first seen; zero: none
	nap   time.Duration // the last one; doubled while a line stays open
}

// acquire returns the file for cfg, opened.
func (s *Set) acquire(cfg FileConfig) (*file, error) {
	path := canonical(cfg.Path)
	cfg = cfg.defaults()
	if f := s.ref(path, nil); f != nil {
		f.post(func() { f.configure(cfg) })
		return f, nil
	}
	f := &file{set: s, path: path, fd: -1, done: make(chan struct{}), inbox: inbox{wake: make(chan struct{}, 1)}}
	f.configure(cfg)
	if path != "" {
		st, err := os.Stat(path)
		f.device = err == nil && !st.Mode().IsRegular()
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return nil, fmt.Errorf("cannot create the log folder: %w", err)
		}
		// The disk may hang: nobody else must wait for this open, so it is done without the registry's lock.
		if err := f.open(); err != nil {
			return nil, err
		}
	}
	f.publish()
	if other := s.ref(path, f); other != f {
		f.closeFile()
		return other, nil
	}
	go f.run() // ends by unref
	return f, nil
}

// ref counts a use of the file at path; if there is none, of fresh, unless that is nil.
func (s *Set) ref(path string, fresh *file) *file {
	s.reg.mu.Lock()
	defer s.reg.mu.Unlock()
	f := s.reg.files[path]
	if f == nil {
		if fresh == nil {
			return nil
		}
		f = fresh
		s.reg.files[path] = f
		s.reg.opened++
	}
	f.refs++
	return f
}

// unref ends the goroutine of f after all that was asked of it, if this was the last use.
func (s *Set) unref(f *file) {
	s.reg.mu.Lock()
	f.refs--
	last := f.refs == 0
	if last {
		delete(s.reg.files, f.path)
	}
	s.reg.mu.Unlock()
	if !last {
		return
	}
	f.post(func() { f.stop = true })
	select {
	case <-f.done:
	case <-s.heldChan():
	case <-time.After(callWait):
	}
}

func (cfg FileConfig) defaults() FileConfig {
	if cfg.MaxSize == 0 {
		cfg.MaxSize = DefaultMaxSize
	}
	if cfg.MaxFiles == 0 {
		cfg.MaxFiles = DefaultMaxFiles
	}
	return cfg
}

func (f *file) configure(cfg FileConfig) { f.cfg, f.limit = cfg, cfg.MaxSize }

// open opens the file by its name in place of what is open, which stays in use if that fails.
// There is no O_APPEND, which splice(2) refuses, and O_NONBLOCK is for fifos: without a reader they are an error.
func (f *file) open() error {
	flags := unix.O_WRONLY | unix.O_CREAT | unix.O_CLOEXEC | unix.O_NONBLOCK | unix.O_NOCTTY
	if !f.device {
		// The path has no symlink left (canonical). The folder may be a worker's and we may be root: one that
		// appears later is not followed.
		flags |= unix.O_NOFOLLOW
	}
	fd, err := unix.Open(f.path, flags, 0o600)
	for err == unix.EINTR {
		fd, err = unix.Open(f.path, flags, 0o600)
	}
	if err != nil {
		return fmt.Errorf("cannot open log file %s: %w", f.path, err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return fmt.Errorf("cannot stat log file %s: %w", f.path, err)
	}
	kind := st.Mode & unix.S_IFMT
	if _, err := unix.IoctlGetTermios(fd, unix.TCGETS); kind != unix.S_IFREG && kind != unix.S_IFIFO && err != nil {
		unix.Close(fd)
		return fmt.Errorf("cannot use log file %s: it is not a file, a pipe or a terminal", f.path)
	}
	old := f.fd
	f.fd, f.regular, f.dev, f.ino, f.id = fd, kind == unix.S_IFREG, 0, 0, 0
	if f.regular {
		f.dev, f.ino = st.Dev, st.Ino
		f.id, _ = fileIDOf(fd, "", unix.AT_EMPTY_PATH) // without it followers can't come back to the file
	}
	f.size, f.lineStart, f.moved, f.copies = st.Size, true, false, false
	f.limit = f.cfg.MaxSize
	for _, st := range f.streams {
		f.announce(st)
	}
	if old >= 0 {
		unix.Close(old)
	}
	return nil
}

// announce tells whoever may empty pipes for us where the bytes of st go.
func (f *file) announce(st *stream) {
	if st.spool == nil && f.fd >= 0 && f.regular && !f.copies && (f.owned.Load() || !st.adopted) {
		f.set.cfg.Opened(st.worker, st.kind, f.fd)
	}
}

// enter has the goroutine know st. It waits for it where somebody is to be told which file that is.
func (f *file) enter(st *stream) {
	if st.spool != nil || st.adopted || f.path == "" {
		f.post(func() { f.join(st) })
		return
	}
	_ = f.call(func() error { f.join(st); return nil }) // where the disk hangs it is told later
}

// join has the file know st.
func (f *file) join(st *stream) {
	f.streams = append(f.streams, st)
	if st.adopted {
		return // an earlier process may still be at work
	}
	f.own()
	f.announce(st)
	f.tellOpen(st)
}

// recall puts the last lines that an earlier process has seen of st into its ring, which was lost with it: those of
// the file, as far as they are the worker's own and as it wrote them.
func (f *file) recall(st *stream) {
	from := st.before
	st.before = Cursor{}
	if from.Offset == 0 || st.spool != nil {
		return
	}
	for _, other := range f.streams {
		if other.label != st.label {
			return
		}
	}
	for _, file := range retainedFiles(f.path, nil) {
		if file.id != from.File {
			continue
		}
		begin := max(0, from.Offset-chunkSize)
		if tail, err := file.block(begin, int(from.Offset-begin)); err == nil {
			st.ring.prepend(lastLines(tail, RingLines))
		}
	}
}

// own says that no earlier process is at work on the file any more.
func (f *file) own() {
	if f.owned.Load() || f.path == "" {
		return
	}
	if f.regular && !f.isNamed() { // that process has rotated it since it was opened here
		if err := f.open(); err != nil {
			f.fail(err)
		}
	}
	if f.prepare() {
		if f.lineStart = f.endsLine(); !f.lineStart {
			f.left.add(f.openEnd())
		}
		f.publish()
	}
	f.owned.Store(true)
	if f.cfg.Compress {
		f.set.janitor.rotated(f.path, f.cfg) // what a crash left uncompressed
	}
}

// begin starts to read st. With the first of them the file is this process's alone.
func (f *file) begin(st *stream) {
	if st.closed {
		return
	}
	f.own()
	f.settle()
	if st.adopted {
		st.before = Cursor{Path: f.path, File: f.id, Offset: f.size}
		f.announce(st)
	}
	st.begun = true
	f.set.mux.arm(st)
}

func (f *file) closeFile() {
	if f.fd >= 0 {
		unix.Close(f.fd)
		f.fd = -1
	}
}

// run gives each stream its turn in the order of their wake-ups.
func (f *file) run() {
	defer close(f.done)
	defer f.closeFile()
	defer f.set.mux.wakeNever(f)
	var queue []*stream
	for {
		ready, calls := f.inbox.take()
		queue = append(queue, ready...)
		for _, do := range calls {
			f.set.gate.RLock()
			do()
			f.set.gate.RUnlock()
		}
		if f.stop {
			return
		}
		queue = f.dueStreams(queue)
		if len(queue) == 0 {
			f.sleep()
			continue
		}
		st := queue[0]
		queue = append(queue[:0], queue[1:]...)
		f.set.gate.RLock()
		again := !f.set.abandoned.Load() && f.turn(st)
		f.set.gate.RUnlock()
		if again {
			queue = append(queue, st)
		}
	}
}

// sleep returns when something is in the inbox or the first nap is over.
func (f *file) sleep() {
	if len(f.naps) > 0 {
		first := f.naps[0].wait.due
		for _, st := range f.naps[1:] {
			if st.wait.due.Before(first) {
				first = st.wait.due
			}
		}
		f.set.mux.nap(f, first)
	}
	<-f.inbox.wake
}

// dueStreams moves streams whose nap is over to queue.
func (f *file) dueStreams(queue []*stream) []*stream {
	if len(f.naps) == 0 {
		return queue
	}
	now := time.Now()
	left := f.naps[:0]
	for _, st := range f.naps {
		if st.wait.due.After(now) {
			left = append(left, st)
		} else {
			queue = append(queue, st)
		}
	}
	clear(f.naps[len(left):])
	f.naps = left
	return queue
}

// ready says that st can be read.
func (f *file) ready(st *stream) {
	f.inbox.mu.Lock()
	f.inbox.ready = append(f.inbox.ready, st)
	f.inbox.mu.Unlock()
	f.poke()
}

// post has the goroutine run do, after what was posted before.
func (f *file) post(do func()) {
	f.inbox.mu.Lock()
	f.inbox.calls = append(f.inbox.calls, do)
	f.inbox.mu.Unlock()
	f.poke()
}

func (f *file) poke() {
	select {
	case f.inbox.wake <- struct{}{}:
	default:
	}
}

func (in *inbox) take() (ready []*stream, calls []func()) {
	in.mu.Lock()
	defer in.mu.Unlock()
	ready, calls = in.ready, in.calls
	in.ready, in.calls = nil, nil
	return ready, calls
}

// call has the goroutine run do and waits for its error. It gives up waiting, and what was asked happens later,
// when the set is quiesced (ErrQuiesced) or the disk hangs (ErrBusy).
func (f *file) call(do func() error) error {
	patience := time.NewTimer(callWait)
	defer patience.Stop()
	answer := make(chan error, 1)
	held := f.set.heldChan()
	f.post(func() { answer <- do() })
	select {
	case err := <-answer:
		return err
	case <-f.done:
		return nil
	case <-held:
		return ErrQuiesced
	case <-patience.C:
		return fmt.Errorf("cannot finish with log file %s: %w", f.path, ErrBusy)
	}
}
