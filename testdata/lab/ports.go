package lab

import (
	"math/rand/v2"
	"net"
	"strconv"
	"sync/atomic"
	"testing"
)

// Ports are those that a package of tests may take. They are below the kernel's own
// range (ip_local_port_range), of which any may belong to a connection at any time, and
// each package has a range of its own, because packages are tested at the same time.
type Ports struct {
	First, Count int
	last         atomic.Int32
}

// Free returns a port that nobody has at this moment, and no other test of the package
// has had.
func (p *Ports) Free(t testing.TB) int {
	t.Helper()
	p.last.CompareAndSwap(0, rand.Int32N(int32(p.Count)))
	for range p.Count {
		port := p.First + int(p.last.Add(1))%p.Count
		ln, err := net.Listen("tcp", ":"+strconv.Itoa(port))
		if err == nil {
			ln.Close()
			return port
		}
	}
	t.Fatal("no port is free")
	return 0
}
