package logs

import (
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
)

// janitor removes and compresses rotated files. Two goroutines, so that a long compression does not let
// a flood fill the disk; each is started with its first job and ended by close.
type janitor struct {
	set  *Set
	quit chan struct{}
	wg   sync.WaitGroup

	mu       sync.Mutex
	prune    map[string]FileConfig // files that were rotated since the last round
	compress map[string]bool
	pruneGo  chan struct{} // nil until the goroutine runs; cap 1
	gzipGo   chan struct{}
	closed   bool
}

func newJanitor(s *Set) *janitor {
	return &janitor{set: s, quit: make(chan struct{}), prune: make(map[string]FileConfig), compress: make(map[string]bool)}
}

// rotated says that path has one more rotated file. It does not block.
func (j *janitor) rotated(path string, cfg FileConfig) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed {
		return
	}
	j.prune[path] = cfg
	j.kick(&j.pruneGo, j.pruneRound)
	if cfg.Compress {
		j.compress[path] = true
		j.kick(&j.gzipGo, j.compressRound)
	}
}

// kick has the goroutine behind wake make a round; mu is held.
func (j *janitor) kick(wake *chan struct{}, round func()) {
	if *wake == nil {
		c := make(chan struct{}, 1)
		*wake = c
		j.wg.Go(func() { // ends by close
			for {
				select {
				case <-j.quit:
					return
				case <-c:
					round()
				}
			}
		})
	}
	select {
	case *wake <- struct{}{}:
	default:
	}
}

func (j *janitor) close() {
	j.mu.Lock()
	j.closed = true
	j.mu.Unlock()
	close(j.quit)
	j.wg.Wait()
}

// pruneRound removes the oldest beyond MaxFiles of each rotated file, then the oldest of all beyond MaxTotal.
func (j *janitor) pruneRound() {
	j.mu.Lock()
	due := j.prune
	j.prune = make(map[string]FileConfig)
	j.mu.Unlock()
	j.set.gate.RLock()
	defer j.set.gate.RUnlock()
	for path, cfg := range due {
		old := rotatedFiles(path)
		for _, name := range old[:max(len(old)-max(cfg.MaxFiles, 0), 0)] {
			j.remove(path, name)
		}
	}
	if j.set.cfg.MaxTotal > 0 {
		j.capTotal()
	}
}

// capTotal keeps the rotated files of all open logs within MaxTotal.
func (j *janitor) capTotal() {
	type rotated struct {
		path, name, stamp string
		size              int64
	}
	var all []rotated
	var total int64
	for path := range j.set.openFiles() {
		for _, name := range rotatedFiles(path) {
			if st, err := os.Lstat(name); err == nil {
				all = append(all, rotated{path, name, stampOf(path, name), st.Size()})
				total += st.Size()
			}
		}
	}
	slices.SortFunc(all, func(a, b rotated) int { return strings.Compare(a.stamp, b.stamp) })
	for _, r := range all {
		if total <= j.set.cfg.MaxTotal {
			return
		}
		j.remove(r.path, r.name)
		total -= r.size
	}
}

func (j *janitor) remove(path, name string) {
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		j.set.cfg.Facts(Failed{Path: path, Err: err})
	}
	_ = os.Remove(name + tmpSuffix) // a crash may have left it; mostly there is none
}

// compressRound compresses what is rotated, the newest first: the oldest are the next to be removed.
func (j *janitor) compressRound() {
	j.mu.Lock()
	due := j.compress
	j.compress = make(map[string]bool)
	j.mu.Unlock()
	for path := range due {
		old := rotatedFiles(path)
		slices.Reverse(old)
		for _, name := range old {
			if strings.HasSuffix(name, gzSuffix) {
				continue
			}
			if err := j.gzip(name); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, ErrClosed) {
				j.set.cfg.Facts(Failed{Path: path, Err: err})
			}
		}
	}
}

// gzip replaces name by name.gz; a crash on the way leaves name, and a temporary file that the next attempt overwrites.
func (j *janitor) gzip(name string) (err error) {
	from, err := os.Open(name)
	if err != nil {
		return err
	}
	defer from.Close()
	tmp := name + tmpSuffix
	to, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		to.Close()
		if err != nil {
			os.Remove(tmp)
		}
	}()
	z, err := gzip.NewWriterLevel(to, gzip.BestSpeed)
	if err != nil {
		return err
	}
	id, err := idOf(name)
	if err != nil {
		return err
	}
	z.Extra = idExtra(id) // for the cursors of followers
	for done := false; !done; {
		if done, err = j.copyChunk(z, from); err != nil {
			return err
		}
	}
	j.set.gate.RLock()
	defer j.set.gate.RUnlock()
	if err = errors.Join(z.Close(), to.Close()); err != nil {
		return err
	}
	if _, err = os.Lstat(name); err != nil { // removed meanwhile: too old, or flushed
		return err
	}
	if err = os.Rename(tmp, name+gzSuffix); err != nil {
		return err
	}
	return os.Remove(name)
}

func (j *janitor) copyChunk(to io.Writer, from io.Reader) (done bool, err error) {
	select {
	case <-j.quit:
		return false, ErrClosed
	default:
	}
	j.set.gate.RLock()
	defer j.set.gate.RUnlock()
	_, err = io.CopyN(to, from, chunkSize)
	if err == io.EOF {
		return true, nil
	}
	return false, err
}
