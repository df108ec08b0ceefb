package daemon

import (
	"testing"
	"testing/fstest"
)

func TestTheSmallestQuotaCounts(t *testing.T) {
	for _, c := range []struct {
		name  string
		files map[string]string
		want  int // 0: none
	}{
		{"no cgroups", nil, 0},
		{"no quota", map[string]string{"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/cpu.max": "max 100000\n"}, 0},
		{"its own", map[string]string{"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/cpu.max": "150000 100000\n", "sys/fs/cgroup/a/cpu.max": "max 100000\n"}, 2},
		{"of one above", map[string]string{"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/cpu.max": "400000 100000\n", "sys/fs/cgroup/a/cpu.max": "100000 100000\n"}, 1},
		{"a container with a cgroup namespace", map[string]string{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "300000 100000\n"}, 3},
		{"a container without one", map[string]string{"proc/self/cgroup": "0::/docker/1\n", "sys/fs/cgroup/cpu.max": "300000 100000\n"}, 3},
		{"a namespace below another", map[string]string{"proc/self/cgroup": "0::/../../x\n", "sys/fs/cgroup/cpu.max": "300000 100000\n"}, 3},
		{"version 1", map[string]string{
			"proc/self/cgroup":                               "4:memory:/m\n3:cpu,cpuacct:/docker/1\n0::/\n",
			"sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us":     "250000\n",
			"sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us":    "100000\n",
			"sys/fs/cgroup/memory/m/memory.limit_in_bytes":   "1\n",
			"sys/fs/cgroup/cpuset/docker/1/cpu.cfs_quota_us": "1\n",
		}, 3},
		{"version 1 without a quota", map[string]string{
			"proc/self/cgroup":                   "1:cpu:/\n",
			"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
		}, 0},
		{"both", map[string]string{
			"proc/self/cgroup":                     "1:cpu:/a\n0::/a\n",
			"sys/fs/cgroup/cpu/a/cpu.cfs_quota_us": "400000\n", "sys/fs/cgroup/cpu/a/cpu.cfs_period_us": "100000\n",
			"sys/fs/cgroup/unified/a/cpu.max": "200000 100000\n",
		}, 2},
		{"garbage", map[string]string{"proc/self/cgroup": ":\n::\nx\n0::\n1:cpu\n", "sys/fs/cgroup/cpu.max": "\x00"}, 0},
	} {
		disk := fstest.MapFS{}
		for name, text := range c.files {
			disk[name] = &fstest.MapFile{Data: []byte(text)}
		}
		if got, ok := cgroupQuota(disk); got != c.want || ok != (c.want > 0) {
			t.Errorf("%s: %d, %v, want %d", c.name, got, ok, c.want)
		}
	}
}
