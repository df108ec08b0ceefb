package handover

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode"

	"golang.org/x/sys/unix"
)

// maxWords is how many bytes of a new process's output are kept for the error, and
// maxLines how many lines are told.
const (
	maxWords = 8 << 10
	maxLines = 20
)

// words collects what a new process writes before it is ready.
type words struct {
	r    *os.File
	to   io.Writer
	done chan struct{} // closed when the reading has ended
	tail []byte        // the reader's until done is closed
}

// listen opens the pipe. The write end is the caller's; it blocks, like any
// program's stdout.
func listen(to io.Writer) (*words, *os.File, error) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return nil, nil, fmt.Errorf("cannot open a pipe: %w", err)
	}
	unix.SetNonblock(p[0], true) // before os.NewFile, so that a deadline ends a read
	s := &words{r: os.NewFile(uintptr(p[0]), "words"), to: to, done: make(chan struct{})}
	go s.hear() // ends at EOF or by the deadline of end
	return s, os.NewFile(uintptr(p[1]), "words"), nil
}

func (s *words) hear() {
	defer close(s.done)
	buf := make([]byte, 4<<10)
	for {
		n, err := s.r.Read(buf)
		s.add(buf[:n])
		if err != nil {
			return
		}
	}
}

func (s *words) add(p []byte) {
	if len(p) == 0 {
		return
	}
	s.to.Write(p)
	s.tail = append(s.tail, p...)
	s.tail = s.tail[max(0, len(s.tail)-maxWords):]
}

// end closes the pipe when all is read that is in it, whoever still has it open
// for writing, and returns the last lines.
func (s *words) end() []string {
	s.r.SetReadDeadline(time.Unix(1, 0))
	<-s.done
	// A passed deadline keeps Read from looking at all.
	if raw, err := s.r.SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) {
			buf := make([]byte, 4<<10)
			for range 64 { // as many as a pipe holds by default
				n, err := unix.Read(int(fd), buf)
				if n <= 0 && err != unix.EINTR {
					return
				}
				s.add(buf[:max(n, 0)])
			}
		})
	}
	s.r.Close()
	return lastLines(string(s.tail))
}

// lastLines are the last lines of text that say something, fit for a terminal.
func lastLines(text string) []string {
	var lines []string
	for line := range strings.Lines(text) {
		line = strings.Map(func(r rune) rune {
			if r == '\t' {
				return ' '
			}
			if !unicode.IsPrint(r) {
				return -1
			}
			return r
		}, line)
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	return lines[max(0, len(lines)-maxLines):]
}
