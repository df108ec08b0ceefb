package ready_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	"supervisor/ready"
	"supervisor/ready/drain"
)

// A server that is replaced without losing a request: it takes its sockets from the supervisor
// or opens one, says when it is ready, and on SIGINT finishes what it has begun.
func Example() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ln, err := listen()
	if err != nil {
		fmt.Println(err)
		return
	}
	ready.Notify()
	fmt.Println("serving")
	syscall.Kill(os.Getpid(), syscall.SIGINT) // what the supervisor does to the old worker
	fmt.Println("drained:", drain.Serve(ctx, &http.Server{Handler: http.NotFoundHandler()}, ln))
	// Output:
	// serving
	// drained: <nil>
}

func listen() (net.Listener, error) {
	lns, err := ready.Listeners()
	if err != nil || len(lns) == 0 {
		return net.Listen("tcp", "127.0.0.1:0")
	}
	return lns[0], nil
}
