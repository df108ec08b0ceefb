package daemon

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

// trimAfter is how long the daemon has been left alone when it gives memory back.
const trimAfter = time.Second

// trimmer makes an idle daemon small: some time after the last request or spawn it
// returns the heap's free pages and drops the pages of its own program file, which
// the kernel brings back when they are needed (0.4 ms for the first request). There
// is no ticker: a daemon that nobody asks does not wake up.
type trimmer struct{ timer *time.Timer }

func newTrimmer() *trimmer { return &trimmer{time.AfterFunc(trimAfter, trim)} }

// touched puts the trim off.
func (t *trimmer) touched() { t.timer.Reset(trimAfter) }

func (t *trimmer) end() { t.timer.Stop() }

func trim() {
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
