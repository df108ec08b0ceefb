package logs

import (
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// watch tells by inotify(7) that a file, or what is in a folder, changed.
type watch struct{ *os.File }

func watchFile(t testing.TB, path string) watch {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := unix.InotifyAddWatch(fd, path, unix.IN_MODIFY|unix.IN_MOVED_TO|unix.IN_DELETE); err != nil {
		t.Fatal(err)
	}
	return watch{os.NewFile(uintptr(fd), "inotify")}
}

// wait returns after a change since the last wait.
func (w watch) wait(t testing.TB, have string) {
	t.Helper()
	w.SetReadDeadline(time.Now().Add(deadline))
	if _, err := w.Read(make([]byte, 4096)); err != nil {
		t.Fatalf("%v; the file holds %q", err, have)
	}
}
