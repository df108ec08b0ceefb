// Command worker is the smallest server that can be reloaded: by raw system calls, so
// that a thousand of it fit on one machine. It binds PORT on 127.0.0.1, says ready on
// READY_FD, answers every request with its pid, one connection at a time, and ends on
// SIGINT when what it has accepted is answered.
package main

import (
	"bytes"
	"os"
	"os/signal"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// patience bounds, in seconds, what a connection may take that says nothing.
const patience = 5

func main() {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGINT)
	var told [2]int
	must(unix.Pipe2(told[:], unix.O_CLOEXEC))
	go func() { // ends with the process
		<-stop
		unix.Close(told[1])
	}()
	ln := listen()
	ready()
	pid := strconv.Itoa(os.Getpid())
	answer := []byte("HTTP/1.1 200 OK\r\nConnection: close\r\nX-Pid: " + pid + "\r\nContent-Length: " + strconv.Itoa(len(pid)) + "\r\n\r\n" + pid)
	for {
		fds := []unix.PollFd{{Fd: int32(ln), Events: unix.POLLIN}, {Fd: int32(told[0])}}
		if _, err := unix.Poll(fds, -1); err == unix.EINTR {
			continue
		}
		if fds[1].Revents != 0 {
			return
		}
		conn, _, err := unix.Accept4(ln, unix.SOCK_CLOEXEC)
		if err != nil {
			continue // another worker was quicker
		}
		serve(conn, answer)
	}
}

func listen() int {
	port, err := strconv.Atoi(os.Getenv("PORT"))
	must(err)
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	must(err)
	must(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1))
	must(unix.Bind(fd, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}))
	must(unix.Listen(fd, unix.SOMAXCONN))
	return fd
}

func ready() {
	fd, err := strconv.Atoi(os.Getenv("READY_FD"))
	must(err)
	_, err = unix.Write(fd, []byte("ready\n"))
	must(err)
	unix.Close(fd)
}

// serve answers one request without a body.
func serve(conn int, answer []byte) {
	defer unix.Close(conn)
	unix.SetsockoptTimeval(conn, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: patience})
	var buf [4096]byte
	for n := 0; n < len(buf); {
		got, err := unix.Read(conn, buf[n:])
		if err == unix.EINTR {
			continue
		}
		if err != nil || got == 0 {
			return
		}
		if n += got; bytes.HasSuffix(buf[:n], []byte("\r\n\r\n")) {
			unix.Write(conn, answer)
			return
		}
	}
}

func must(err error) {
	if err != nil {
		os.Stderr.WriteString(err.Error() + "\n")
		os.Exit(1)
	}
}
