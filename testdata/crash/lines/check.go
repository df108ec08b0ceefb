package lines

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const (
	// maxFaults is how many faults are described; all are counted.
	maxFaults = 30
	// maxLine is the longest line of a log in bytes.
	maxLine = 1 << 20
)

// Check counts the lines of workers. The zero Check expects each worker from its
// first line on.
type Check struct {
	// Joins expects a worker from any of its lines on, as one who follows a log does.
	Joins bool
	// Other says that a text which is no numbered line is one that workers print too.
	Other func(text []byte) bool

	Lines   uint64 // that were right
	Lost    uint64 // that others of the worker came after
	Doubled uint64 // again, or too late
	Foreign uint64 // that nobody has printed like that: cut, mixed

	workers map[string]*worker
	faults  []string
}

// worker is what came of one so far.
type worker struct {
	log  string
	next uint64
	last bool
}

// Log reads a log: its rotated files in their order, the current one last. It is an
// error if there is none.
func (c *Check) Log(path string, format Format) error {
	files, err := filepath.Glob(path + ".*")
	if err != nil {
		return err
	}
	slices.Sort(files)                                        // a rotated file bears its time
	files = slices.DeleteFunc(files, func(name string) bool { // what a death has left of a compression
		return strings.HasSuffix(name, ".gz.tmp") || slices.Contains(files, name+".gz")
	})
	for _, file := range append(files, path) {
		f, err := os.Open(file)
		if err != nil {
			return err
		}
		if strings.HasSuffix(file, ".gz") {
			var z *gzip.Reader
			if z, err = gzip.NewReader(f); err == nil {
				err = c.read(path, file, z, format)
			}
		} else {
			err = c.read(path, file, f, format)
		}
		f.Close()
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
	return nil
}

func (c *Check) read(log, file string, text io.Reader, format Format) error {
	in := bufio.NewReaderSize(text, maxLine)
	for number := 1; ; number++ {
		line, err := in.ReadSlice('\n')
		if len(line) > 0 {
			text, whole := bytes.CutSuffix(line, []byte("\n"))
			place := func() string { return fmt.Sprintf("%s:%d", filepath.Base(file), number) }
			if !whole {
				c.foreign(place, text, "it has no end")
			} else if inner, err := format(text); err != nil {
				c.foreign(place, text, err.Error())
			} else {
				c.Line(log, place, inner)
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// Line takes the next line of a log, without its newline; place says where it is.
func (c *Check) Line(log string, place func() string, text []byte) {
	id, n, last, ok := parse(text)
	if !ok {
		if c.Other == nil || !c.Other(text) {
			c.foreign(place, text, "")
		}
		return
	}
	w := c.workers[string(id)]
	if w == nil {
		w = &worker{log: log}
		if c.Joins {
			w.next = n
		}
		if c.workers == nil {
			c.workers = make(map[string]*worker)
		}
		c.workers[string(id)] = w
	}
	switch {
	case w.log != log:
		c.fault("%s: %s is in %s too", place(), id, w.log)
	case w.last:
		c.fault("%s: %s came after the last line of %s", place(), text, id)
	}
	if n < w.next {
		c.Doubled++
		c.fault("%s: line %d of %s again, or too late: %d was next", place(), n, id, w.next)
		return
	}
	if n > w.next {
		c.Lost += n - w.next
		c.fault("%s: line %d of %s, %d was next", place(), n, id, w.next)
	}
	c.Lines++
	w.next, w.last = n+1, last
}

func (c *Check) foreign(place func() string, text []byte, why string) {
	c.Foreign++
	c.fault("%s: nobody has printed %.120q %s", place(), text, why)
}

// Counted compares what came with what the workers say that they have printed. One
// that was killed may have printed a line more than it had time to count.
func (c *Check) Counted(folder string) error {
	files, err := os.ReadDir(folder)
	if err != nil {
		return err
	}
	for _, f := range files {
		data, err := os.ReadFile(filepath.Join(folder, f.Name()))
		if err != nil {
			return err
		}
		var printed, came uint64
		if len(data) >= 8 { // else it was killed before its first line
			printed = binary.NativeEndian.Uint64(data)
		}
		w := c.workers[f.Name()]
		if w != nil {
			came = w.next
		}
		if came < printed {
			c.Lost += printed - came
			c.fault("%s printed %d lines, %d came", f.Name(), printed, came)
		}
		if came > printed+1 || (came > printed && w.last) {
			c.fault("%s printed %d lines, %d came", f.Name(), printed, came)
		}
	}
	return nil
}

func (c *Check) fault(format string, args ...any) {
	if len(c.faults) < maxFaults {
		c.faults = append(c.faults, fmt.Sprintf(format, args...))
	}
}

// Workers is how many have a line.
func (c *Check) Workers() int { return len(c.workers) }

// Faults describes the first of what is wrong; none if all is right.
func (c *Check) Faults() []string { return c.faults }

func (c *Check) String() string {
	return fmt.Sprintf("%d lines of %d workers, %d lost, %d doubled, %d foreign", c.Lines, len(c.workers), c.Lost, c.Doubled, c.Foreign)
}
