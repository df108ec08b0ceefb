package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of times in /proc/PID/stat: USER_HZ, which is 100 on every
// architecture that matters here (proc_pid_stat(5)).
const tick = time.Second / 100

// cpu sums what processes have used, to the tick.
func cpu(procs []proc) (sum time.Duration, err error) {
	for _, p := range procs {
		data, err := os.ReadFile("/proc/" + strconv.Itoa(p.pid) + "/stat")
		if err != nil {
			return 0, err
		}
		// After the name, which may have anything in it: state is field 3.
		fields := strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+1:]))
		if len(fields) < 13 {
			return 0, fmt.Errorf("/proc/%d/stat: %q", p.pid, data)
		}
		for _, f := range fields[11:13] { // utime, stime
			n, err := strconv.Atoi(f)
			if err != nil {
				return 0, err
			}
			sum += time.Duration(n) * tick
		}
	}
	return sum, nil
}

// switches sums how often the threads of processes have gone to sleep: a process that
// nothing wakes has as many as before (proc_pid_status(5)).
func switches(procs []proc) (sum int, err error) {
	for _, p := range procs {
		threads, _ := filepath.Glob("/proc/" + strconv.Itoa(p.pid) + "/task/*/status")
		if len(threads) == 0 {
			return 0, fmt.Errorf("process %d is gone", p.pid)
		}
		for _, path := range threads {
			data, err := os.ReadFile(path)
			if err != nil {
				return 0, err
			}
			for line := range strings.Lines(string(data)) {
				if rest, ok := strings.CutPrefix(line, "voluntary_ctxt_switches:"); ok {
					n, err := strconv.Atoi(strings.TrimSpace(rest))
					if err != nil {
						return 0, err
					}
					sum += n
				}
			}
		}
	}
	return sum, nil
}
