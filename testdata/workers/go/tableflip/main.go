// Command tableflip is a server as the documentation of tableflip has it, which
// knows nothing of a supervisor: SIGHUP upgrades it by itself, SIGINT and SIGTERM end
// it. It listens on the addresses of LISTEN, each as NETWORK!ADDRESS and to the
// letter, answers every request with its pid and loses nothing when it ends.
package main

import (
	"context"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cloudflare/tableflip"
)

func main() {
	log.SetFlags(0)
	if err := run(); err != nil {
		log.Fatal(err)
	}
}

func run() error {
	fmt.Println("pid", os.Getpid())
	upg, err := tableflip.New(tableflip.Options{})
	if err != nil {
		return err
	}
	defer upg.Stop()
	fmt.Println("has parent:", upg.HasParent())
	said := make(chan os.Signal, 1)
	signal.Notify(said, syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM) // before anybody can know us
	go signals(upg, said)                                                // ends with the process
	go func() {                                                          // so does this
		if err := upg.WaitForParent(context.Background()); upg.HasParent() {
			fmt.Println("parent gone:", err)
		}
	}()

	var open sync.WaitGroup // connections
	srv := &http.Server{Handler: http.HandlerFunc(answer), ConnState: func(_ net.Conn, s http.ConnState) {
		switch s {
		case http.StateNew:
			open.Add(1)
		case http.StateClosed, http.StateHijacked:
			open.Done()
		}
	}}
	var lns []net.Listener
	served := make(chan error)
	for _, where := range strings.Fields(os.Getenv("LISTEN")) {
		network, address, _ := strings.Cut(where, "!")
		ln, err := upg.Listen(network, address)
		if err != nil {
			return err
		}
		lns = append(lns, ln)
		go func() { served <- srv.Serve(ln) }() // ends when ln is closed
	}
	fmt.Println("listening")
	if err := upg.Ready(); err != nil {
		return err
	}
	<-upg.Exit()
	// Not Shutdown alone: it drops a request that it reads on a connection which was
	// accepted before, and ends idle ones, on which a request may be on its way.
	draining.Store(true)
	for _, ln := range lns {
		ln.Close()
		<-served
	}
	closed := make(chan struct{})
	go func() { // ends with the last connection
		open.Wait()
		close(closed)
	}()
	select {
	case <-closed:
	case <-time.After(linger):
	}
	srv.SetKeepAlivesEnabled(false)
	<-closed
	return nil
}

// linger is how long idle connections may take for one more request.
const linger = time.Second

var draining atomic.Bool

// signals are those of tableflip's documentation.
func signals(upg *tableflip.Upgrader, said <-chan os.Signal) {
	for sig := range said {
		if sig == syscall.SIGHUP {
			fmt.Println("upgrade:", upg.Upgrade())
			continue
		}
		upg.Stop()
	}
}

func answer(w http.ResponseWriter, _ *http.Request) {
	pid := strconv.Itoa(os.Getpid())
	if draining.Load() {
		w.Header().Set("Connection", "close")
	}
	w.Header().Set("X-Pid", pid)
	fmt.Fprint(w, pid)
}
