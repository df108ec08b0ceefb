package logs

import (
	"path/filepath"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

// benchLines is what one operation of a benchmark writes, 100 bytes each.
const benchLines = 500_000

// BenchmarkCapture is a worker's 500,000 lines through capture, as they are, through a spool as they are (merged),
// with a time and as JSON; BenchmarkDirect is the same worker writing the file itself. cpu-ms is this process's own.
func BenchmarkCapture(b *testing.B) {
	for _, way := range []string{"raw", "merged", "text", "json"} {
		for _, mode := range []string{"lines", "bulk"} {
			b.Run(way+"/"+mode, func(b *testing.B) { benchmarkCapture(b, way, mode) })
		}
	}
}

func benchmarkCapture(b *testing.B, way, mode string) {
	s, _ := newSet(b)
	dir := b.TempDir()
	measure(b, func(i int) {
		id := uint64(i)
		cfg := FileConfig{Path: filepath.Join(dir, strconv.Itoa(i)+".log"), MaxSize: -1, Format: formats[way], Merged: way == "merged"}
		p := spawn(b, s, Worker{ID: id, Label: "a:0", App: "a", Out: cfg}, mode+" a "+strconv.Itoa(benchLines))
		p.wait()
		finish(b, s, id)
		if n := size(b, cfg.Path); n < benchLines*100 {
			b.Fatal(n)
		}
		unix.Unlink(cfg.Path)
	})
}
func BenchmarkDirect(b *testing.B) {
	for _, mode := range []string{"lines", "bulk"} {
		b.Run(mode, func(b *testing.B) {
			dir := b.TempDir()
			measure(b, func(i int) {
				path := filepath.Join(dir, strconv.Itoa(i)+".log")
				out, err := unix.Open(path, unix.O_WRONLY|unix.O_CREAT|unix.O_APPEND|unix.O_CLOEXEC, 0o600)
				if err != nil {
					b.Fatal(err)
				}
				errs, err := unix.Open("/dev/null", unix.O_WRONLY|unix.O_CLOEXEC, 0)
				if err != nil {
					b.Fatal(err)
				}
				startWriter(b, out, errs, mode+" a "+strconv.Itoa(benchLines)).wait()
				unix.Unlink(path)
			})
		})
	}
}

func measure(b *testing.B, op func(i int)) {
	b.SetBytes(benchLines * 100)
	before := cpuTime()
	i := 0
	for b.Loop() {
		op(i)
		i++
	}
	b.ReportMetric((cpuTime()-before)/float64(i), "cpu-ms/op")
	b.ReportMetric(float64(benchLines)*float64(i)/b.Elapsed().Seconds(), "lines/s")
}

// cpuTime is the CPU time of this process in ms.
func cpuTime() float64 {
	var u unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &u) // can't fail
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e6
}
