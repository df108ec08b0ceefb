package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// fifo is where workers tell what they do, at the time they do it: nobody has to look
// for it, which would take the processor from what is measured.
type fifo struct {
	path  string
	words chan word
}

// word is one line of a worker.
type word struct {
	what string
	pid  int
	at   time.Duration // CLOCK_MONOTONIC
}

// said is how many lines nobody has to wait for.
const said = 1 << 16

// fifo makes the stage's, which is read until that is closed: it is open for writing
// here as well, so it has no end, and no worker waits for a reader.
func (s *stage) fifo() (*fifo, error) {
	f := &fifo{filepath.Join(s.dir, "fifo"), make(chan word, said)}
	if err := unix.Mkfifo(f.path, 0o600); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(f.path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	s.done = append(s.done, func() { file.Close() })
	go func() { // ended by the stage, which closes the file
		for text := bufio.NewScanner(file); text.Scan(); {
			fields := strings.Fields(text.Text())
			if len(fields) != 3 {
				continue
			}
			pid, err1 := strconv.Atoi(fields[1])
			at, err2 := strconv.ParseInt(fields[2], 10, 64)
			if err1 == nil && err2 == nil {
				f.words <- word{fields[0], pid, time.Duration(at)}
			}
		}
	}()
	return f, nil
}

// env tells a worker of it.
func (f *fifo) env() string { return "BENCH_FIFO=" + f.path }

// wait is the next line that says this.
func (f *fifo) wait(ctx context.Context, what string) (word, error) {
	for {
		select {
		case w := <-f.words:
			if w.what == what {
				return w, nil
			}
		case <-ctx.Done():
			return word{}, fmt.Errorf("no worker says %q: %w", what, ctx.Err())
		}
	}
}
