// Command asker is a worker that asks the kernel, when it is asked by HTTP, for what a
// supervisor's filter looks at, and answers "ok" or why not:
//
//	/dial?port=N    connects to that port of 127.0.0.1 from an address of its own choice
//	/listen?port=N  listens on another port, and connects to it
//	/dgram?port=N   binds a UDP socket to that port and sends itself a datagram
package main

import (
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
)

func main() {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGINT)
	ln, err := net.Listen("tcp", net.JoinHostPort(os.Getenv("HOST"), os.Getenv("PORT")))
	if err != nil {
		log.Fatal(err)
	}
	for name, ask := range map[string]func(port int) error{"/dial": dial, "/listen": listen, "/dgram": dgram} {
		http.HandleFunc(name, func(w http.ResponseWriter, r *http.Request) {
			port, err := strconv.Atoi(r.FormValue("port"))
			if err == nil {
				err = ask(port)
			}
			if err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			fmt.Fprint(w, "ok")
		})
	}
	go http.Serve(ln, nil) // ends with the process
	fd, err := strconv.Atoi(os.Getenv("READY_FD"))
	if err != nil {
		log.Fatal(err)
	}
	os.NewFile(uintptr(fd), "ready").WriteString("ready\n")
	<-stop
}

func loopback(port int) *net.TCPAddr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port} }

func dial(port int) error {
	conn, err := net.DialTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}, loopback(port))
	if err == nil {
		conn.Close()
	}
	return err
}

func listen(port int) error {
	ln, err := net.ListenTCP("tcp", loopback(port))
	if err != nil {
		return err
	}
	defer ln.Close()
	return dial(port)
}

func dgram(port int) error {
	at := &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port}
	conn, err := net.ListenUDP("udp", at)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := conn.WriteTo([]byte("hello"), at); err != nil {
		return err
	}
	_, _, err = conn.ReadFrom(make([]byte, 10))
	return err
}
