package listener_test

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// serve is a Go server that drains on SIGINT. It does so by hand, since
// http.Server.Shutdown drops a request that is read after it began: it closes
// the listener, and ends with the last connection.
func serve() error {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt)
	network := "tcp"
	if strings.HasPrefix(os.Getenv("ADDR"), "/") {
		network = "unix"
	}
	ln, err := listenAt(network, os.Getenv("ADDR"))
	if err != nil {
		return err
	}
	var open sync.WaitGroup
	srv := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, os.Getpid()) }),
		ConnState: func(_ net.Conn, state http.ConnState) {
			switch state {
			case http.StateNew:
				open.Add(1)
			case http.StateClosed:
				open.Done()
			}
		},
	}
	go func() { // ends with the program
		<-stop
		ln.Close()
	}()
	if err := srv.Serve(ln); !errors.Is(err, net.ErrClosed) {
		return err
	}
	open.Wait()
	os.Exit(0)
	return nil
}

// listenAt is net.Listen, or with RAW a plain bind and listen of TCP: Go asks for
// MPTCP, and tries once more with TCP if that fails.
func listenAt(network, addr string) (net.Listener, error) {
	if os.Getenv("RAW") == "" || network != "tcp" {
		return net.Listen(network, addr)
	}
	to, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		return nil, err
	}
	fd, err := tcpSocket()
	if err != nil {
		return nil, err
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Port: to.Port, Addr: [4]byte(to.IP.To4())}); err != nil {
		return nil, fmt.Errorf("bind: %w", err)
	}
	if err := unix.Listen(fd, 5); err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	file := os.NewFile(uintptr(fd), addr)
	defer file.Close()
	return net.FileListener(file)
}
