// Package history keeps the receipts of an app's reloads: one JSON value per
// line in DIR/APP.jsonl, the last 100.
//
// Invariants:
//   - a receipt is appended by one write, and a file is shortened by temp and
//     rename: a reader or a crash at any instant finds every older receipt;
//   - a torn line (a crash, a full disk) costs itself alone: it is skipped by
//     the reader, and the next receipt begins on a line of its own;
//   - an app's name can't name a file outside DIR, whatever it holds;
//   - files are 0600: receipts quote a worker's last log lines.
//
// There is one writer, the daemon; readers may come at any time.
package history

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

const (
	// Kept is the number of receipts that are kept of an app.
	Kept = 100
	// slack is how many more a file may hold before it is shortened, so that
	// not every receipt rewrites the file.
	slack = 20
	// MaxReceipt is the size in bytes of the largest receipt. A longer line
	// in the file is none of ours and skipped.
	MaxReceipt = 4 << 20
	// maxName is how long an escaped name may be, below NAME_MAX with room
	// for the suffixes.
	maxName = 200

	suffix     = ".jsonl"
	tempSuffix = ".tmp"
	fileMode   = 0o600
	dirMode    = 0o700
)

// Dir is the folder of the receipts, HOME/history. It is made when the first
// receipt is written.
type Dir string

// Append writes v as the newest receipt of app. An error says which of the two
// acts failed, to keep the receipt (a full disk, a value that is no JSON) or to
// shorten the file afterwards; the older receipts are intact.
func (d Dir) Append(app string, v any) error {
	line, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("cannot keep the receipt of %s: %w", app, err)
	}
	if len(line) > MaxReceipt {
		return fmt.Errorf("cannot keep the receipt of %s: it has %d bytes, more than %d", app, len(line), MaxReceipt)
	}
	path, err := d.path(app)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(string(d), dirMode); err != nil {
		return fmt.Errorf("cannot keep the receipt of %s: %w", app, err)
	}
	if err := appendLine(path, line); err != nil {
		return fmt.Errorf("cannot keep the receipt of %s: %w", app, err)
	}
	if err := shorten(path); err != nil {
		return fmt.Errorf("cannot shorten the history of %s: %w", app, err)
	}
	return nil
}

// Read returns the last n receipts of app, oldest first; n < 1 means all that
// are kept. An app without history has none, and no error.
func (d Dir) Read(app string, n int) ([]json.RawMessage, error) {
	path, err := d.path(app)
	if err != nil {
		return nil, err
	}
	if n < 1 || n > Kept {
		n = Kept
	}
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the history of %s: %w", app, err)
	}
	defer file.Close()
	last, _, err := tail(file, n)
	if err != nil {
		return nil, fmt.Errorf("cannot read the history of %s: %w", app, err)
	}
	return last, nil
}

// path names the file of app. Letters, digits, '-', '_' and '.' stand for
// themselves, except a leading '.'; every other byte becomes %XX, so two apps
// never share a file.
func (d Dir) path(app string) (string, error) {
	if app == "" {
		return "", errors.New("cannot name a history: the app has no name")
	}
	var b strings.Builder
	for i := range len(app) {
		c := app[i]
		plain := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' ||
			c == '-' || c == '_' || c == '.' && i > 0
		if plain {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	if b.Len() > maxName {
		return "", fmt.Errorf("cannot name a history: the app's name %.40q... is too long", app)
	}
	return filepath.Join(string(d), b.String()+suffix), nil
}

// appendLine adds a line with one write. What a failed write left behind is
// taken back where the disk lets us; else the next call ends it.
func appendLine(path string, line []byte) error {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, fileMode)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	size := info.Size()
	out := make([]byte, 0, len(line)+2)
	if size > 0 {
		var end [1]byte
		if _, err := file.ReadAt(end[:], size-1); err != nil {
			return err
		}
		if end[0] != '\n' {
			out = append(out, '\n') // the torn line stays one of its own
		}
	}
	out = append(append(out, line...), '\n')
	if _, err := file.Write(out); err != nil {
		if terr := file.Truncate(size); terr != nil {
			return errors.Join(err, terr)
		}
		return err
	}
	return nil
}

// shorten rewrites a file that has grown past Kept and slack.
func shorten(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	last, lines, err := tail(file, Kept)
	if err != nil || lines <= Kept+slack {
		return err
	}
	temp := path + tempSuffix
	if err := writeAll(temp, last); err != nil {
		os.Remove(temp)
		return err
	}
	return os.Rename(temp, path)
}

// writeAll writes the lines to a file of their own.
func writeAll(path string, lines []json.RawMessage) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, fileMode)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(file)
	for _, line := range lines {
		w.Write(line)
		w.WriteByte('\n')
	}
	if err := w.Flush(); err != nil {
		file.Close()
		return err
	}
	return file.Close()
}

// tail returns the last n JSON lines of r and how many lines it has in all,
// those without JSON or without an end included.
func tail(r io.Reader, n int) (last []json.RawMessage, lines int, err error) {
	br := bufio.NewReader(r)
	for {
		line, size, err := readLine(br)
		if size > 0 {
			lines++
		}
		if err == io.EOF {
			return last, lines, nil // what is left has no end: torn
		}
		if err != nil {
			return nil, 0, err
		}
		if len(line) == 0 || !json.Valid(line) {
			continue
		}
		if len(last) == n {
			last = append(last[:0], last[1:]...)
		}
		last = append(last, json.RawMessage(line))
	}
}

// readLine returns a line without its end, nil when it is longer than
// MaxReceipt, and the size that it had. io.EOF: size bytes without an end.
func readLine(br *bufio.Reader) (line []byte, size int, err error) {
	for {
		part, err := br.ReadSlice('\n')
		size += len(part)
		if size <= MaxReceipt+1 {
			line = append(line, part...)
		} else {
			line = nil
		}
		if err == bufio.ErrBufferFull {
			continue
		}
		return bytes.TrimSuffix(line, []byte("\n")), size, err
	}
}
