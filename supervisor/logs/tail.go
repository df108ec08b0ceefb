package logs

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// tailMax bounds the bytes that Tail looks at in a file.
const tailMax = 8 << 20

// Tail returns the last n lines of the file at path, as written and each at most LineMax long, going on in its
// newest rotated file if path has fewer. It reads backwards and at most tailMax of each file. A last line
// without newline counts.
func Tail(path string, n int) ([]string, error) {
	lines, _, err := tailAt(path, n, true)
	return lines, err
}

// TailAt returns what Tail does, but for an open last line, and the place just behind, to go on from with FollowFrom.
// Where there is no file yet, that is its beginning.
func TailAt(path string, n int) ([]string, Cursor, error) { return tailAt(path, n, false) }

func tailAt(path string, n int, withOpen bool) ([]string, Cursor, error) {
	at := Cursor{Path: canonical(path)}
	if at.Path == "" {
		return nil, Cursor{}, nil
	}
	file, err := os.OpenFile(at.Path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, at, fmt.Errorf("cannot read log file: %w", err)
	}
	defer file.Close()
	tail, end, err := tailOf(file, max(n, 1)+1)
	if err == nil {
		at.File, err = fileIDOf(int(file.Fd()), "", unix.AT_EMPTY_PATH)
	}
	if err != nil {
		return nil, at, fmt.Errorf("cannot read log file: %w", err)
	}
	whole := bytes.LastIndexByte(tail, '\n') + 1
	at.Offset = end - int64(len(tail)-whole)
	if n <= 0 {
		return nil, at, nil
	}
	if !withOpen {
		tail = tail[:whole]
	}
	lines := lastLines(tail, n)
	if len(lines) == n {
		return lines, at, nil
	}
	return append(tailBefore(at, n-len(lines)), lines...), at, nil
}

// tailBefore are the last lines of the newest file that was rotated before that of at.
func tailBefore(at Cursor, n int) []string {
	files := retainedFiles(at.Path, nil)
	i := slices.IndexFunc(files, func(r retained) bool { return r.id == at.File })
	if i <= 0 {
		return nil
	}
	read := tailFile
	if strings.HasSuffix(files[i-1].name, gzSuffix) {
		read = tailGzip
	}
	lines, _ := read(files[i-1].name, n) // removed this moment: what there is, is true
	return lines
}

// tailFile is the last n lines of a file.
func tailFile(path string, n int) ([]string, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	tail, _, err := tailOf(file, n)
	if err != nil {
		return nil, err
	}
	return lastLines(tail, n), nil
}

// tailOf reads blocks from the end until it has n lines, and says where the end is.
func tailOf(file *os.File, n int) (tail []byte, size int64, err error) {
	st, err := file.Stat()
	if err != nil || !st.Mode().IsRegular() {
		return nil, 0, err
	}
	end := st.Size()
	for end > 0 && len(tail) < tailMax && bytes.Count(tail, []byte{'\n'}) <= n {
		size := min(end, int64(max(chunkSize, len(tail)))) // doubles, so that copying stays linear
		block := make([]byte, size, int(size)+len(tail))
		got, err := file.ReadAt(block, end-size)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, 0, err
		}
		if got < len(block) { // truncated meanwhile
			tail = nil
			block = block[:got]
		}
		tail = append(block, tail...)
		end -= size
	}
	return tail, st.Size(), nil
}

// tailGzip reads it all and keeps the last tailMax.
func tailGzip(path string, n int) ([]string, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	z, err := gzip.NewReader(file)
	if err != nil {
		return nil, err
	}
	var tail []byte
	block := make([]byte, chunkSize)
	for {
		got, err := z.Read(block)
		tail = append(tail, block[:got]...)
		if len(tail) > 2*tailMax {
			tail = slices.Clone(tail[len(tail)-tailMax:])
		}
		if err == io.EOF {
			return lastLines(tail, n), nil
		}
		if err != nil {
			return nil, err
		}
	}
}

func lastLines(tail []byte, n int) []string {
	if len(tail) == 0 {
		return nil
	}
	all := bytes.Split(bytes.TrimSuffix(tail, []byte{'\n'}), []byte{'\n'})
	all = all[max(len(all)-n, 0):]
	lines := make([]string, len(all))
	for i, line := range all {
		lines[i] = string(line[:min(len(line), LineMax)])
	}
	return lines
}
