// Command worker is the smallest program that the benchmark supervises: it says that it
// is ready, and waits for SIGINT. Without package net it costs little more than the Go
// runtime. Its argument is
//
//	sleep   nothing else
//	lines   on each SIGUSR1 writes 500,000 lines of 100 bytes to stdout, each by a write(2)
//	exit    ends at once
//
// READY_FD gets the ready line. BENCH_FIFO, a fifo, gets a line "WORD PID NANOSECONDS"
// (CLOCK_MONOTONIC) for what happens here, the first of them, "boot", as main's first
// act: what it tells is the time of the exec and what the Go runtime takes to start.
package main

import (
	"bytes"
	"os"
	"os/signal"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// lines is what one SIGUSR1 yields, lineLength bytes each.
const (
	lines      = 500_000
	lineLength = 100
)

func main() {
	tell := teller()
	tell("boot")
	mode := ""
	if len(os.Args) > 1 {
		mode = os.Args[1]
	}
	if mode == "exit" {
		return
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGUSR1)
	ready()
	tell("ready")
	for s := range signals {
		if s != syscall.SIGUSR1 {
			return
		}
		if mode == "lines" {
			tell("begin")
			write()
			tell("end")
		}
	}
}

// teller opens the fifo, if there is one. A write of a line this short is one piece
// (PIPE_BUF, pipe(7)).
func teller() func(word string) {
	var now unix.Timespec
	unix.ClockGettime(unix.CLOCK_MONOTONIC, &now) // before the fifo is opened
	path := os.Getenv("BENCH_FIFO")
	if path == "" {
		return func(string) {}
	}
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		os.Exit(1)
	}
	return func(word string) {
		if word != "boot" {
			unix.ClockGettime(unix.CLOCK_MONOTONIC, &now)
		}
		line := word + " " + strconv.Itoa(os.Getpid()) + " " + strconv.FormatInt(now.Nano(), 10) + "\n"
		unix.Write(fd, []byte(line))
	}
}

// ready writes to READY_FD.
func ready() {
	if fd, err := strconv.Atoi(os.Getenv("READY_FD")); err == nil {
		unix.Write(fd, []byte("ready\n"))
		unix.Close(fd)
	}
}

// write writes the lines, to a non-blocking pipe too.
func write() {
	line := append(bytes.Repeat([]byte("x"), lineLength-1), '\n')
	for range lines {
		for rest := line; len(rest) > 0; {
			n, err := unix.Write(1, rest)
			if err == unix.EAGAIN {
				poll := []unix.PollFd{{Fd: 1, Events: unix.POLLOUT}}
				unix.Poll(poll, -1)
				continue
			}
			if err != nil && err != unix.EINTR {
				os.Exit(1)
			}
			rest = rest[max(n, 0):]
		}
	}
}
