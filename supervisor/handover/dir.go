package handover

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	// MaxState bounds what Load reads of one state file, in bytes: a thousand workers
	// take about 1 MiB.
	MaxState = 64 << 20

	// maxStateName bounds a state file's name, so that NAME.bad.99 is a name too.
	maxStateName = 200

	// maxParts is how many pieces one writev(2) takes (IOV_MAX, writev(2)).
	maxParts = 1024

	// maxAside is how many unreadable files of one name are kept.
	maxAside = 99

	tmpSuffix = ".tmp"
	badSuffix = ".bad"
)

// ErrForeign is the cause when a state file is not one of ours: a symbolic link, a
// folder, a device, or another user's. It was not followed or read.
var ErrForeign = errors.New("not a file of ours")

// Dir is the folder of the state files, HOME/state. Files of different names may be
// written at once; of one name there is one writer.
type Dir string

// Keep replaces the state file name by parts, one after the other, with mode 0600. The
// error is the disk's; what was on record before is still there.
func (d Dir) Keep(name string, parts [][]byte) error {
	if err := d.keep(name, parts); err != nil {
		return fmt.Errorf("cannot keep %s: %w", name, err)
	}
	return nil
}

func (d Dir) keep(name string, parts [][]byte) error {
	if err := checkName(name); err != nil {
		return err
	}
	if err := os.MkdirAll(string(d), 0o700); err != nil {
		return err
	}
	path := filepath.Join(string(d), name)
	tmp := path + tmpSuffix
	// What a crash has left there is in the way, whatever it is.
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	fd, err := openRetry(tmp, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	err = writeAll(fd, parts)
	if closed := unix.Close(fd); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		os.Remove(tmp)
	}
	return err
}

// writeAll writes the parts without putting them together.
func writeAll(fd int, parts [][]byte) error {
	left := make([][]byte, 0, min(len(parts), maxParts))
	for len(parts) > 0 || len(left) > 0 {
		for len(parts) > 0 && len(left) < maxParts {
			if len(parts[0]) > 0 {
				left = append(left, parts[0])
			}
			parts = parts[1:]
		}
		if len(left) == 0 {
			return nil
		}
		n, err := unix.Writev(fd, left)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return os.NewSyscallError("writev", err)
		}
		left = left[:copy(left, skip(left, n))]
	}
	return nil
}

// skip is what is left of parts after n bytes. It changes the first that is left.
func skip(parts [][]byte, n int) [][]byte {
	for len(parts) > 0 && n >= len(parts[0]) {
		n -= len(parts[0])
		parts = parts[1:]
	}
	if n > 0 {
		parts[0] = parts[0][n:]
	}
	return parts
}

// Load reads the state file name. Errors: fs.ErrNotExist when there is none, ErrForeign,
// one that is larger than MaxState, the disk's.
func (d Dir) Load(name string) ([]byte, error) {
	err := checkName(name)
	if err == nil {
		var data []byte
		if data, err = load(filepath.Join(string(d), name), MaxState); err == nil {
			return data, nil
		}
	}
	return nil, fmt.Errorf("cannot load %s: %w", name, err)
}

// load reads a file of ours of at most limit bytes. It follows no link, and a fifo
// does not hold it.
func load(path string, limit int64) ([]byte, error) {
	fd, err := openRetry(path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err == unix.ELOOP || err == unix.ENXIO { // a link; a socket
		err = ErrForeign
	}
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	return readAll(fd, limit)
}

// readAll reads a descriptor of a file of ours, which stays open.
func readAll(fd int, limit int64) ([]byte, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, err
	}
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFREG || int(st.Uid) != os.Geteuid():
		return nil, ErrForeign
	case st.Size > limit:
		return nil, fmt.Errorf("too large: %d bytes", st.Size)
	}
	data := make([]byte, st.Size)
	for done := 0; done < len(data); {
		n, err := unix.Read(fd, data[done:])
		switch {
		case err == unix.EINTR:
		case err != nil:
			return nil, err
		case n == 0:
			return data[:done], nil
		default:
			done += n
		}
	}
	return data, nil
}

func openRetry(path string, flags int, mode uint32) (int, error) {
	for {
		fd, err := unix.Open(path, flags, mode)
		if err != unix.EINTR {
			return fd, err
		}
	}
}

// Aside moves what can't be read out of the way, to NAME.bad, or NAME.bad.2 and so on if
// that is taken, and returns the new path; "" if it can't be moved. A link is moved
// itself.
func (d Dir) Aside(name string) (path string) {
	if checkName(name) != nil {
		return ""
	}
	from := filepath.Join(string(d), name)
	for n := 1; n <= maxAside; n++ {
		to := from + badSuffix
		if n > 1 {
			to += "." + strconv.Itoa(n)
		}
		err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
		if err == unix.EINVAL || err == unix.ENOSYS { // a file system or kernel without the flag
			if _, taken := os.Lstat(to); taken == nil {
				continue
			}
			err = os.Rename(from, to)
		}
		switch err {
		case nil:
			return to
		case unix.EEXIST:
		default:
			return ""
		}
	}
	return ""
}

// checkName keeps names in the folder, and out of the way of those that Keep and Aside
// make.
func checkName(name string) error {
	switch {
	case name == "", name == ".", name == "..", strings.ContainsAny(name, "/\x00"), len(name) > maxStateName:
		return fmt.Errorf("%q is not a file's name", name)
	case strings.HasSuffix(name, tmpSuffix), strings.Contains(name, badSuffix):
		return fmt.Errorf("%q is a name of its own meaning", name)
	}
	return nil
}
