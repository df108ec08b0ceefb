// Command spawn measures what the exec shim adds to a fork and exec. It is a program of
// its own because the shim is the binary of whoever starts it: this one has the
// packages of the supervisor, so its shim costs what the supervisor's does.
//
//	spawn COUNT PROGRAM [ARG...]
//
// runs PROGRAM through the shim (with the filter that finds sockets) and bare, in turns,
// and prints the medians in nanoseconds: {"shim":N,"bare":N}.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	_ "supervisor/supervisor/cli"    // for its package init
	_ "supervisor/supervisor/daemon" // likewise
	"supervisor/supervisor/process"
)

func main() {
	if process.IsShim(os.Args) {
		process.ShimMain()
	}
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) < 2 {
		return fmt.Errorf("usage: spawn COUNT PROGRAM [ARG...]")
	}
	count, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	var shim, bare []time.Duration
	for range count {
		begun := time.Now()
		if err := throughShim(args[1], args[1:]); err != nil {
			return err
		}
		shim = append(shim, time.Since(begun))
		begun = time.Now()
		if err := exec.Command(args[1], args[2:]...).Run(); err != nil {
			return err
		}
		bare = append(bare, time.Since(begun))
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]time.Duration{"shim": median(shim), "bare": median(bare)})
}

// throughShim is one program's life as the daemon begins it.
func throughShim(path string, argv []string) error {
	c, err := process.Start(process.Spec{
		Path: path, Argv: argv, Env: os.Environ(),
		Stdin: -1, Stdout: -1, Stderr: -1, Filter: process.FilterListen,
	})
	if err != nil {
		return err
	}
	fd := c.TakeNotifyFD()
	if err := c.Go(); err != nil {
		return err
	}
	<-c.Gone()
	if fd >= 0 {
		unix.Close(fd)
	}
	return nil
}

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}
