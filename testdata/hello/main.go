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

	"supervisor/ready"
	"supervisor/ready/drain"
)

const release = 1

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ln, err := listen()
	if err != nil {
		log.Fatal(err)
	}
	http.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "hello from pid %d, release %d\n", os.Getpid(), release)
	})
	ready.Notify()
	if err := drain.Serve(ctx, &http.Server{}, ln); err != nil {
		log.Fatal(err)
	}
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
