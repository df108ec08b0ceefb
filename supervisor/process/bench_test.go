package process

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// BenchmarkSpawn is what the shim costs over a bare fork and exec: /bin/true from
// the call to its end is known, each way once per operation, in turns. The shim is
// the supervisor's own binary, built as a release is. The metrics are medians;
// over-ms is that of the differences. loaded has a busy process per processor
// beside it.
func BenchmarkSpawn(b *testing.B) {
	buildShim(b)
	for _, filter := range []struct {
		name string
		mode FilterMode
	}{{"filter", FilterListen}, {"plain", FilterNone}} {
		for _, load := range []string{"quiet", "loaded"} {
			b.Run(filter.name+"/"+load, func(b *testing.B) {
				if load == "loaded" {
					burn(b)
				}
				benchSpawn(b, filter.mode)
			})
		}
	}
}

func benchSpawn(b *testing.B, mode FilterMode) {
	var shim, bare, over []float64
	for b.Loop() {
		s, t := viaShim(b, mode), direct(b)
		shim, bare, over = append(shim, s), append(bare, t), append(over, s-t)
	}
	b.ReportMetric(median(shim), "shim-ms")
	b.ReportMetric(median(bare), "bare-ms")
	b.ReportMetric(median(over), "over-ms")
}

// viaShim gives the milliseconds from Start to the end of /bin/true.
func viaShim(b *testing.B, mode FilterMode) float64 {
	begin := time.Now()
	c, err := Start(Spec{Path: "/bin/true", Stdin: -1, Stdout: -1, Stderr: -1, Filter: mode})
	if err != nil {
		b.Fatal(err)
	}
	if fd := c.TakeNotifyFD(); fd >= 0 {
		defer unix.Close(fd)
	}
	if err := c.Go(); err != nil {
		b.Fatal(err)
	}
	<-c.Exited()
	took := time.Since(begin)
	<-c.Gone()
	return float64(took) / 1e6
}

// direct gives the milliseconds of a bare fork, exec and wait.
func direct(b *testing.B) float64 {
	null, err := unix.Open(os.DevNull, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer unix.Close(null)
	fd := uintptr(null)
	begin := time.Now()
	pid, err := syscall.ForkExec("/bin/true", []string{"true"}, &syscall.ProcAttr{Files: []uintptr{fd, fd, fd}})
	if err != nil {
		b.Fatal(err)
	}
	for {
		if _, err := unix.Wait4(pid, nil, 0, nil); err != unix.EINTR {
			break
		}
	}
	return float64(time.Since(begin)) / 1e6
}

// buildShim makes the supervisor's own binary the shim of a benchmark.
func buildShim(b *testing.B) {
	binary := filepath.Join(b.TempDir(), "supervisor")
	cmd := exec.Command("go", "build", "-tags", "urfave_cli_no_docs", "-ldflags", "-s -w", "-o", binary, "supervisor")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("cannot build: %v\n%s", err, out)
	}
	old := shimBinary
	shimBinary = binary
	b.Cleanup(func() { shimBinary = old })
}

// burn keeps every processor busy until the benchmark ends.
func burn(b *testing.B) {
	for range runtime.NumCPU() {
		cmd := exec.Command("/bin/sh", "-c", "while :; do :; done")
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() {
			cmd.Process.Kill()
			cmd.Wait()
		})
	}
}

func median(list []float64) float64 {
	slices.Sort(list)
	return list[len(list)/2]
}

// BenchmarkGroup is the scan for the members of one process group.
func BenchmarkGroup(b *testing.B) {
	for b.Loop() {
		if _, err := group(os.Getpid()); err != nil {
			b.Fatal(err)
		}
	}
}
