package logs

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// FileID tells one file from another, in its folder: the time of birth in units of 2 ms, then the last idInode bits of the
// inode, since many are born at once and inodes are used again. Where the filesystem knows no birth it is the inode.
type FileID uint64

const (
	idInode = 22
	idBirth = FileID(1) << 61 // what has a birth is not less: that is so since 2006
)

// isOlder says that the file is surely older than another.
func (id FileID) isOlder(than FileID) bool {
	return id >= idBirth && than >= idBirth && id>>idInode < than>>idInode
}

// retained is one of the files that are kept of a log: a rotated one, or the one that is written.
type retained struct {
	name string
	id   FileID // which it had while it was written
}

// retainedFiles are those of path, oldest first. It looks until nothing was rotated meanwhile, so none is missing.
// Who asks often has known remember the ids of compressed files, which cost more than a look; nil forgets them.
func retainedFiles(path string, known map[string]FileID) []retained {
	for {
		old := rotatedFiles(path)
		files := make([]retained, 0, len(old)+1)
		for _, name := range append(slices.Clone(old), path) {
			id, err := known[name], error(nil)
			if id == 0 {
				id, err = idOf(name)
			}
			if err == nil && known != nil && strings.HasSuffix(name, gzSuffix) {
				known[name] = id
			}
			if n := len(files); err != nil || n > 0 && files[n-1].id == id { // it was compressed, and will be removed
				continue
			}
			files = append(files, retained{name, id})
		}
		if now := rotatedFiles(path); slices.Equal(now, old) {
			return files
		}
	}
}

// movedFile is a file of a log that somebody has moved, and the one that was opened then.
type movedFile struct{ id, next FileID }

// wasMoved notes it for followers that have not read the file yet.
func (h *hub) wasMoved(path string, id, next FileID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.moved == nil {
		h.moved = make(map[string][]movedFile)
	}
	list := append(h.moved[path], movedFile{id, next})
	h.moved[path] = slices.Clone(list[max(0, len(list)-movedFiles):])
}

func (h *hub) movedOf(path string) []movedFile {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.moved[path]
}

// withMoved adds a file if somebody has moved it to a name that begins with that of path, as logrotate(8) does: before
// the one that was opened then, or the first that is younger.
func withMoved(files []retained, path string, moved movedFile) []retained {
	id := moved.id
	if id == 0 || slices.ContainsFunc(files, func(r retained) bool { return r.id == id }) {
		return files
	}
	names, _ := filepath.Glob(filepath.Join(globQuoted(filepath.Dir(path)), globQuoted(filepath.Base(path))+"?*"))
	for _, name := range names {
		if found, err := fileIDOf(unix.AT_FDCWD, name, unix.AT_SYMLINK_NOFOLLOW); err != nil || found != id {
			continue
		}
		at := slices.IndexFunc(files, func(r retained) bool { return r.id == moved.next })
		if at < 0 {
			at = slices.IndexFunc(files, func(r retained) bool { return id.isOlder(r.id) })
		}
		if at < 0 {
			at = max(0, len(files)-1)
		}
		return slices.Insert(files, at, retained{name, id})
	}
	return files
}

// globQuoted is a name as a pattern that matches it alone.
func globQuoted(name string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(name)
}

// idOf is the file's, or that which it had before it was compressed: that is in its header.
func idOf(name string) (FileID, error) {
	if !strings.HasSuffix(name, gzSuffix) {
		return fileIDOf(unix.AT_FDCWD, name, 0)
	}
	file, err := os.Open(name)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	z, err := gzip.NewReader(file)
	if err != nil {
		return 0, err
	}
	if id := extraID(z.Extra); id != 0 {
		return id, nil
	}
	return fileIDOf(unix.AT_FDCWD, name, 0) // another program compressed it
}

func fileIDOf(dir int, name string, flags int) (FileID, error) {
	var st unix.Statx_t
	if err := unix.Statx(dir, name, flags, unix.STATX_INO|unix.STATX_BTIME, &st); err != nil {
		return 0, &fs.PathError{Op: "statx", Path: name, Err: err}
	}
	born := FileID(st.Btime.Sec)*1e9 + FileID(st.Btime.Nsec) // 0 where the filesystem does not know it
	if id := born>>(idInode-1)<<idInode | FileID(st.Ino)&(1<<idInode-1); id >= idBirth {
		return id, nil
	}
	return FileID(max(1, st.Ino%uint64(idBirth))), nil
}

// idExtra is the subfield of a gzip header (RFC 1952, 2.3.1.1) that holds an id.
func idExtra(id FileID) []byte {
	return binary.LittleEndian.AppendUint64([]byte{'S', 'V', 8, 0}, uint64(id))
}

func extraID(extra []byte) FileID {
	if len(extra) != 12 || !bytes.HasPrefix(extra, []byte{'S', 'V', 8, 0}) {
		return 0
	}
	return FileID(binary.LittleEndian.Uint64(extra[4:]))
}

// block reads up to size bytes at offset of a file that is not compressed. Less than that is its end; io.EOF that it is
// shorter than offset, which is what a truncation leaves; fs.ErrNotExist that the name is no more that file's.
func (r retained) block(offset int64, size int) ([]byte, error) {
	file, err := os.OpenFile(r.name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if id, err := fileIDOf(int(file.Fd()), "", unix.AT_EMPTY_PATH); err != nil || id != r.id {
		return nil, errors.Join(fs.ErrNotExist, err) // the name is another file's since: it was rotated
	}
	st, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, fs.ErrInvalid
	}
	if st.Size() < offset {
		return nil, io.EOF
	}
	b := make([]byte, size)
	n, err := file.ReadAt(b, offset)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return b[:n], err
}

// unzipped is a compressed file that is read from its begin on, once.
type unzipped struct {
	name string
	file *os.File
	text *bufio.Reader
	at   int64 // of what text gives next
}

func unzip(name string) (*unzipped, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	z, err := gzip.NewReader(bufio.NewReaderSize(file, chunkSize))
	if err != nil {
		file.Close()
		return nil, err
	}
	return &unzipped{name: name, file: file, text: bufio.NewReaderSize(z, catchUpBlock)}, nil
}

// block is that of retained, for size up to catchUpBlock and no offset before that of an earlier call.
func (u *unzipped) block(offset int64, size int) ([]byte, error) {
	for u.at < offset {
		n, err := u.text.Discard(int(min(offset-u.at, catchUpBlock)))
		if u.at += int64(n); err != nil {
			return nil, err
		}
	}
	b, err := u.text.Peek(size)
	if err == io.EOF {
		err = nil
	}
	return b, err
}
