package lines

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What a worker reads from its environment.
const (
	// Rate is how it prints: "max", or "N/DURATION" for bursts of N lines at full
	// speed with a pause behind each. Without it there are no lines.
	Rate = "LINES"
	// Counts is the folder for the files that say how many lines a worker printed.
	Counts = "LINES_COUNTS"
)

// burst is how many lines a worker at full speed prints between two looks at End.
const burst = 1000

// Printer prints numbered lines on standard output until End.
type Printer struct {
	id    string
	n     uint64  // of the next line
	line  []byte  // the last one
	count *uint64 // in the file: n
	burst int
	pause time.Duration
	stop  chan struct{}
	done  chan struct{}
}

// Start starts the printer that the environment asks for; nil if it asks for none.
func Start() (*Printer, error) {
	rate := os.Getenv(Rate)
	if rate == "" {
		return nil, nil
	}
	p := &Printer{burst: burst, stop: make(chan struct{}), done: make(chan struct{})}
	if rate != "max" {
		number, pause, _ := strings.Cut(rate, "/")
		var err error
		if p.burst, err = strconv.Atoi(number); err == nil {
			p.pause, err = time.ParseDuration(pause)
		}
		if err != nil {
			return nil, fmt.Errorf("%s is %q: %w", Rate, rate, err)
		}
	}
	p.id = fmt.Sprintf("%s.%s.%s.%d", os.Getenv("SUPERVISOR_APP"), os.Getenv("NODE_APP_INSTANCE"), os.Getenv("SUPERVISOR_WORKER"), os.Getpid())
	if err := p.share(os.Getenv(Counts)); err != nil {
		return nil, err
	}
	go p.run() // ended by End
	return p, nil
}

// share puts the count into the file of that worker.
func (p *Printer) share(folder string) error {
	f, err := os.Create(filepath.Join(folder, p.id))
	if err != nil {
		return err
	}
	defer f.Close()
	if err := binary.Write(f, binary.NativeEndian, uint64(0)); err != nil {
		return err
	}
	shared, err := unix.Mmap(int(f.Fd()), 0, 8, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("cannot map %s: %w", f.Name(), err)
	}
	p.count = (*uint64)(unsafe.Pointer(&shared[0]))
	return nil
}

// End prints the last line and returns when it is in the pipe.
func (p *Printer) End() {
	if p == nil {
		return
	}
	close(p.stop)
	<-p.done
}

func (p *Printer) run() {
	defer close(p.done)
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-p.stop:
			p.put(AppendLast)
			return
		case <-pause.C:
		}
		for range p.burst {
			p.put(Append)
		}
		pause.Reset(p.pause)
	}
}

// put prints the next line, by one write(2) as long as a signal does not cut it, and
// counts it.
func (p *Printer) put(line func([]byte, string, uint64) []byte) {
	p.line = line(p.line[:0], p.id, p.n)
	for rest := p.line; len(rest) > 0; {
		n, err := unix.Write(1, rest)
		if err != nil && err != unix.EINTR {
			fmt.Fprintf(os.Stderr, "cannot print line %d: %v\n", p.n, err)
			os.Exit(3)
		}
		rest = rest[max(n, 0):]
	}
	p.n++
	atomic.StoreUint64(p.count, p.n)
}
