// Command load runs requests against a server and counts every lost one:
//
//	go run ./testdata/load/cmd -d 10s -c 16 127.0.0.1:3000
//
// It ends after -d, or on SIGINT, with status 1 if a request was lost.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"

	"supervisor/testdata/load"
)

func main() {
	var cfg load.Config
	flag.IntVar(&cfg.Clients, "c", 16, "concurrent clients")
	flag.BoolVar(&cfg.KeepAlive, "k", false, "keep connections alive")
	flag.StringVar(&cfg.Path, "path", "/", "path of the request")
	flag.DurationVar(&cfg.Think, "think", load.DefaultThink, "pause of a client between two requests")
	flag.DurationVar(&cfg.Timeout, "timeout", load.DefaultTimeout, "time after which a request is lost")
	duration := flag.Duration("d", 0, "duration; 0: until SIGINT")
	asJSON := flag.Bool("json", false, "print the result as JSON")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: load [flags] HOST:PORT|/PATH/OF/SOCKET")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() != 1 {
		flag.Usage()
		os.Exit(2)
	}
	cfg.Address = flag.Arg(0)
	if strings.ContainsAny(cfg.Address[:1], "/@.") {
		cfg.Network = "unix"
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if *duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, *duration)
		defer cancel()
	}
	l := load.Run(ctx, cfg)
	<-ctx.Done()
	result := l.Stop()
	if *asJSON {
		json.NewEncoder(os.Stdout).Encode(result)
	} else {
		fmt.Println(result)
	}
	if result.Failed > 0 {
		os.Exit(1)
	}
}
