package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"supervisor/testdata/workers"
)

// BenchmarkList measures `list --json` as a whole process, and the memory of a
// daemon that has been left alone (rss-MB).
func BenchmarkList(b *testing.B) {
	home, err := os.MkdirTemp("", "sv")
	if err != nil {
		b.Fatal(err)
	}
	defer os.RemoveAll(home)
	server, err := workers.BuildServer(built)
	if err != nil {
		b.Fatal(err)
	}
	run := func(args ...string) string {
		cmd := exec.Command(binary, args...)
		cmd.Env, cmd.Dir = append(os.Environ(), "SUPERVISOR_HOME="+home), home
		out, err := cmd.CombinedOutput()
		if err != nil {
			b.Fatalf("%v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	file := fmt.Sprintf("apps:\n  - {name: web, script: %s, instances: 2, soak: 0, env: {PORT: 18999}}\n", server)
	if err := os.WriteFile(filepath.Join(home, "ecosystem.yaml"), []byte(file), 0o600); err != nil {
		b.Fatal(err)
	}
	run("start", "ecosystem.yaml")
	defer run("kill")
	for b.Loop() {
		run("list", "--json")
	}
	b.StopTimer()
	<-time.After(3 * time.Second) // what is measured is a daemon that nobody has asked for so long
	pid, err := os.ReadFile(filepath.Join(home, "supervisor.pid"))
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
