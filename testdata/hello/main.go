// Command hello is the quick start: a server that is replaced without losing
// a request. Change release, and reload.
package main

import (
	"context"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"time"

	"supervisor/ready"
)

const release = 1

func main() {
	interrupted, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ln, err := listen()
	if err != nil {
		log.Fatal(err)
	}

	var draining atomic.Bool
	var connections sync.WaitGroup
	server := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if draining.Load() {
				w.Header().Set("Connection", "close")
			}
			fmt.Fprintf(w, "hello from pid %d, release %d\n", os.Getpid(), release)
		}),
		ConnState: func(_ net.Conn, state http.ConnState) {
			switch state {
			case http.StateNew:
				connections.Add(1)
			case http.StateClosed, http.StateHijacked:
				connections.Done()
			}
		},
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(ln) }() // ends when ln is closed
	if err := ready.Notify(); err != nil {
		log.Print(err)
	}

	select {
	case err := <-served:
		log.Fatal(err)
	case <-interrupted.Done():
	}

	// Stop accepting, and let every connection have its answer. Shutdown alone
	// would drop those that were accepted and have not sent their request yet.
	draining.Store(true)
	ln.Close()
	<-served
	answered := make(chan struct{})
	go func() { connections.Wait(); close(answered) }()
	select {
	case <-answered:
	case <-time.After(time.Second): // idle clients
	}
	server.Shutdown(context.Background())
}

// listen takes the socket that the supervisor passes where the ecosystem file
// says `listen:`, and else opens PORT, which the supervisor shares.
func listen() (net.Listener, error) {
	passed, err := ready.Listeners()
	if err != nil {
		return nil, err
	}
	if len(passed) > 0 {
		return passed[0], nil
	}
	return net.Listen("tcp", ":"+os.Getenv("PORT"))
}
