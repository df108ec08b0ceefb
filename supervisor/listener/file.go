package listener

import (
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// The folder of a unix socket may be a worker's to write, while we may be root: between
// a look at a path and what is done there, the worker may put a symlink in its place. So
// what is done is done to the folder or file that was looked at, by its descriptor.

// openFolder opens the folder of a path.
func openFolder(path string) (fd int, err error) {
	return unix.Open(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
}

// removeFile removes the file of a unix socket, if that is at its place still.
func (s *socket) removeFile() {
	folder, err := openFolder(s.path)
	if err != nil {
		return
	}
	defer unix.Close(folder)
	var st unix.Stat_t
	if unix.Fstat(folder, &st) != nil || uint64(st.Dev) != s.key.dev || st.Ino != s.key.dir {
		return
	}
	_ = removeFrom(folder, filepath.Base(s.path), s.dev, s.ino) // what can't be removed stays a stale file
}

// removeFrom removes an entry of a folder that is the file that we know.
func removeFrom(folder int, base string, dev, ino uint64) error {
	var st unix.Stat_t
	if err := unix.Fstatat(folder, base, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if uint64(st.Dev) != dev || st.Ino != ino {
		return unix.EEXIST
	}
	return unix.Unlinkat(folder, base, 0)
}

// adornFile gives the file of a unix socket its mode, and its owner if that is not -1.
// What is no longer the file that we know is left alone, without an error.
func adornFile(path string, dev, ino uint64, mode uint32, uid, gid int) error {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil || uint64(st.Dev) != dev || st.Ino != ino {
		return nil
	}
	if uid >= 0 {
		_ = unix.Fchownat(fd, "", uid, gid, unix.AT_EMPTY_PATH)
	}
	return unix.Chmod("/proc/self/fd/"+strconv.Itoa(fd), mode) // fchmod(2) takes no O_PATH
}
