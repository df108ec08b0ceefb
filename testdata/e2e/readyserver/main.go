// Command readyserver is a server with package ready: it takes its socket from the
// supervisor or opens one, says when it is ready, and on SIGINT finishes what it has
// accepted.
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

	"supervisor/ready"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ln, err := listen()
	if err != nil {
		log.Fatal(err)
	}
	var conns sync.WaitGroup
	server := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, os.Getpid()) }),
		ConnState: func(_ net.Conn, s http.ConnState) {
			switch s {
			case http.StateNew:
				conns.Add(1)
			case http.StateClosed, http.StateHijacked:
				conns.Done()
			}
		},
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(ln) }() // ends when ln is closed
	if err := ready.Notify(); err != nil {
		log.Fatal(err)
	}
	select {
	case err := <-served:
		log.Fatal(err)
	case <-ctx.Done():
	}
	// Not Shutdown alone: it drops connections that were accepted and whose request
	// had not been read yet.
	ln.Close()
	<-served
	server.SetKeepAlivesEnabled(false)
	conns.Wait()
}

func listen() (net.Listener, error) {
	lns, err := ready.Listeners()
	if err != nil || len(lns) > 0 {
		return append(lns, nil)[0], err
	}
	return net.Listen("tcp", "127.0.0.1:"+os.Getenv("PORT"))
}
