package listener

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// target is the thread whose call is in hand, seen through /proc. What it
// gives is true only if the notification is still valid afterwards.
type target struct {
	tid     int
	proc    string                  // /proc/TID
	refused func(path string) error // tests: why a path can't be seen; may be nil
}

func newTarget(tid int) target { return target{tid: tid, proc: "/proc/" + strconv.Itoa(tid)} }

// target is a thread as the table sees it.
func (t *Table) target(tid int) target {
	g := newTarget(tid)
	g.refused = t.refused
	return g
}

// may tells why something of the thread can't be seen, if a test wants that.
func (g target) may(path string) error {
	if g.refused == nil {
		return nil
	}
	return g.refused(g.proc + path)
}

// status is what we need of /proc/TID/status (proc_pid_status(5)).
type status struct {
	tgid     int
	uid, gid int // for files
	umask    uint32
}

func (g target) status() (status, error) {
	b, err := os.ReadFile(g.proc + "/status")
	if err != nil {
		return status{}, err
	}
	return parseStatus(b)
}

func parseStatus(b []byte) (st status, err error) {
	// The command's name can't forge a line: its newlines are escaped.
	for line := range bytes.Lines(b) {
		name, value, _ := strings.Cut(string(line), ":")
		fields := strings.Fields(value)
		switch {
		case name == "Tgid" && len(fields) == 1:
			st.tgid, err = strconv.Atoi(fields[0])
		case name == "Uid" && len(fields) == 4:
			st.uid, err = strconv.Atoi(fields[3])
		case name == "Gid" && len(fields) == 4:
			st.gid, err = strconv.Atoi(fields[3])
		case name == "Umask" && len(fields) == 1:
			var n uint64
			n, err = strconv.ParseUint(fields[0], 8, 12)
			st.umask = uint32(n)
		}
		if err != nil {
			return st, err
		}
	}
	if st.tgid == 0 {
		return st, errors.New("no Tgid in status")
	}
	return st, nil
}

// memory reads up to len(buf) bytes at an address; less at the end of what is
// mapped.
func (g target) memory(address uint64, buf []byte) ([]byte, error) {
	if err := g.may("/mem"); err != nil {
		return nil, err
	}
	f, err := os.Open(g.proc + "/mem")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if address > 1<<62 {
		return nil, unix.EFAULT
	}
	n, err := f.ReadAt(buf, int64(address))
	if n == 0 && err != nil && err != io.EOF {
		return nil, err
	}
	return buf[:n], nil
}

// text reads a path, which ends with NUL.
func (g target) text(address uint64) (string, error) {
	buf := make([]byte, unix.PathMax)
	b, err := g.memory(address, buf)
	if err != nil {
		return "", err
	}
	i := bytes.IndexByte(b, 0)
	if i < 0 {
		return "", unix.ENAMETOOLONG
	}
	return string(b[:i]), nil
}

// flags are the open file's flags and close-on-exec of a descriptor
// (proc_pid_fdinfo(5)).
func (g target) flags(fd int) (int, error) {
	if err := g.may("/fdinfo"); err != nil {
		return 0, err
	}
	b, err := os.ReadFile(g.proc + "/fdinfo/" + strconv.Itoa(fd))
	if err != nil {
		return 0, err
	}
	return parseFlags(b)
}

func parseFlags(b []byte) (int, error) {
	for line := range bytes.Lines(b) {
		if value, ok := strings.CutPrefix(string(line), "flags:"); ok {
			n, err := strconv.ParseUint(strings.TrimSpace(value), 8, 32)
			return int(n), err
		}
	}
	return 0, errors.New("no flags in fdinfo")
}

// netns is the inode of the thread's network namespace.
func (g target) netns() (uint64, error) {
	if err := g.may("/ns"); err != nil {
		return 0, err
	}
	var st unix.Stat_t
	err := unix.Stat(g.proc+"/ns/net", &st)
	return st.Ino, err
}

// link gives what a descriptor is, socket:[inode].
func (g target) link(fd int) string {
	if g.may("/fd") != nil {
		return ""
	}
	s, _ := os.Readlink(g.proc + "/fd/" + strconv.Itoa(fd))
	return s
}

// socketInode reads the inode out of socket:[inode].
func socketInode(link string) (uint64, bool) {
	s, ok := strings.CutPrefix(link, "socket:[")
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(strings.TrimSuffix(s, "]"), 10, 64)
	return n, err == nil
}

// place is a path as we see it, and the identity of its folder.
type place struct {
	path     string
	dev, dir uint64
}

// locate finds where a path of the thread lies; dirfd is a descriptor of it or
// AT_FDCWD.
func (g target) locate(dirfd int, path string) (place, error) {
	if err := g.may("/root"); err != nil {
		return place{}, err
	}
	root, err := os.Readlink(g.proc + "/root")
	if err != nil {
		return place{}, err
	}
	from, seen := root, g.proc+"/root"
	if !strings.HasPrefix(path, "/") {
		seen = g.proc + "/cwd"
		if dirfd != unix.AT_FDCWD {
			seen = g.proc + "/fd/" + strconv.Itoa(dirfd)
		}
		if from, err = os.Readlink(seen); err != nil {
			return place{}, err
		}
	}
	// Not Join: it takes a/../b for b, which a symlink a belies.
	var st unix.Stat_t
	if err := unix.Stat(seen+"/"+folder(path), &st); err != nil {
		return place{}, err
	}
	return place{path: filepath.Join(from, path), dev: uint64(st.Dev), dir: st.Ino}, nil
}

// folder is the path up to its last element.
func folder(path string) string {
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		return path[:i+1]
	}
	return "."
}

// fileOf gives the identity of the file at a path, 0 if there is none.
func fileOf(path string) (dev, ino uint64) {
	var st unix.Stat_t
	if unix.Lstat(path, &st) != nil {
		return 0, 0
	}
	return uint64(st.Dev), st.Ino
}

// protocol gives the name of the protocol of a socket that can't be taken,
// "TCP" or "TCPv6" for instance.
func (g target) protocol(fd int) string {
	buf := make([]byte, 32)
	n, err := unix.Getxattr(g.proc+"/fd/"+strconv.Itoa(fd), "system.sockprotoname", buf)
	if err != nil {
		return ""
	}
	return strings.TrimRight(string(buf[:n]), "\x00")
}
