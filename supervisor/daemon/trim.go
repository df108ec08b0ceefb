package daemon

import (
	"bufio"
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
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		return
	}
	defer maps.Close()
	var clean [][2]uintptr
	for sc := bufio.NewScanner(maps); sc.Scan(); {
		if from, to, ok := cleanMapping(sc.Text()); ok {
			clean = append(clean, [2]uintptr{from, to})
		}
	}
	for _, m := range clean {
		unix.Syscall(unix.SYS_MADVISE, m[0], m[1]-m[0], unix.MADV_DONTNEED)
	}
}

// cleanMapping parses a line of /proc/PID/maps (proc_pid_maps(5)); ok only for a
// private, read-only mapping of a file: its pages are the file's.
func cleanMapping(line string) (from, to uintptr, ok bool) {
	fields := strings.Fields(line)
	if len(fields) < 6 || fields[4] == "0" || !strings.HasPrefix(fields[5], "/") {
		return 0, 0, false
	}
	if perms := fields[1]; perms != "r--p" && perms != "r-xp" {
		return 0, 0, false
	}
	begin, end, found := strings.Cut(fields[0], "-")
	a, err1 := strconv.ParseUint(begin, 16, 8*int(unsafe.Sizeof(from)))
	b, err2 := strconv.ParseUint(end, 16, 8*int(unsafe.Sizeof(to)))
	return uintptr(a), uintptr(b), found && err1 == nil && err2 == nil && a < b
}
