package listener_test

import (
	"net"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"supervisor/supervisor/listener"
)

// A worker whose folder has become another can't have the supervisor remove a file there.
func TestReleaseRemovesFromItsFolderAlone(t *testing.T) {
	r := newRig(t)
	dir := t.TempDir()
	ours, others := filepath.Join(dir, "ours"), filepath.Join(dir, "others")
	for _, folder := range []string{ours, others} {
		if err := os.Mkdir(folder, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Open("web", []listener.Declared{{Network: "unix", Address: filepath.Join(ours, "s")}}); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		os.Link(filepath.Join(ours, "s"), filepath.Join(others, "s")),
		os.Rename(ours, ours+".old"), os.Symlink(others, ours),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	r.Release("web")
	if _, err := os.Lstat(filepath.Join(others, "s")); err != nil {
		t.Errorf("a file of another folder: %v", err)
	}
}

// A symlink that takes the place of a socket's file, at the right instant, can't have the
// supervisor change the mode of what it leads to.
func TestAdornFollowsNoSymlink(t *testing.T) {
	dir := t.TempDir()
	path, link, victim := filepath.Join(dir, "s"), filepath.Join(dir, "link"), filepath.Join(dir, "victim")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	var st unix.Stat_t
	for _, err := range []error{
		unix.Lstat(path, &st), os.WriteFile(victim, nil, 0o600), os.Symlink(victim, link),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() { // ends with stop
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				unix.Renameat2(unix.AT_FDCWD, path, unix.AT_FDCWD, link, unix.RENAME_EXCHANGE)
			}
		}
	}()
	for range 5000 {
		if err := listener.AdornFile(path, uint64(st.Dev), st.Ino, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	<-stopped
	for range 2 { // on a busy machine all of them may have met the symlink
		if err := listener.AdornFile(path, uint64(st.Dev), st.Ino, 0o777); err != nil {
			t.Fatal(err)
		}
		unix.Renameat2(unix.AT_FDCWD, path, unix.AT_FDCWD, link, unix.RENAME_EXCHANGE)
	}
	for file, mode := range map[string]os.FileMode{victim: 0o600, path: 0o777, link: 0o777} {
		info, err := os.Lstat(file)
		if err != nil || info.Mode()&os.ModeSymlink == 0 && info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v", filepath.Base(file), info.Mode(), err)
		}
	}
}
