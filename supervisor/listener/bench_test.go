package listener_test

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"supervisor/supervisor/listener"
)

// BenchmarkBind is what one bind(2) of a TCP address costs the worker: bare,
// intercepted (rule c), and with the held socket put in its place (rule b).
func BenchmarkBind(b *testing.B) {
	for _, c := range []struct {
		name     string
		env      string
		declared bool
	}{{"bare", "SHIM_BARE=1", false}, {"own", "", false}, {"held", "", true}} {
		b.Run(c.name, func(b *testing.B) {
			r := newRig(b)
			port := freePort(b)
			if c.declared {
				if err := r.Open("web", []listener.Declared{{Network: "tcp", Address: fmt.Sprintf("127.0.0.1:%d", port)}}); err != nil {
					b.Fatal(err)
				}
			}
			w := r.start(spec{app: "web", role: "bench", env: []string{c.env, "PORT=" + strconv.Itoa(port), "COUNT=" + strconv.Itoa(b.N)}})
			w.wait()
			n, err := strconv.ParseFloat(strings.TrimSpace(w.out.String()), 64)
			if err != nil {
				b.Fatalf("%v: %s", err, w.out)
			}
			b.ReportMetric(n/float64(b.N), "ns/bind")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkAcceptShared and BenchmarkAcceptEven are new connections, each with
// one request, to two Go servers that share a socket, or have one each.
func BenchmarkAcceptShared(b *testing.B) { benchmarkAccept(b, false) }
func BenchmarkAcceptEven(b *testing.B)   { benchmarkAccept(b, true) }

func benchmarkAccept(b *testing.B, even bool) {
	r := newRig(b)
	addr := fmt.Sprintf("127.0.0.1:%d", freePort(b))
	var workers []*worker
	for range 2 {
		w := r.start(spec{app: "web", even: even, role: "serve", env: []string{"ADDR=" + addr}})
		r.listening(w)
		r.Admit(w.id)
		workers = append(workers, w)
	}
	b.SetParallelism(4)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := get("tcp", addr); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "conns/s")
	b.StopTimer()
	for _, w := range workers {
		w.stop(syscall.SIGKILL)
	}
}
