package daemon

import (
	"net"
	"os"
	"sync"
	"testing"

	"supervisor/supervisor/usage"
)

// Many who ask at once each get the answer for their own listeners, of after they asked.
func TestLooksAreShared(t *testing.T) {
	l := looks{counting: make(chan struct{}, 2)}
	var all sync.WaitGroup
	for n := range 8 {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		local := usage.Local{Addr: ln.Addr().(*net.TCPAddr).AddrPort()}
		all.Go(func() {
			for open := range n {
				if got, err := l.connections(os.Getpid(), []usage.Local{local}); err != nil || got != open {
					t.Errorf("%d connections, %v; want %d", got, err, open)
				}
				conn, err := net.Dial("tcp", ln.Addr().String())
				if err != nil {
					t.Error(err)
					return
				}
				defer conn.Close()
				accepted, err := ln.Accept()
				if err != nil {
					t.Error(err)
					return
				}
				defer accepted.Close()
			}
		})
	}
	all.Wait()
}
