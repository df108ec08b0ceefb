// Command readyserver is a server with the packages ready and drain: it takes its
// socket from the supervisor or opens one, says when it is ready, and on SIGINT
// finishes what it has accepted.
package main

import (
	"context"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"

	"supervisor/ready"
	"supervisor/ready/drain"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ln, err := listen()
	if err != nil {
		log.Fatal(err)
	}
	if err := ready.Notify(); err != nil {
		log.Fatal(err)
	}
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, os.Getpid()) })
	if err := drain.Serve(ctx, &http.Server{Handler: handler}, ln); err != nil {
		log.Fatal(err)
	}
}

func listen() (net.Listener, error) {
	lns, err := ready.Listeners()
	if err != nil || len(lns) > 0 {
		return append(lns, nil)[0], err
	}
	return net.Listen("tcp", "127.0.0.1:"+os.Getenv("PORT"))
}
