package logs

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"supervisor/supervisor/fault"
)

// A rotated file is called NAME.STAMP, with .gz behind it once it is compressed. The stamp is the UTC time of
// the rotation, and grows even if the clock does not: one rename per rotation, so that a crash half-way leaves
// nothing ambiguous, which shifting .1 to .2 would.
const stampLayout = "20060102T150405.000000000Z"

const (
	gzSuffix  = ".gz"
	tmpSuffix = ".gz.tmp" // being compressed; of no value after a crash
)

// prepare makes the file ready for a write and says whether it is: opened, at its end, which is its size even if
// somebody truncated it, and still having a name.
func (f *file) prepare() bool {
	if (f.fd < 0 || f.moved) && time.Since(f.opened) >= retryWait {
		f.opened = time.Now()
		moved := f.moved
		if err := f.open(); err != nil {
			f.fail(err)
		} else if moved {
			f.set.janitor.rotated(f.path, f.cfg)
		}
	}
	if f.fd < 0 {
		return false
	}
	if !f.regular {
		return true
	}
	st, ok := f.stat()
	if ok && st.Nlink == 0 { // removed by hand: nobody could ever read what we write
		if err := f.open(); err != nil {
			f.fail(err)
			return true
		}
		st, ok = f.stat()
	}
	if !ok {
		return false
	}
	was := f.size
	if f.size = st.Size; f.size < was {
		f.truncated()
	}
	return true
}

func (f *file) stat() (unix.Stat_t, bool) {
	var st unix.Stat_t
	err := unix.Fstat(f.fd, &st)
	if err != nil {
		f.fail(fmt.Errorf("cannot stat log file %s: %w", f.path, err))
	}
	return st, err == nil
}

// fit returns how many of the m first bytes of buf go into the file now, at least one; it rotates the file if they do
// not fit. A line is never cut by a rotation unless it has no end within openLineSlack.
func (f *file) fit(buf []byte, m int) int {
	if !f.rotates() {
		return m
	}
	for range 2 {
		room := f.limit - f.size
		if int64(m) <= room {
			return m
		}
		if room > 0 {
			if i := bytes.LastIndexByte(buf[:room], '\n'); i >= 0 {
				return i + 1
			}
		}
		if !f.full() || !f.rotate() {
			break
		}
	}
	if i := bytes.IndexByte(buf[:m], '\n'); i >= 0 {
		return i + 1 // a line longer than the limit, or the end of the open one
	}
	return m
}

// rotates says whether the file is ever rotated.
func (f *file) rotates() bool { return f.regular && f.limit > 0 }

// full says that what does not fit goes into a new file.
func (f *file) full() bool {
	return f.size > 0 && (f.lineStart || f.size >= f.limit+openLineSlack)
}

// rotate renames the file and opens its successor. If it can't, the file in use goes on, and the next attempt
// comes when it has grown by MaxSize again.
func (f *file) rotate() bool {
	if f.moved {
		return false
	}
	was := f.id
	moved, err := f.rename()
	if err != nil {
		f.limit = f.size + f.cfg.MaxSize
		f.set.cfg.Facts(Failed{Path: f.path, Err: fmt.Errorf("cannot rotate log file %s: %w", f.path, err)})
		return false
	}
	fault.Point("rotate.renamed")
	err = f.open()
	cfg := f.cfg
	cfg.Compress = cfg.Compress && err == nil // else it is still written
	f.set.janitor.rotated(f.path, cfg)
	if err != nil {
		f.moved, f.opened = true, time.Now()
		f.fail(err)
		return false
	}
	fault.Point("rotate.opened")
	if moved {
		f.set.hub.wasMoved(f.path, was, f.id)
	}
	return true
}

// rename gives the file its rotated name, unless the name it had is not its own any more: it was moved.
func (f *file) rename() (moved bool, err error) {
	if f.lastStamp == "" {
		if old := rotatedFiles(f.path); len(old) > 0 {
			f.lastStamp = stampOf(f.path, old[len(old)-1])
		}
	}
	if !f.isNamed() {
		return true, nil // logrotate did it: opening by name is all there is to do
	}
	f.lastStamp = nextStamp(f.lastStamp, time.Now())
	to := f.path + "." + f.lastStamp
	err = unix.Renameat2(unix.AT_FDCWD, f.path, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	if err == unix.EINVAL || err == unix.ENOSYS { // a filesystem without the flag; the stamp is new anyway
		err = unix.Rename(f.path, to)
	}
	return false, err
}

// isNamed says whether the name of the file is still that of this one.
func (f *file) isNamed() bool {
	var named unix.Stat_t
	err := unix.Lstat(f.path, &named)
	return err == nil && named.Ino == f.ino && named.Dev == f.dev
}

// nextStamp is now, or just after last if the clock has not passed that.
func nextStamp(last string, now time.Time) string {
	stamp := now.UTC().Format(stampLayout)
	if stamp > last {
		return stamp
	}
	t, err := time.Parse(stampLayout, last)
	if err != nil {
		return stamp
	}
	return t.Add(1).UTC().Format(stampLayout)
}

// stampOf is the stamp in the name of a rotated file of path, "" if it is not one.
func stampOf(path, name string) string {
	stamp, ok := strings.CutPrefix(name, path+".")
	if !ok {
		return ""
	}
	stamp = strings.TrimSuffix(stamp, gzSuffix)
	if len(stamp) != len(stampLayout) {
		return ""
	}
	if _, err := time.Parse(stampLayout, stamp); err != nil {
		return ""
	}
	return stamp
}

// rotatedFiles are the rotated files of path, oldest first.
func rotatedFiles(path string) []string {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return nil
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	var found []string
	for _, name := range names {
		if full := filepath.Join(filepath.Dir(path), name); stampOf(path, full) != "" {
			found = append(found, full)
		}
	}
	slices.Sort(found) // a stamp's own order is that of time
	return found
}

// reopen opens the file by its name again. A line that was left open has ended if that is another file.
func (f *file) reopen() error {
	was := f.id
	if err := f.open(); err != nil {
		return err
	}
	if f.id != was {
		f.left = openLine{}
		f.set.hub.wasMoved(f.path, was, f.id)
	}
	return nil
}

// flush empties the file and removes its rotated ones. A writer's offset is the size, so nothing else is to do.
func (f *file) flush() error {
	if f.fd >= 0 && f.regular {
		if err := unix.Ftruncate(f.fd, 0); err != nil {
			return fmt.Errorf("cannot empty log file %s: %w", f.path, err)
		}
		f.size = 0
		f.truncated()
	}
	return removeRotated(f.path)
}

// flushClosed does what flush does for a file that no worker has.
func flushClosed(path string) error {
	err := os.Truncate(path, 0)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err != nil {
		return fmt.Errorf("cannot empty log file %s: %w", path, err)
	}
	return removeRotated(path)
}

func removeRotated(path string) error {
	var errs []error
	for _, old := range rotatedFiles(path) {
		if err := os.Remove(old); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("cannot remove rotated log file: %w", err))
		}
	}
	return errors.Join(errs...)
}
