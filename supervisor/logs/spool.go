package logs

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"supervisor/supervisor/fault"
)

// A spool is where the bytes of a formatted stream are between the pipe and the file: an anonymous file (memfd), whose
// first page is a header and whose other bytes are what the worker wrote. Bytes are only ever appended, by us or by
// whoever holds the descriptors while no daemon runs: its size is the end of them. What is written to the file is
// given back by punching holes, not by truncation, so that no offset ever changes its meaning.
const (
	spoolData  = 4096               // where the bytes begin
	spoolMagic = 0x316c6f6f70736773 // "sgspool1"
	spoolFree  = 256 << 10          // written bytes that may wait to be given back
)

// header is the first page, mapped. A record is written to the slot that does not count and then chosen: a SIGKILL
// leaves the one or the other.
type header struct {
	magic  uint64
	chosen atomic.Uint32
	_      uint32
	slots  [2]record
}

// record is what a spool knows. Offsets are in bytes: done and raw in the spool, at and end in the log file.
type record struct {
	done int64 // the bytes before it are in the log file
	raw  int64 // the intent: so many bytes after done are being written; 0: none is open

	stamp    int64  // the time of the intent's lines, in ns since 1970
	dev, ino uint64 // the log file of the intent, then of what was written last; 0: no regular file
	at       int64  // where the intent's bytes go
	skip     int64  // of the formatted bytes, so many are written already, elsewhere
	flags    uint64

	end int64 // where the last write ended
}

// The flags of a record.
const (
	lineOpen  = 1 << iota // done is in the middle of a line whose beginning is written
	breakLine             // the intent's bytes begin with a newline, since another line is open at the file's end
)

// spool is an open one. It belongs to the goroutine of its file.
type spool struct {
	fd      int
	page    []byte
	head    *header
	size    int64 // where the next byte of the pipe goes
	freed   int64 // the bytes before it are given back
	settled bool  // the fields are what the header and the size say, and an intent of an earlier process is done
}

// newSpool creates an empty spool.
func newSpool() (*spool, error) {
	fd, err := unix.MemfdCreate("supervisor-log", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, fmt.Errorf("cannot create a spool: %w", os.NewSyscallError("memfd_create", err))
	}
	err = unix.Ftruncate(fd, spoolData)
	if err == nil { // the header stays, whoever else has the descriptor
		_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK)
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("cannot create a spool: %w", err)
	}
	sp, err := mapSpool(fd)
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	sp.head.slots[0].done = spoolData
	sp.head.magic = spoolMagic
	sp.settled = true
	sp.size, sp.freed = spoolData, spoolData
	return sp, nil
}

// adoptSpool takes over the spool of an earlier process, and reads nothing but its magic: that process may still be
// at work. The descriptor stays the caller's if it fails.
func adoptSpool(fd int) (*spool, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, fmt.Errorf("cannot adopt a spool: %w", err)
	}
	if st.Size < spoolData {
		return nil, errors.New("cannot adopt a spool: it has no header")
	}
	sp, err := mapSpool(fd)
	if err != nil {
		return nil, err
	}
	if sp.head.magic != spoolMagic {
		_ = unix.Munmap(sp.page)
		return nil, errors.New("cannot adopt a spool: its header is another's")
	}
	return sp, nil
}

func mapSpool(fd int) (*spool, error) {
	page, err := unix.Mmap(fd, 0, spoolData, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("cannot map a spool: %w", os.NewSyscallError("mmap", err))
	}
	return &spool{fd: fd, page: page, head: (*header)(unsafe.Pointer(&page[0]))}, nil
}

// load reads the size, which grew if somebody emptied the pipe while there was no daemon.
func (sp *spool) load() error {
	var st unix.Stat_t
	if err := unix.Fstat(sp.fd, &st); err != nil {
		return fmt.Errorf("cannot stat a spool: %w", err)
	}
	r := sp.record()
	sp.size, sp.freed = st.Size, spoolData
	if r.done < spoolData || r.done > sp.size || r.raw < 0 || r.raw > min(chunkSize, sp.size-r.done) || r.skip < 0 || r.at < 0 {
		return errors.New("cannot read a spool: its header is damaged")
	}
	return nil
}

// record is what counts now.
func (sp *spool) record() record { return sp.head.slots[sp.head.chosen.Load()&1] }

// put makes r what counts. The atomic store keeps the compiler and the processor from doing it before r is there.
func (sp *spool) put(r record) {
	next := sp.head.chosen.Load()&1 ^ 1
	sp.head.slots[next] = r
	sp.head.chosen.Store(next)
}

// pending is how many bytes wait for the file.
func (sp *spool) pending() int { return int(sp.size - sp.record().done) }

// fill moves up to chunkSize bytes from the pipe, unless that much waits already.
func (sp *spool) fill(pipe int) (int, outcome, error) {
	room := chunkSize - sp.pending()
	if room <= 0 {
		return 0, stepMore, nil
	}
	for {
		at := sp.size
		n, err := unix.Splice(pipe, nil, sp.fd, &at, room, unix.SPLICE_F_MOVE|unix.SPLICE_F_NONBLOCK)
		switch {
		case err == unix.EINTR:
		case err == unix.EAGAIN:
			return 0, stepEmpty, nil
		case err != nil:
			return 0, stepStuck, fmt.Errorf("cannot spool: %w", os.NewSyscallError("splice", err))
		case n == 0:
			return 0, stepEOF, nil
		default:
			fault.Point("spool.moved")
			sp.size += int64(n)
			return int(n), stepMore, nil
		}
	}
}

// read fills buf with the bytes that wait, as far as there are any.
func (sp *spool) read(buf []byte) ([]byte, error) {
	buf = buf[:min(len(buf), sp.pending())]
	at := sp.record().done
	for got := 0; got < len(buf); {
		n, err := unix.Pread(sp.fd, buf[got:], at+int64(got))
		if err == unix.EINTR {
			continue
		}
		if err != nil || n == 0 {
			return nil, fmt.Errorf("cannot read a spool at %d: %w", at+int64(got), err)
		}
		got += n
	}
	return buf, nil
}

// free gives the memory of written bytes back, when it is enough or all is written. Only whole pages are.
func (sp *spool) free(all bool) {
	done := sp.record().done &^ int64(os.Getpagesize()-1)
	if n := done - sp.freed; n > spoolFree || all && n > 0 {
		// It can fail for want of memory only; then it is done with the next.
		if unix.Fallocate(sp.fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, sp.freed, n) == nil {
			sp.freed = done
		}
	}
}

func (sp *spool) unmap() {
	_ = unix.Munmap(sp.page)
	sp.page, sp.head = nil, nil
}

func (sp *spool) close() {
	sp.unmap()
	unix.Close(sp.fd)
}
