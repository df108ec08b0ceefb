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
)

// tailMax bounds the bytes that Tail looks at in a file.
const tailMax = 8 << 20

// Tail returns the last n lines of the file at path, as written and each at most LineMax long, going on in its
// newest rotated file if path has fewer. It reads backwards and at most tailMax of each file. A last line
// without newline counts.
func Tail(path string, n int) ([]string, error) {
	path = canonical(path)
	if path == "" || n <= 0 {
		return nil, nil
	}
	lines, err := tailFile(path, n)
	if err != nil {
		return nil, fmt.Errorf("cannot read log file: %w", err)
	}
	if len(lines) == n {
		return lines, nil
	}
	old := rotatedFiles(path)
	if len(old) == 0 {
		return lines, nil
	}
	newest := old[len(old)-1]
	read := tailFile
	if strings.HasSuffix(newest, gzSuffix) {
		read = tailGzip
	}
	before, err := read(newest, n-len(lines))
	if err != nil { // removed or compressed this moment: what there is, is true
		return lines, nil
	}
	return append(before, lines...), nil
}

// tailFile reads blocks from the end until it has n lines.
func tailFile(path string, n int) ([]string, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	st, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, nil
	}
	var tail []byte
	end := st.Size()
	for end > 0 && len(tail) < tailMax && bytes.Count(tail, []byte{'\n'}) <= n {
		size := min(end, int64(max(chunkSize, len(tail)))) // doubles, so that copying stays linear
		block := make([]byte, size, int(size)+len(tail))
		got, err := file.ReadAt(block, end-size)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		if got < len(block) { // truncated meanwhile
			tail = nil
			block = block[:got]
		}
		tail = append(block, tail...)
		end -= size
	}
	return lastLines(tail, n), nil
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
