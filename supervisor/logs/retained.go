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
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// retained is one of the files that are kept of a log: a rotated one, or the one that is written.
type retained struct {
	name  string
	inode uint64 // which it had while it was written
}

// retainedFiles are those of path, oldest first. It looks until nothing was rotated meanwhile, so none is missing.
func retainedFiles(path string) []retained {
	for {
		old := rotatedFiles(path)
		files := make([]retained, 0, len(old)+1)
		for _, name := range append(slices.Clone(old), path) {
			if inode, err := inodeOf(name); err == nil {
				files = append(files, retained{name, inode})
			}
		}
		if now := rotatedFiles(path); slices.Equal(now, old) {
			return files
		}
	}
}

// inodeOf is the inode that the file had while it was written: a compressed one has it in its header.
func inodeOf(name string) (uint64, error) {
	if !strings.HasSuffix(name, gzSuffix) {
		var st unix.Stat_t
		err := unix.Stat(name, &st)
		return st.Ino, err
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
	return inodeExtra(z.Extra), nil
}

// extraInode is the subfield of a gzip header (RFC 1952, 2.3.1.1) that holds an inode.
func extraInode(inode uint64) []byte {
	return binary.LittleEndian.AppendUint64([]byte{'S', 'V', 8, 0}, inode)
}

func inodeExtra(extra []byte) uint64 {
	if len(extra) != 12 || !bytes.HasPrefix(extra, []byte{'S', 'V', 8, 0}) {
		return 0
	}
	return binary.LittleEndian.Uint64(extra[4:])
}

// block reads up to size bytes at offset of what was written to a file. Less than that is its end; io.EOF that it is
// shorter than offset, which is what a truncation leaves.
func (r retained) block(offset int64, size int) ([]byte, error) {
	file, err := os.OpenFile(r.name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	b := make([]byte, size)
	var n int
	if strings.HasSuffix(r.name, gzSuffix) {
		z, err := gzip.NewReader(bufio.NewReaderSize(file, chunkSize))
		if err != nil {
			return nil, err
		}
		if _, err := io.CopyN(io.Discard, z, offset); err != nil {
			return nil, err
		}
		n, err = io.ReadFull(z, b)
		if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
			return nil, err
		}
		return b[:n], nil
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
	n, err = file.ReadAt(b, offset)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return b[:n], err
}
