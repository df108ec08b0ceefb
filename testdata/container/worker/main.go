// Command worker is what the tests run in a container. It says who it is, and then does
// what its argument says:
//
//	exit CODE    ends
//	die SIGNAL   ends by a signal, a number
//	hang         ends at SIGINT with code 0
//	finish CODE  says `stopping` at SIGINT, and ends at SIGUSR1
//	stubborn     ends by SIGKILL alone
//	orphan       leaves a process to whoever takes it, and hangs
//	serve        says who it is on each connection of the first socket that it is passed
package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"syscall"
)

func main() {
	name := os.Getenv("SUPERVISOR_APP")
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGUSR1)
	number := 0
	if len(os.Args) > 2 {
		number, _ = strconv.Atoi(os.Args[2])
	}
	fmt.Printf("%s is pid %d\n", name, os.Getpid())
	switch os.Args[1] {
	case "exit":
		os.Exit(number)
	case "die":
		signal.Reset()
		syscall.Kill(os.Getpid(), syscall.Signal(number))
		select {}
	case "hang":
		wait(signals, syscall.SIGINT)
	case "stubborn":
		for range signals {
			fmt.Println("stays")
		}
	case "finish":
		stop := wait(signals, syscall.SIGINT, syscall.SIGUSR1)
		if stop == syscall.SIGINT {
			fmt.Printf("%s stopping\n", name)
			wait(signals, syscall.SIGUSR1)
		}
		os.Exit(number)
	case "serve":
		go serve(name)
		wait(signals, syscall.SIGINT)
	case "orphan":
		leave("middle")
		wait(signals, syscall.SIGINT)
	case "middle": // ends at once: its child is the orphan
		leave("child")
		os.Exit(0)
	case "child":
		fmt.Fprintln(os.Stderr, "orphan is pid", os.Getpid())
		signal.Reset()
		select {}
	}
	fmt.Printf("%s ends\n", name)
}

// serve ends with the process.
func serve(name string) {
	const first = 3 // sd_listen_fds(3)
	ln, err := net.FileListener(os.NewFile(first, "socket"))
	for err == nil {
		var conn net.Conn
		if conn, err = ln.Accept(); err == nil {
			fmt.Fprintf(conn, "%s is pid %d\n", name, os.Getpid())
			conn.Close()
		}
	}
	fmt.Println("cannot serve:", err)
}

// wait returns the first of the signals that comes.
func wait(signals <-chan os.Signal, those ...os.Signal) os.Signal {
	for s := range signals {
		for _, one := range those {
			if s == one {
				return s
			}
		}
	}
	return nil
}

// leave starts this program in a session of its own: no stop of the worker reaches it.
// It returns at once for a child, and when a middle one has ended.
func leave(mode string) {
	cmd := exec.Command("/proc/self/exe", mode)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		fmt.Println("cannot leave a process:", err)
		return
	}
	if mode == "middle" {
		cmd.Wait()
	}
}
