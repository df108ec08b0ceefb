package daemon

import (
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// cgroupQuota reads the cpu quota of the daemon's cgroup and of those above it, as whole
// processors rounded up; the smallest counts. Of version 2 that is cpu.max, of version 1
// cpu.cfs_quota_us (cgroups(7)); disk is the root folder.
//
// A container sees its own cgroup as the root of what is mounted, under a path that is
// that of the host: folders that are not there are passed over.
func cgroupQuota(disk fs.FS) (int, bool) {
	data, err := fs.ReadFile(disk, "proc/self/cgroup")
	if err != nil {
		return 0, false
	}
	best, found := 0, false
	for line := range strings.Lines(string(data)) {
		_, rest, _ := strings.Cut(strings.TrimSpace(line), ":")
		controllers, at, ok := strings.Cut(rest, ":")
		if !ok || controllers != "" && !slices.Contains(strings.Split(controllers, ","), "cpu") {
			continue
		}
		for dir := path.Clean("/" + at); ; dir = path.Dir(dir) {
			for _, text := range quotasIn(disk, controllers, dir) {
				if n, ok := parseQuota(text); ok && (!found || n < best) {
					best, found = n, true
				}
			}
			if dir == "/" {
				break
			}
		}
	}
	return best, found
}

// quotasIn reads one cgroup wherever its hierarchy is mounted, in the words of cpu.max.
// controllers are "" for version 2.
func quotasIn(disk fs.FS, controllers, dir string) (texts []string) {
	const mounted = "sys/fs/cgroup"
	if controllers == "" {
		for _, root := range []string{mounted, mounted + "/unified"} {
			if text, err := fs.ReadFile(disk, path.Join(root, dir, "cpu.max")); err == nil {
				texts = append(texts, string(text))
			}
		}
		return texts
	}
	for _, root := range slices.Compact([]string{controllers, "cpu"}) {
		quota, err1 := fs.ReadFile(disk, path.Join(mounted, root, dir, "cpu.cfs_quota_us"))
		period, err2 := fs.ReadFile(disk, path.Join(mounted, root, dir, "cpu.cfs_period_us"))
		if err1 == nil && err2 == nil {
			texts = append(texts, string(quota)+" "+string(period))
		}
	}
	return texts
}

// parseQuota reads "QUOTA PERIOD", both in microseconds. A QUOTA of "max", or -1, is none.
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
