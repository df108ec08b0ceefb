// Package lines is a worker's numbered lines, and the check that the logs of a
// supervisor have each of them exactly once.
//
// A worker prints "#ID 0 .", "#ID 1 x.", ... as fast as its pipe takes them; ID names
// the worker, the filling differs from line to line, so that a cut shows wherever it
// is. How many lines it has printed is in a file of its own too, in memory that
// outlives a SIGKILL, so that the check knows the number of lines of a worker that
// could say no last word.
package lines

import (
	"bytes"
	"strconv"
)

// width is the most that fills a line, in bytes.
const width = 61

var filling = bytes.Repeat([]byte("x"), width)

// Append appends the line of a worker with a number, and its newline.
func Append(b []byte, id string, n uint64) []byte {
	b = head(b, id, n)
	b = append(b, filling[:n%width]...)
	return append(b, ".\n"...)
}

// AppendLast appends the last line of a worker.
func AppendLast(b []byte, id string, n uint64) []byte {
	return append(head(b, id, n), "end.\n"...)
}

func head(b []byte, id string, n uint64) []byte {
	b = append(b, '#')
	b = append(b, id...)
	b = append(b, ' ')
	b = strconv.AppendUint(b, n, 10)
	return append(b, ' ')
}

// parse takes a line without its newline apart; ok is false for a line that no worker
// has printed like this.
func parse(line []byte) (id []byte, n uint64, last, ok bool) {
	rest, ok := bytes.CutPrefix(line, []byte("#"))
	if !ok {
		return nil, 0, false, false
	}
	id, rest, _ = bytes.Cut(rest, []byte(" "))
	number, rest, found := bytes.Cut(rest, []byte(" "))
	if !found || len(number) == 0 || len(number) > 18 {
		return nil, 0, false, false
	}
	for _, c := range number {
		if c < '0' || c > '9' {
			return nil, 0, false, false
		}
		n = n*10 + uint64(c-'0')
	}
	if string(rest) == "end." {
		return id, n, true, true
	}
	text, whole := bytes.CutSuffix(rest, []byte("."))
	return id, n, false, whole && bytes.Equal(text, filling[:n%width])
}
