package daemon

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// cgroupQuota reads the cpu quota of the daemon's cgroup and of those above it
// (cgroup v2, cpu.max), as whole processors rounded up; the smallest counts.
func cgroupQuota() (int, bool) {
	data, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(data)) {
		path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::")
		if !ok {
			continue
		}
		best, found := 0, false
		for dir := filepath.Clean("/" + path); ; dir = filepath.Dir(dir) {
			text, err := os.ReadFile(filepath.Join("/sys/fs/cgroup", dir, "cpu.max"))
			if n, ok := parseQuota(string(text)); err == nil && ok && (!found || n < best) {
				best, found = n, true
			}
			if dir == "/" {
				return best, found
			}
		}
	}
	return 0, false
}

// parseQuota reads "QUOTA PERIOD" or "max PERIOD", both in microseconds.
func parseQuota(text string) (int, bool) {
	fields := strings.Fields(text)
	if len(fields) != 2 {
		return 0, false
	}
	quota, err1 := strconv.ParseInt(fields[0], 10, 64)
	period, err2 := strconv.ParseInt(fields[1], 10, 64)
	if err1 != nil || err2 != nil || quota <= 0 || period <= 0 {
		return 0, false
	}
	return int((quota-1)/period + 1), true // rounded up, and no sum that may overflow
}
