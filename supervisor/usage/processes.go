package usage

import (
	"bytes"
	"fmt"
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

	nextChild, nextMember *process // of the same parent, of the same group
}

// processTable is one pass over /proc. It is not an instant: processes come
// and go while it is read.
type processTable struct {
	byPID    map[int]*process
	children map[int]*process // the first by its parent, then nextChild
	groups   map[int]*process // the first by its process group, then nextMember
}

func newProcessTable(size int) processTable {
	return processTable{
		byPID:    make(map[int]*process, size),
		children: make(map[int]*process, size),
		groups:   make(map[int]*process, size),
	}
}

func (t processTable) add(p *process) {
	if t.byPID[p.pid] != nil {
		return // /proc may list one twice while it changes
	}
	t.byPID[p.pid] = p
	p.nextChild, t.children[p.parent] = t.children[p.parent], p
	p.nextMember, t.groups[p.group] = t.groups[p.group], p
}

// tree returns the processes of a worker: pid, all below it, the members of
// the group that pid leads (an orphan's parent link is lost, its group is
// not), and all below those. Each comes once.
func (t processTable) tree(pid int) []*process {
	seen := make(map[int]bool)
	var out []*process
	add := func(p *process) {
		if !seen[p.pid] {
			seen[p.pid] = true
			out = append(out, p)
		}
	}
	if p, ok := t.byPID[pid]; ok {
		add(p)
	}
	for p := t.groups[pid]; p != nil; p = p.nextMember {
		add(p)
	}
	for i := 0; i < len(out); i++ {
		for p := t.children[out[i].pid]; p != nil; p = p.nextChild {
			add(p)
		}
	}
	return out
}

// readProcesses reads /proc/PID/stat of every process. One that ends
// meanwhile is left out.
func readProcesses() (processTable, error) {
	t := newProcessTable(0)
	dir, err := os.Open("/proc")
	if err != nil {
		return t, fmt.Errorf("cannot list processes: %w", err)
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return t, fmt.Errorf("cannot list processes: %w", err)
	}
	t = newProcessTable(len(names))
	all := make([]process, 0, len(names)) // never grows: the table points into it
	buf := make([]byte, maxStat)
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		n, err := readStat(pid, buf)
		if err != nil {
			return t, fmt.Errorf("cannot read /proc/%d/stat: %w", pid, err)
		}
		p, err := parseStat(buf[:n])
		if err != nil {
			continue // ended: nothing was read
		}
		all = append(all, p)
		t.add(&all[len(all)-1])
	}
	return t, nil
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
	pid, ok := parseNumber(bytes.TrimSpace(line[:open]))
	if !ok {
		return p, fmt.Errorf("no pid in %q", line)
	}
	p.pid = int(pid)
	// The manual counts from 1, with pid and name as the first two.
	const first, needed = 3, 24
	var fields [needed - first + 1][]byte
	if n := splitFields(line[end+1:], fields[:]); n < len(fields) || len(fields[0]) != 1 {
		return p, fmt.Errorf("%d fields in %q", n, line)
	}
	var bad error
	number := func(field int) int64 {
		n, ok := parseNumber(fields[field-first])
		if !ok && bad == nil {
			bad = fmt.Errorf("field %d of %q is no number", field, line)
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

// splitFields puts the first words of line into fields and says how many there
// are; bytes.Fields would allocate for all 51, in each of a thousand processes.
func splitFields(line []byte, fields [][]byte) int {
	n := 0
	for i := 0; i < len(line) && n < len(fields); {
		for i < len(line) && (line[i] == ' ' || line[i] == '\n') {
			i++
		}
		begin := i
		for i < len(line) && line[i] != ' ' && line[i] != '\n' {
			i++
		}
		if i > begin {
			fields[n] = line[begin:i]
			n++
		}
	}
	return n
}

// parseNumber reads a decimal number of at most 18 digits: no pid, time or size
// of a process has more.
func parseNumber(word []byte) (n int64, ok bool) {
	negative := len(word) > 0 && word[0] == '-'
	if negative {
		word = word[1:]
	}
	if len(word) == 0 || len(word) > 18 {
		return 0, false
	}
	for _, c := range word {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = 10*n + int64(c-'0')
	}
	if negative {
		n = -n
	}
	return n, true
}
