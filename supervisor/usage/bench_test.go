package usage

import (
	"fmt"
	"os/exec"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// BenchmarkSample is one look at 1, 100 and 1,000 workers, each of them a process
// that leads its group; the machine's other processes are read as well (processes).
// cpu-ms is this process's own time, with the kernel's for it.
func BenchmarkSample(b *testing.B) {
	for _, n := range []int{1, 100, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			pids := sleepers(b, n)
			table, err := readProcesses()
			if err != nil {
				b.Fatal(err)
			}
			var s Sampler
			b.ReportAllocs()
			before := cpuTime(b)
			for b.Loop() {
				figures, err := s.Sample(pids)
				if err != nil {
					b.Fatal(err)
				}
				if len(figures) != n {
					b.Fatalf("%d of %d workers are seen", len(figures), n)
				}
			}
			b.ReportMetric((cpuTime(b)-before)/float64(b.N), "cpu-ms/look")
			b.ReportMetric(float64(len(table.byPID)), "processes")
		})
	}
}

// sleepers are n processes, each in a group of its own, until the benchmark ends.
func sleepers(b *testing.B, n int) []int {
	b.Helper()
	var pids []int
	for range n {
		cmd := exec.Command("/bin/sleep", "3600")
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() {
			cmd.Process.Kill()
			cmd.Wait()
		})
		pids = append(pids, cmd.Process.Pid)
	}
	return pids
}

// cpuTime is the processor time of this process so far, in ms.
func cpuTime(b *testing.B) float64 {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e6
}
