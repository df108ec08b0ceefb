// Command server is a small HTTP server in Go for the benchmark: it answers every
// request with its pid, and on SIGINT stops to accept, answers with "Connection: close"
// and ends when no connection is left. PORT is where it listens, on 127.0.0.1;
// REUSE_PORT=1: with SO_REUSEPORT; DELAY: how long it takes to be ready beside that,
// such as 3ms. It says ready to READY_FD and with a line on stdout.
//
// HTTP is written by hand, so that what is measured is the way of a connection.
package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// idleLimit is how long a drain waits for one more request on a connection.
const idleLimit = time.Second

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run serves until SIGINT has been followed by a drain.
func run() error {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGINT, syscall.SIGTERM)
	if d, err := time.ParseDuration(os.Getenv("DELAY")); err == nil {
		<-time.After(d)
	}
	config := net.ListenConfig{Control: reusePort}
	config.SetMultipathTCP(false)
	ln, err := config.Listen(context.Background(), "tcp", "127.0.0.1:"+os.Getenv("PORT"))
	if err != nil {
		return err
	}
	s := &server{conns: make(map[net.Conn]bool)}
	s.open.Go(func() { s.accept(ln) }) // ended by Close below
	ready()
	<-stop
	s.draining.Store(true)
	ln.Close()
	s.hurry()
	s.open.Wait()
	return nil
}

// reusePort sets SO_REUSEPORT where it is asked for.
func reusePort(_, _ string, rc syscall.RawConn) (err error) {
	if os.Getenv("REUSE_PORT") != "1" {
		return nil
	}
	cerr := rc.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	})
	if cerr != nil {
		return cerr
	}
	return err
}

// ready tells whoever asked for it.
func ready() {
	fmt.Println("ready")
	if fd, err := strconv.Atoi(os.Getenv("READY_FD")); err == nil {
		unix.Write(fd, []byte("ready\n"))
		unix.Close(fd)
	}
}

// server knows its connections.
type server struct {
	open     sync.WaitGroup
	draining atomic.Bool
	mu       sync.Mutex // leaf
	conns    map[net.Conn]bool
}

// accept serves each connection in a goroutine of its own, which ends with it.
func (s *server) accept(ln net.Listener) {
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.conns[c] = true
		s.mu.Unlock()
		s.open.Go(func() { s.serve(c) })
	}
}

// hurry bounds the time of connections that nobody uses.
func (s *server) hurry() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.SetReadDeadline(time.Now().Add(idleLimit))
	}
}

// serve answers requests, which have no body, until one of the sides is done.
func (s *server) serve(c net.Conn) {
	defer func() {
		c.Close()
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
	}()
	if s.draining.Load() { // accepted after hurry looked
		c.SetReadDeadline(time.Now().Add(idleLimit))
	}
	pid := strconv.Itoa(os.Getpid())
	r := bufio.NewReader(c)
	for {
		last := false
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				return
			}
			if line == "\r\n" {
				break
			}
			last = last || strings.EqualFold(line, "Connection: close\r\n")
		}
		last = last || s.draining.Load()
		head := "HTTP/1.1 200 OK\r\nContent-Length: " + strconv.Itoa(len(pid)) + "\r\n"
		if last {
			head += "Connection: close\r\n"
		}
		if _, err := c.Write([]byte(head + "\r\n" + pid)); err != nil || last {
			return
		}
	}
}
