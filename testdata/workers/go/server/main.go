// Command server is a worker for tests: it prints its pid, answers every
// request with it and drains on SIGINT. -mode, or the variable MODE, makes it
// misbehave in one way:
//
//	serve       binds PORT by itself (on HOST), or SOCKET_PATH; drains
//	listenfds   takes its sockets from LISTEN_FDS
//	ready-late  listens at once and says ready after -delay
//	ignore-int  ignores SIGINT, and so does a child that it starts
//	crash       fails at boot
//	exit-after  says ready, and fails after -delay
//	shutdown    drains with net/http's Shutdown alone, which loses requests
//	never       neither listens nor says ready
//
// /slow?ms=300 is answered after that time; each SIGUSR1 is told by a line. With the variable LINES it prints numbered
// lines as well (testdata/crash/lines), to its very end.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

// firstListenFD is SD_LISTEN_FDS_START of sd_listen_fds(3).
const firstListenFD = 3

var (
	mode   = flag.String("mode", cmp.Or(os.Getenv("MODE"), "serve"), "behaviour")
	delay  = flag.Duration("delay", envDuration("DELAY", 500*time.Millisecond), "for ready-late and exit-after")
	linger = flag.Duration("linger", envDuration("LINGER", time.Second),
		"how long a drain waits for one more request on idle connections")
)

func main() {
	flag.Parse()
	log.SetFlags(0)
	fmt.Println("pid", os.Getpid())
	switch *mode {
	case "crash":
		log.Fatal("crash at boot: no database")
	case "ignore-child":
		signal.Ignore(syscall.SIGINT)
		fmt.Println("child", os.Getpid())
		hang()
	case "never":
		hang()
	case "ignore-int":
		signal.Ignore(syscall.SIGINT)
		startChild()
	}
	end, err := printLines()
	if err != nil {
		log.Fatal(err)
	}
	err = run()
	end()
	if err != nil {
		log.Fatal(err)
	}
}

// printLines begins to print numbered lines; it does in lines.go alone, so that the rest
// builds without this module.
var printLines = func() (end func(), err error) { return func() {}, nil }

// run serves until SIGINT has been followed by a complete drain.
func run() error {
	stop := make(chan os.Signal, 1)
	if *mode != "ignore-int" {
		signal.Notify(stop, syscall.SIGINT)
	}
	told := make(chan os.Signal, 8)
	signal.Notify(told, syscall.SIGUSR1)
	go func() { // ends with the process
		for range told {
			fmt.Println("SIGUSR1")
		}
	}()
	lns, err := listeners()
	if err != nil {
		return err
	}
	d := newDrainer(*linger)
	srv := &http.Server{Handler: d.wrap(http.HandlerFunc(answer)), ConnState: d.watch}
	failed := make(chan error, len(lns))
	for _, ln := range lns {
		go func() { failed <- srv.Serve(ln) }() // ended by the drain
	}
	fmt.Println("listening")
	if *mode == "ready-late" {
		<-time.After(*delay)
	}
	if err := sayReady(); err != nil {
		return err
	}
	var giveUp <-chan time.Time
	if *mode == "exit-after" {
		giveUp = time.After(*delay)
	}
	select {
	case err := <-failed:
		return err
	case <-giveUp:
		return errors.New("cannot reach the queue, giving up")
	case <-stop:
	}
	draining := func() { fmt.Println("draining") }
	if *mode == "shutdown" {
		srv.RegisterOnShutdown(draining)
		return srv.Shutdown(context.Background())
	}
	return d.drain(srv, lns, failed, draining)
}

// answer is the pid, in the body and in X-Pid.
func answer(w http.ResponseWriter, r *http.Request) {
	pid := strconv.Itoa(os.Getpid())
	if ms, err := strconv.Atoi(r.URL.Query().Get("ms")); err == nil && ms > 0 {
		fmt.Println("slow")
		<-time.After(time.Duration(ms) * time.Millisecond)
	}
	w.Header().Set("X-Pid", pid)
	fmt.Fprint(w, pid)
}

// listeners opens what the mode and the environment ask for.
func listeners() ([]net.Listener, error) {
	if *mode == "listenfds" {
		return inherited()
	}
	if path := os.Getenv("SOCKET_PATH"); path != "" {
		if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
			return nil, err
		}
		ln, err := net.Listen("unix", path)
		return []net.Listener{ln}, err
	}
	ln, err := net.Listen("tcp", net.JoinHostPort(os.Getenv("HOST"), os.Getenv("PORT")))
	return []net.Listener{ln}, err
}

// inherited takes the sockets of sd_listen_fds(3).
func inherited() ([]net.Listener, error) {
	if os.Getenv("LISTEN_PID") != strconv.Itoa(os.Getpid()) {
		return nil, fmt.Errorf("LISTEN_PID is %q, not mine", os.Getenv("LISTEN_PID"))
	}
	n, err := strconv.Atoi(os.Getenv("LISTEN_FDS"))
	if err != nil || n < 1 {
		return nil, fmt.Errorf("LISTEN_FDS is %q", os.Getenv("LISTEN_FDS"))
	}
	var lns []net.Listener
	for fd := firstListenFD; fd < firstListenFD+n; fd++ {
		file := os.NewFile(uintptr(fd), "listener")
		ln, err := net.FileListener(file)
		file.Close()
		if err != nil {
			return nil, fmt.Errorf("fd %d: %w", fd, err)
		}
		lns = append(lns, ln)
	}
	return lns, nil
}

// sayReady writes the ready line to READY_FD, where there is one.
func sayReady() error {
	text := os.Getenv("READY_FD")
	if text == "" {
		return nil
	}
	fd, err := strconv.Atoi(text)
	if err != nil {
		return fmt.Errorf("READY_FD is %q", text)
	}
	file := os.NewFile(uintptr(fd), "ready")
	defer file.Close()
	_, err = file.WriteString("ready\n")
	return err
}

// startChild starts a child in the same group that ignores SIGINT as well.
func startChild() {
	child := exec.Command(os.Args[0], "-mode", "ignore-child")
	child.Stdout, child.Stderr = os.Stdout, os.Stderr
	if err := child.Start(); err != nil {
		log.Fatal(err)
	}
}

// hang waits for ever; a signal channel keeps the runtime from calling it a
// deadlock.
func hang() {
	never := make(chan os.Signal, 1)
	signal.Notify(never, syscall.SIGWINCH)
	for range never {
	}
}

func envDuration(name string, otherwise time.Duration) time.Duration {
	if d, err := time.ParseDuration(os.Getenv(name)); err == nil {
		return d
	}
	return otherwise
}
