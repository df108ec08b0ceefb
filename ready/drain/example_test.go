package drain_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	"supervisor/ready"
	"supervisor/ready/drain"
)

// A server that is replaced without losing a request.
func Example() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	ready.Notify()
	go func() { // what a client and then the supervisor do
		resp, _ := http.Get("http://" + ln.Addr().String())
		io.Copy(os.Stdout, resp.Body)
		resp.Body.Close()
		syscall.Kill(os.Getpid(), syscall.SIGINT)
	}()
	hello := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "hello") })
	fmt.Println(drain.Serve(ctx, &http.Server{Handler: hello}, ln))
	http.DefaultClient.CloseIdleConnections()
	// Output:
	// hello
	// <nil>
}
