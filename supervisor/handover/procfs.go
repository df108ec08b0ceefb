package handover

import (
	"bytes"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// procStat is what proc_pid_stat(5) says of a process.
type procStat struct {
	state  byte // 'Z' is a zombie
	ppid   int
	start  uint64          // clock ticks since boot
	status unix.WaitStatus // of a zombie, where it may be seen
}

// readStat looks at a process; an error when it is gone.
func readStat(pid int) (procStat, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return procStat{}, err
	}
	s, ok := parseStat(data)
	if !ok {
		return procStat{}, fmt.Errorf("cannot understand /proc/%d/stat", pid)
	}
	return s, nil
}

// parseStat reads a stat line. The name in it, in parentheses, may hold anything.
func parseStat(data []byte) (s procStat, ok bool) {
	// Numbers of fields in proc_pid_stat(5), which counts from 1, less the two up to the name.
	const state, ppid, start, exitCode = 3 - 3, 4 - 3, 22 - 3, 52 - 3
	end := bytes.LastIndexByte(data, ')')
	if end < 0 {
		return s, false
	}
	fields := bytes.Fields(data[end+1:])
	if len(fields) <= start {
		return s, false
	}
	var err1, err2 error
	s.state = fields[state][0]
	s.ppid, err1 = strconv.Atoi(string(fields[ppid]))
	s.start, err2 = strconv.ParseUint(string(fields[start]), 10, 64)
	if len(fields) > exitCode {
		if n, err := strconv.ParseUint(string(fields[exitCode]), 10, 32); err == nil {
			s.status = unix.WaitStatus(n)
		}
	}
	return s, err1 == nil && err2 == nil
}
