package process

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// Process is one process's entry in /proc, as far as families go.
type Process struct {
	PID, PPID, PGID int
	// StartTime is in clock ticks since boot; with the pid it is an identity
	// within one boot.
	StartTime uint64
}

// StartTime gives a process's start time in clock ticks since boot (field 22
// of /proc/PID/stat, proc(5)). The error is fs.ErrNotExist or ESRCH if there
// is no such process.
func StartTime(pid int) (uint64, error) {
	p, err := readStat(pid)
	return p.StartTime, err
}

// readStat reads who a process is in /proc/PID/stat.
func readStat(pid int) (Process, error) {
	var buf [statSize]byte
	text, err := statText(pid, buf[:])
	if err != nil {
		return Process{}, err
	}
	return parseStat(text)
}

// statSize is more than /proc/PID/stat takes, in bytes.
const statSize = 1024

// statText reads /proc/PID/stat into buf.
func statText(pid int, buf []byte) ([]byte, error) {
	// One read gives the whole of it: comm is the only part without a bound
	// of its own, and the kernel cuts it.
	fd, err := unix.Open("/proc/"+strconv.Itoa(pid)+"/stat", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: "/proc/" + strconv.Itoa(pid) + "/stat", Err: err}
	}
	defer unix.Close(fd)
	for {
		n, err := unix.Read(fd, buf)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, err
		}
		return buf[:n], nil
	}
}

var errBadStat = errors.New("/proc/PID/stat is malformed")

// statFields gives the first field and those after the second: field 3 is
// fields[0]. The second, comm, is the program's to choose and may hold blanks
// and parentheses: the last ")" ends it.
func statFields(b []byte) (pid []byte, fields [][]byte) {
	open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if open < 1 || end < open {
		return nil, nil
	}
	return bytes.TrimSpace(b[:open]), bytes.Fields(b[end+1:])
}

// parseStat reads the fields 1, 4, 5 and 22.
func parseStat(b []byte) (Process, error) {
	pid, fields := statFields(b)
	if len(fields) < 20 {
		return Process{}, errBadStat
	}
	var p Process
	var err [4]error
	p.PID, err[0] = strconv.Atoi(string(pid))
	p.PPID, err[1] = strconv.Atoi(string(fields[1]))
	p.PGID, err[2] = strconv.Atoi(string(fields[2]))
	p.StartTime, err[3] = strconv.ParseUint(string(fields[19]), 10, 64)
	for _, e := range err {
		if e != nil {
			return Process{}, errBadStat
		}
	}
	return p, nil
}

// pids lists the processes of /proc.
func pids() ([]int, error) {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil, fmt.Errorf("cannot scan the processes: %w", err)
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("cannot scan the processes: %w", err)
	}
	list := make([]int, 0, len(names))
	for _, name := range names {
		if name[0] < '1' || name[0] > '9' {
			continue
		}
		if pid, err := strconv.Atoi(name); err == nil {
			list = append(list, pid)
		}
	}
	return list, nil
}

// group lists the processes of a process group that have not ended; a zombie
// is no member any more. It asks getpgid(2) of each pid, which costs a
// twentieth of reading its stat, and stat of the members alone.
func group(pgid int) ([]Process, error) {
	list, err := pids()
	if err != nil {
		return nil, err
	}
	var members []Process
	for _, pid := range list {
		if id, err := unix.Getpgid(pid); err != nil || id != pgid {
			continue
		}
		p, err := readStat(pid)
		if isLimit(err) {
			return nil, err
		}
		if err != nil || p.PGID != pgid {
			continue
		}
		fd, err := open(p)
		if isLimit(err) {
			return nil, err
		}
		if err != nil {
			continue // it has ended meanwhile
		}
		if !ended(fd) {
			members = append(members, p)
		}
		unix.Close(fd)
	}
	return members, nil
}

// tree lists the processes that root has begotten and their own, without root.
// One whose parent has ended belongs to another parent by now and is not found.
func tree(root int) ([]Process, error) {
	list, err := pids()
	if err != nil {
		return nil, err
	}
	children := make(map[int][]Process)
	for _, pid := range list {
		p, err := readStat(pid)
		if isLimit(err) {
			return nil, err
		}
		if err == nil {
			children[p.PPID] = append(children[p.PPID], p)
		}
	}
	found := append([]Process(nil), children[root]...)
	for i := 0; i < len(found); i++ {
		found = append(found, children[found[i].PID]...)
	}
	return found, nil
}

// descends tells whether p was begotten by root, over any number of parents
// that still live.
func descends(p Process, root int) bool {
	const maxDepth = 64
	for range maxDepth {
		switch p.PPID {
		case root:
			return true
		case 0, 1:
			return false
		}
		var err error
		if p, err = readStat(p.PPID); err != nil {
			return false
		}
	}
	return false
}

// open gives a pidfd of exactly this process (the caller's to close): the
// start time is compared after the pidfd is there, which pins the pid. ESRCH
// if it is gone. The descriptor is non-blocking, fit for os.NewFile.
func open(p Process) (int, error) {
	fd, err := unix.PidfdOpen(p.PID, 0)
	if err != nil {
		return -1, err
	}
	now, err := readStat(p.PID)
	if err == nil && now.StartTime != p.StartTime {
		err = unix.ESRCH
	}
	if err == nil {
		err = unix.SetNonblock(fd, true)
	}
	if err != nil {
		unix.Close(fd)
		if !isLimit(err) {
			err = unix.ESRCH
		}
		return -1, err
	}
	return fd, nil
}

// isLimit tells whether an error speaks of us and not of the process that was
// looked at: it must not pass for "there is none".
func isLimit(err error) bool {
	return errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) || errors.Is(err, unix.ENOMEM)
}

// ended tells whether the whole process of a pidfd has ended (with all its
// threads: a state of Z in stat is said of the first thread alone).
func ended(pidfd int) bool {
	for {
		fds := [1]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds[:], 0)
		if err == unix.EINTR {
			continue
		}
		return err == nil && n > 0
	}
}

// awaitReadable blocks in Go's poller until the descriptor is readable; its
// error is os.ErrDeadlineExceeded once a read deadline of f has passed.
func awaitReadable(f *os.File) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	return raw.Read(func(fd uintptr) bool { return ended(int(fd)) })
}

// send sends sig to exactly this process; ESRCH if it has ended.
func send(p Process, sig unix.Signal) error {
	fd, err := open(p)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if ended(fd) {
		return unix.ESRCH
	}
	return unix.PidfdSendSignal(fd, sig, nil, 0)
}
