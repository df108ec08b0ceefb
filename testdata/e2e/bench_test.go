package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"supervisor/testdata/lab"
	"supervisor/testdata/workers"
)

// BenchmarkList measures `list --json` as a whole process, and the memory of a
// daemon that has been left alone (rss-MB).
func BenchmarkList(b *testing.B) {
	s := lab.New(b, "apps")
	b.Cleanup(s.End)
	server, err := workers.BuildServer(lab.Built)
	if err != nil {
		b.Fatal(err)
	}
	file := fmt.Sprintf("apps:\n  - {name: web, script: %s, instances: 2, soak: 0, env: {PORT: 18999}}\n", server)
	if err := os.WriteFile(filepath.Join(s.Dir, "ecosystem.yaml"), []byte(file), 0o600); err != nil {
		b.Fatal(err)
	}
	s.Must("start", "ecosystem.yaml")
	for b.Loop() {
		s.Must("list", "--json")
	}
	b.StopTimer()
	<-time.After(3 * time.Second) // what is measured is a daemon that nobody has asked for so long
	pid, err := os.ReadFile(filepath.Join(s.Home, "supervisor.pid"))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(rssKB(b, strings.TrimSpace(string(pid))))/1024, "rss-MB")
}

// rssKB reads VmRSS of proc_pid_status(5).
func rssKB(b *testing.B, pid string) int {
	data, err := os.ReadFile("/proc/" + pid + "/status")
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			n, err := strconv.Atoi(strings.Fields(rest)[0])
			if err != nil {
				b.Fatal(err)
			}
			return n
		}
	}
	b.Fatal("no VmRSS")
	return 0
}
