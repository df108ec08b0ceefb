package lab

import (
	"errors"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Watch is told of every change of the entries of folders (inotify(7)).
type Watch struct {
	t    testing.TB
	file *os.File
}

// NewWatch watches folders until the test ends.
func NewWatch(t testing.TB, folders ...string) *Watch {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	w := &Watch{t, os.NewFile(uintptr(fd), "inotify")}
	t.Cleanup(func() { w.file.Close() })
	const mask = unix.IN_CREATE | unix.IN_DELETE | unix.IN_MOVED_TO | unix.IN_MODIFY | unix.IN_CLOSE_WRITE
	for _, folder := range folders {
		if _, err := unix.InotifyAddWatch(fd, folder, mask); err != nil {
			t.Fatalf("cannot watch %s: %v", folder, err)
		}
	}
	return w
}

// Until returns when is does, which is asked now and after every change; false if it
// does not within Guard.
func (w *Watch) Until(is func() bool) bool {
	w.t.Helper()
	w.file.SetReadDeadline(time.Now().Add(Guard))
	buf := make([]byte, 64<<10)
	for !is() {
		if _, err := w.file.Read(buf); errors.Is(err, os.ErrDeadlineExceeded) {
			return is()
		} else if err != nil {
			w.t.Fatal(err)
		}
	}
	return true
}
