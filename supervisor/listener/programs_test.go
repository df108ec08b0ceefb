package listener_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// program is what the test binary does in a role of its own.
func program(role string) error {
	roles := map[string]func() error{
		"outgoing":    outgoing,
		"shutdown":    shutdownListener,
		"storm":       func() error { return storm(false) },
		"port-storm":  func() error { return storm(true) },
		"others":      others,
		"bench":       benchBind,
		"fork-probe":  forkProbe,
		"late-listen": lateListen,
		"closer":      closer,
		"daemon":      daemon,
		"gap":         gap,
		"rebind":      rebind,
		"let-go":      letGo,
	}
	if f := roles[role]; f != nil {
		return f()
	}
	return fmt.Errorf("no role %q", role)
}

// wait ends the program at SIGINT.
func wait() error {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt)
	<-stop
	os.Exit(0)
	return nil
}

func envPort(name string) int {
	n, _ := strconv.Atoi(os.Getenv(name))
	return n
}

func loopback(port int) *unix.SockaddrInet4 {
	return &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}
}

func tcpSocket() (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	return fd, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
}

// outgoing connects from a source port, and closes when it is told to.
func outgoing() error {
	fd, err := tcpSocket()
	if err != nil {
		return err
	}
	if err := unix.Bind(fd, loopback(envPort("SOURCE"))); err != nil {
		return err
	}
	if err := unix.Connect(fd, loopback(envPort("PORT"))); err != nil {
		return err
	}
	if _, err := unix.Read(fd, make([]byte, 1)); err != nil {
		return err
	}
	unix.Close(fd)
	return wait()
}

// shutdownListener takes the shared socket out of service.
func shutdownListener() error {
	fd, err := tcpSocket()
	if err != nil {
		return err
	}
	if err := unix.Bind(fd, loopback(envPort("PORT"))); err != nil {
		return err
	}
	if err := unix.Listen(fd, 5); err != nil {
		return err
	}
	if err := unix.Shutdown(fd, unix.SHUT_RDWR); err != nil {
		return err
	}
	return wait()
}

// lateListen does one step for each SIGUSR1: listen, accept, until SIGINT.
func lateListen() error {
	next, stop := make(chan os.Signal, 1), make(chan os.Signal, 1)
	signal.Notify(next, syscall.SIGUSR1)
	signal.Notify(stop, os.Interrupt)
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	if os.Getenv("REUSE") != "" {
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	}
	if err := unix.Bind(fd, loopback(envPort("PORT"))); err != nil {
		return err
	}
	fmt.Println("bound")
	<-next
	if err := unix.Listen(fd, 5); err != nil {
		return err
	}
	fmt.Println("listening")
	<-next
	if _, _, err := unix.Accept(fd); err != nil {
		return err
	}
	fmt.Println("accepted")
	<-stop
	os.Exit(0)
	return nil
}

// storm binds and closes as fast as it can, and listens on ever new ports too
// if asked.
func storm(listen bool) error {
	for port := envPort("PORT"); ; {
		fd, err := tcpSocket()
		if err != nil {
			return err
		}
		err = unix.Bind(fd, loopback(port))
		if err == nil && listen {
			err = unix.Listen(fd, 1)
		}
		if err != nil && !errors.Is(err, unix.EADDRINUSE) {
			return err
		}
		unix.Close(fd)
		if listen {
			port = port%10000 + 10001
		}
	}
}

// others makes sockets that are none of the supervisor's business, and says
// what became of them.
func others() error {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	udp, err := net.ListenPacket("udp", fmt.Sprintf("127.0.0.1:%d", envPort("PORT")))
	if err != nil {
		return err
	}
	abstract, err := net.Listen("unix", "@listener-test-"+strconv.Itoa(os.Getpid()))
	if err != nil {
		return err
	}
	seq, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	if err := unix.Bind(seq, &unix.SockaddrUnix{Name: os.Getenv("SEQPACKET")}); err != nil {
		return err
	}
	if err := unix.Listen(seq, 5); err != nil {
		return err
	}
	if _, err := net.Interfaces(); err != nil { // netlink
		return err
	}
	// What the kernel refuses is refused with its own words.
	bad, err := tcpSocket()
	if err != nil {
		return err
	}
	if err := unix.Bind(bad, &unix.SockaddrInet4{Port: 1234, Addr: [4]byte{192, 0, 2, 1}}); err != unix.EADDRNOTAVAIL {
		return fmt.Errorf("a foreign address: %v", err)
	}
	if err := unix.Bind(bad, &unix.SockaddrInet6{Port: 1234}); err != unix.EINVAL && err != unix.EAFNOSUPPORT {
		return fmt.Errorf("a foreign family: %v", err)
	}
	if err := unix.Bind(99, loopback(1234)); err != unix.EBADF {
		return fmt.Errorf("no descriptor: %v", err)
	}
	if err := unix.Listen(1, 5); err != unix.ENOTSOCK {
		return fmt.Errorf("no socket: %v", err)
	}
	fmt.Println("done", ln.Addr(), udp.LocalAddr(), abstract.Addr())
	os.Exit(0)
	return nil
}

// forkProbe listens in a child that dies, as `npx detect-port` does, and then
// at another address of the port.
func forkProbe() error {
	if os.Getenv("CHILD") != "" {
		if _, err := net.Listen("tcp", "127.0.0.1:"+os.Getenv("PORT")); err != nil {
			return err
		}
		os.Exit(0)
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	child, err := os.StartProcess(self, []string{self}, &os.ProcAttr{
		Env: append(os.Environ(), "CHILD=1"), Files: []*os.File{nil, os.Stdout, os.Stderr}, Sys: &syscall.SysProcAttr{}})
	if err != nil {
		return err
	}
	if state, err := child.Wait(); err != nil || !state.Success() {
		return fmt.Errorf("child: %v %v", state, err)
	}
	if _, err := net.Listen("tcp", ":"+os.Getenv("PORT")); err != nil {
		return err
	}
	return wait()
}

// benchBind prints the nanoseconds that COUNT binds took.
func benchBind() error {
	var spent time.Duration
	for range envPort("COUNT") {
		fd, err := tcpSocket()
		if err != nil {
			return err
		}
		start := time.Now()
		if err := unix.Bind(fd, loopback(envPort("PORT"))); err != nil {
			return err
		}
		spent += time.Since(start)
		unix.Close(fd)
	}
	fmt.Print(spent.Nanoseconds())
	os.Exit(0)
	return nil
}

// rebind listens, and at SIGUSR1 does so again with another socket.
func rebind() error {
	again := make(chan os.Signal, 1)
	signal.Notify(again, syscall.SIGUSR1)
	for _, word := range []string{"once", "twice"} {
		fd, err := tcpSocket()
		if err != nil {
			return err
		}
		if err := errors.Join(unix.Bind(fd, loopback(envPort("PORT"))), unix.Listen(fd, 5)); err != nil {
			return err
		}
		fmt.Println(word)
		if word == "once" {
			<-again
		}
	}
	return wait()
}

// letGo listens, and closes that.
func letGo() error {
	ln, err := net.Listen("tcp", os.Getenv("ADDR"))
	if err != nil {
		return err
	}
	ln.Close()
	fmt.Println("closed")
	return wait()
}

// gap does, after SIGUSR1, everything at once that the filter holds up: bind and
// listen, a datagram from port 0, a connection from a source port.
func gap() error {
	next := make(chan os.Signal, 1)
	signal.Notify(next, syscall.SIGUSR1)
	fmt.Println("ready")
	<-next
	peer := "127.0.0.1:" + os.Getenv("PEER")
	acts := []func() error{
		func() error {
			fd, err := tcpSocket()
			if err != nil {
				return err
			}
			return errors.Join(unix.Bind(fd, loopback(envPort("PORT"))), unix.Listen(fd, 5))
		},
		func() error {
			c, err := net.ListenPacket("udp", "127.0.0.1:0")
			if err != nil {
				return err
			}
			_, err = c.WriteTo([]byte("gauge:1|g"), &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: envPort("PEER")})
			return err
		},
		func() error {
			d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: envPort("SOURCE")}}
			_, err := d.Dial("tcp", peer)
			return err
		},
	}
	done := make(chan error)
	for _, act := range acts {
		go func() { done <- act() }() // ends with its call
	}
	for range acts {
		if err := <-done; err != nil {
			return err
		}
	}
	fmt.Println("done")
	return wait()
}

// closer accepts at once, reads a little later, and at SIGINT closes what it has
// accepted and not read yet, as uvicorn does.
func closer() error {
	ln, err := net.Listen("tcp", os.Getenv("ADDR"))
	if err != nil {
		return err
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt)
	go func() { // ends with the program
		<-stop
		os.Exit(0)
	}()
	for {
		c, err := ln.Accept()
		if err != nil {
			return err
		}
		go func() { // ends with the connection
			defer c.Close()
			time.Sleep(5 * time.Millisecond) // its work
			c.Read(make([]byte, 1000))
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n%d", os.Getpid())
		}()
	}
}
