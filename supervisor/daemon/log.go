package daemon

import (
	"bytes"
	"fmt"
	"io"
	"sync/atomic"
	"time"
)

const (
	logQueue = 256         // lines of the daemon's own log that may wait to be written
	logWait  = time.Second // for the last of them, at the end
)

// logWriter writes the daemon's own log beside whoever logs: a terminal that is held,
// or a pipe that nobody reads, must stop no worker. Lines beyond logQueue are lost and
// counted.
type logWriter struct {
	to    io.Writer
	lines chan []byte
	lost  atomic.Int64
	quit  chan struct{}
	done  chan struct{}
}

func newLogWriter(to io.Writer) *logWriter {
	w := &logWriter{to: to, lines: make(chan []byte, logQueue), quit: make(chan struct{}), done: make(chan struct{})}
	go w.run() // ends with end
	return w
}

// Write takes one line.
func (w *logWriter) Write(line []byte) (int, error) {
	select {
	case w.lines <- bytes.Clone(line):
	default:
		w.lost.Add(1)
	}
	return len(line), nil
}

func (w *logWriter) run() {
	defer close(w.done)
	for {
		select {
		case line := <-w.lines:
			w.write(line)
			continue
		case <-w.quit:
		}
		for { // what was logged before the end
			select {
			case line := <-w.lines:
				w.write(line)
				continue
			default:
			}
			return
		}
	}
}

func (w *logWriter) write(line []byte) {
	if n := w.lost.Swap(0); n > 0 {
		fmt.Fprintf(w.to, "supervisor: %d lines of this log are lost: nobody took them\n", n)
	}
	w.to.Write(line)
}

// end returns when all is written, or nobody takes it.
func (w *logWriter) end() {
	close(w.quit)
	select {
	case <-w.done:
	case <-time.After(logWait):
	}
}
