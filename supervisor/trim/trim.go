// Package trim makes an idle process small: it returns the heap's free pages, and drops
// the pages of the program's own file.
//
// Invariants:
//   - only pages are dropped that the kernel brings back from a file, unchanged;
//   - there is no ticker: a process that nobody asks does not wake up.
package trim

import (
	"bufio"
	"io"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// After is how long a process has been left alone when it gives memory back.
const After = time.Second

// Timer runs Now some time after the last touch.
type Timer struct{ timer *time.Timer }

// New returns a Timer that was just touched.
func New() *Timer { return &Timer{time.AfterFunc(After, Now)} }

// Touched puts the trim off, or asks for another. Any goroutine may call it.
func (t *Timer) Touched() { t.timer.Reset(After) }

// End stops the timer; a trim at work goes on.
func (t *Timer) End() { t.timer.Stop() }

// Now trims. What was dropped comes back when it is used: 0.4 ms for a daemon's first
// request.
func Now() {
	debug.FreeOSMemory()
	smaps, err := os.Open("/proc/self/smaps")
	if err != nil {
		return
	}
	defer smaps.Close()
	for _, m := range cleanMappings(smaps) {
		unix.Syscall(unix.SYS_MADVISE, m.from, m.to-m.from, unix.MADV_DONTNEED)
	}
}

// mapping is a range of our addresses.
type mapping struct{ from, to uintptr }

// cleanMappings finds in /proc/PID/smaps (proc_pid_smaps(5)) the private, read-only
// mappings of files of which no page is our own. One that the dynamic loader has
// relocated and then made read-only (RELRO) looks like any other but for its
// anonymous pages, which nothing brings back.
func cleanMappings(smaps io.Reader) (clean []mapping) {
	var m mapping
	file := false
	for sc := bufio.NewScanner(smaps); sc.Scan(); {
		fields := strings.Fields(sc.Text())
		if next, isFile, ok := mappingOf(fields); ok {
			m, file = next, isFile
		} else if file && len(fields) == 3 && fields[0] == "Anonymous:" && fields[1] == "0" {
			clean = append(clean, m)
		}
	}
	return clean
}

// mappingOf parses the first line of a mapping; ok is false for its other lines.
func mappingOf(fields []string) (m mapping, readOnlyFile, ok bool) {
	if len(fields) < 5 {
		return m, false, false
	}
	begin, end, found := strings.Cut(fields[0], "-")
	a, err1 := strconv.ParseUint(begin, 16, 8*int(unsafe.Sizeof(m.from)))
	b, err2 := strconv.ParseUint(end, 16, 8*int(unsafe.Sizeof(m.to)))
	if !found || err1 != nil || err2 != nil {
		return m, false, false
	}
	perms, inode := fields[1], fields[4]
	readOnlyFile = inode != "0" && len(fields) > 5 && strings.HasPrefix(fields[5], "/") && (perms == "r--p" || perms == "r-xp")
	return mapping{uintptr(a), uintptr(b)}, readOnlyFile && a < b, true
}
