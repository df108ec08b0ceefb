package usage

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// stateZombie is the state letter of an ended process that nobody has waited
// for yet (proc_pid_stat(5)).
const stateZombie = 'Z'

// maxStat bounds /proc/PID/stat: a name of at most 64 bytes and 51 numbers.
const maxStat = 2048

// process is one line of /proc/PID/stat, as far as a look needs it.
type process struct {
	pid, parent, group int
	state              byte
	ownTicks           uint64 // utime + stime
	childTicks         uint64 // of children that were waited for
	startTicks         uint64 // since boot
	rssPages           int64
}

// processTable is one pass over /proc. It is not an instant: processes come
// and go while it is read.
type processTable struct {
	byPID    map[int]*process
	children map[int][]*process // by parent
	groups   map[int][]*process // by process group
}

// tree returns the processes of a worker: pid, all below it, the members of
// the group that pid leads (an orphan's parent link is lost, its group is
// not), and all below those. Each comes once.
func (t processTable) tree(pid int) []*process {
	seen := make(map[int]bool)
	var out []*process
	add := func(ps ...*process) {
		for _, p := range ps {
			if !seen[p.pid] {
				seen[p.pid] = true
				out = append(out, p)
			}
		}
	}
	if p, ok := t.byPID[pid]; ok {
		add(p)
	}
	add(t.groups[pid]...)
	for i := 0; i < len(out); i++ {
		add(t.children[out[i].pid]...)
	}
	return out
}

// readProcesses reads /proc/PID/stat of every process. One that ends
// meanwhile is left out.
func readProcesses() (processTable, error) {
	t := processTable{
		byPID:    make(map[int]*process),
		children: make(map[int][]*process),
		groups:   make(map[int][]*process),
	}
	dir, err := os.Open("/proc")
	if err != nil {
		return t, fmt.Errorf("cannot list processes: %w", err)
	}
	defer dir.Close()
	buf := make([]byte, maxStat)
	for {
		names, err := dir.Readdirnames(512)
		for _, name := range names {
			pid, perr := strconv.Atoi(name)
			if perr != nil {
				continue
			}
			n, rerr := readStat(pid, buf)
			if rerr != nil {
				return t, fmt.Errorf("cannot read /proc/%d/stat: %w", pid, rerr)
			}
			p, perr := parseStat(buf[:n])
			if perr != nil {
				continue // ended: nothing was read
			}
			t.byPID[p.pid] = &p
			t.children[p.parent] = append(t.children[p.parent], &p)
			t.groups[p.group] = append(t.groups[p.group], &p)
		}
		if err == io.EOF {
			return t, nil
		}
		if err != nil {
			return t, fmt.Errorf("cannot list processes: %w", err)
		}
	}
}

// readStat reads one stat file in one call. A process that is gone, or hidden
// from us (hidepid), reads as nothing; an error is one of our own, such as
// EMFILE, which would make every process look gone.
func readStat(pid int, buf []byte) (int, error) {
	fd, err := openRetry("/proc/" + strconv.Itoa(pid) + "/stat")
	switch err {
	case nil:
	case unix.ENOENT, unix.ESRCH, unix.EACCES, unix.EPERM:
		return 0, nil
	default:
		return 0, err
	}
	defer unix.Close(fd)
	for {
		n, err := unix.Read(fd, buf)
		switch err {
		case nil:
			return n, nil
		case unix.EINTR:
		case unix.ESRCH:
			return 0, nil
		default:
			return 0, err
		}
	}
}

// openRetry opens a file of /proc for reading.
func openRetry(path string) (int, error) {
	for {
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != unix.EINTR {
			return fd, err
		}
	}
}

// parseStat reads one line of /proc/PID/stat (proc_pid_stat(5)). The name is
// chosen by the process and may hold spaces, parentheses and newlines, so it
// ends at the last parenthesis.
func parseStat(line []byte) (process, error) {
	var p process
	open, end := bytes.IndexByte(line, '('), bytes.LastIndexByte(line, ')')
	if open < 1 || end < open {
		return p, fmt.Errorf("no name in %q", line)
	}
	pid, err := strconv.Atoi(string(bytes.TrimSpace(line[:open])))
	if err != nil {
		return p, fmt.Errorf("no pid in %q", line)
	}
	p.pid = pid
	// The manual counts from 1, with pid and name as the first two.
	const first, needed = 3, 24
	fields := bytes.Fields(line[end+1:])
	if len(fields) < needed-first+1 || len(fields[0]) != 1 {
		return p, fmt.Errorf("%d fields in %q", len(fields), line)
	}
	var bad error
	number := func(field int) int64 {
		n, err := strconv.ParseInt(string(fields[field-first]), 10, 64)
		if err != nil && bad == nil {
			bad = fmt.Errorf("field %d: %w", field, err)
		}
		return n
	}
	p.state = fields[0][0]
	p.parent, p.group = int(number(4)), int(number(5))
	p.ownTicks = uint64(number(14)) + uint64(number(15))
	p.childTicks = uint64(max(number(16), 0)) + uint64(max(number(17), 0))
	p.startTicks = uint64(number(22))
	p.rssPages = max(number(24), 0)
	return p, bad
}
