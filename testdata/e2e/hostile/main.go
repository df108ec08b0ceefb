// Command hostile is a worker for tests that does to its supervisor what a worker
// may do, well or badly. Its first argument is the behaviour:
//
//	calm      says ready, prints a line on each stream for every SIGUSR2, bye at its end
//	late      says ready at the first SIGUSR2
//	lines N   prints N numbered lines, says ready
//	flood     says ready, then writes lines as fast as it can
//	channels  writes garbage into every ready channel as fast as it can
//	ipc-long      says ready, then three lines of 100 MB on its node channel, and that it is done
//	ipc-garbage   the same with 4 MB of lines that mean nothing
//	ipc-messages  the same with 10,000 messages a second, for five seconds
//	ipc-deaf      says ready on its node channel and never reads there
//	ipc-full      the same, and makes it full: with handles, which have to be answered
//	mute      closes its ready channels
//	swarm N   starts N children that ignore SIGINT, says ready, ignores it too
//	self      prints its uid, gid, umask, nice value and limit of open files
//	bind      listens on PORT, says ready
//
// All end with SIGINT but swarm.
package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
)

func main() {
	stop, poke := make(chan os.Signal, 1), make(chan os.Signal, 16)
	signal.Notify(stop, syscall.SIGINT)
	signal.Notify(poke, syscall.SIGUSR2)
	if len(os.Args) < 2 {
		fail("no behaviour")
	}
	switch os.Args[1] {
	case "calm":
		ready()
	case "late":
		fmt.Println("late")
		<-poke
		ready()
	case "lines":
		for n := range number() {
			fmt.Printf("line %07d of a worker that has much to say\n", n)
		}
		ready()
	case "flood":
		ready()
		go flood(os.Stdout, []byte(strings.Repeat("a line that says nothing at all, and says it again and again\n", 500))) // ends with the process
	case "channels":
		channels()
	case "ipc-long", "ipc-garbage", "ipc-messages", "ipc-deaf", "ipc-full":
		go channel(os.Args[1]) // ends with the process
	case "mute":
		for _, fd := range []string{"READY_FD", "NODE_CHANNEL_FD"} {
			if n, err := strconv.Atoi(os.Getenv(fd)); err == nil {
				syscall.Close(n)
			}
		}
		fmt.Println("mute")
	case "swarm":
		swarm()
	case "self":
		self()
		ready()
	case "bind":
		ln, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", os.Getenv("PORT")))
		if err != nil {
			fail(err)
		}
		defer ln.Close()
		ready()
	default:
		fail("no such behaviour: ", os.Args[1])
	}
	for n := 1; ; n++ {
		select {
		case <-stop:
			fmt.Println("bye")
			return
		case <-poke:
			fmt.Printf("out %d\n", n)
			fmt.Fprintf(os.Stderr, "err %d\n", n)
		}
	}
}

func fail(words ...any) {
	fmt.Fprintln(os.Stderr, words...)
	os.Exit(1)
}

func number() int {
	n, err := strconv.Atoi(os.Args[2])
	if err != nil {
		fail(err)
	}
	return n
}

// ready says so by READY_FD.
func ready() {
	if fd, err := strconv.Atoi(os.Getenv("READY_FD")); err == nil {
		f := os.NewFile(uintptr(fd), "ready")
		f.WriteString("ready\n")
		f.Close()
	}
}

func flood(f *os.File, b []byte) {
	for {
		if _, err := f.Write(b); err != nil {
			return
		}
	}
}

// channels floods: a line without end on READY_FD, datagrams that mean nothing, and
// messages and garbage for the node channel.
func channels() {
	garbage := []byte(strings.Repeat("\x00{\"\xff[", 10000))
	if fd, err := strconv.Atoi(os.Getenv("READY_FD")); err == nil {
		go flood(os.NewFile(uintptr(fd), "ready"), garbage) // these end with the process
	}
	if fd, err := strconv.Atoi(os.Getenv("NODE_CHANNEL_FD")); err == nil {
		message := []byte(strings.Repeat("{\"a\":\"message\"}\n", 1000))
		go flood(os.NewFile(uintptr(fd), "node"), append(message, garbage...))
	}
	if path := os.Getenv("NOTIFY_SOCKET"); path != "" {
		conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
		if err != nil {
			fail(err)
		}
		go func() {
			for n := 0; ; n++ {
				conn.Write([]byte(fmt.Sprintf("STATUS=%d\nWATCHDOG=1\nBARRIER=x\n=\x00\n", n)))
			}
		}()
	}
	fmt.Println("flooding")
}

// swarm is a fork bomb with an end.
func swarm() {
	signal.Ignore(syscall.SIGINT)
	if os.Getenv("OF_THE_SWARM") != "" {
		fmt.Println("one more")
		<-make(chan os.Signal)
	}
	for range number() {
		child := exec.Command(os.Args[0], os.Args[1:]...)
		child.Env = append(os.Environ(), "OF_THE_SWARM=1")
		child.Stdout, child.Stderr = os.Stdout, os.Stderr
		if err := child.Start(); err != nil {
			fail(err)
		}
	}
	ready()
}

func self() {
	mask := syscall.Umask(0)
	nice, _ := syscall.Getpriority(syscall.PRIO_PROCESS, 0)
	var files syscall.Rlimit
	syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files)
	groups, _ := os.Getgroups()
	fmt.Printf("uid %d gid %d groups %v umask %03o nice %d nofile %d home %s user %s\n",
		os.Getuid(), os.Getgid(), groups, mask, 20-nice, files.Max, os.Getenv("HOME"), os.Getenv("USER"))
}
