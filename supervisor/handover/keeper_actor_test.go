package handover

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// act is a daemon's life; it never returns. It ends when the stage is gone.
func act(home string) {
	ready, args := 0, os.Args[2:]
	if len(args) == 2 && args[0] == "--ready-fd" {
		ready, _ = strconv.Atoi(args[1])
		unix.CloseOnExec(ready)
	}
	caught := make(chan os.Signal, 16)
	signal.Notify(caught, forwarded()...)
	keeper, _ := strconv.Atoi(os.Getenv(KeeperVariable))
	held, _ := Inherited(os.Getenv, keeper, anyName)
	holder, err := NewHolder(os.Getenv("NOTIFY_SOCKET"), held)
	if err != nil {
		panic(err)
	}
	for _, name := range ListenVariables() {
		os.Unsetenv(name)
	}
	conn, err := net.Dial("unix", filepath.Join(home, stageSock))
	if err != nil {
		os.Exit(0) // the test is over
	}
	fmt.Fprintln(conn, os.Getpid(), strings.Join(args, " "))
	p := &part{home: home, ready: ready, holder: holder, caught: caught}
	for orders := bufio.NewScanner(conn); orders.Scan(); {
		words := strings.Fields(orders.Text())
		fmt.Fprintln(conn, p.obey(words[0], words[1:]))
	}
	os.Exit(0)
}

// part is what an actor has to play with.
type part struct {
	home   string
	ready  int
	holder *Holder
	caught chan os.Signal
	exits  *Exits
}

func (p *part) obey(verb string, args []string) string {
	switch verb {
	case "exit":
		code, _ := strconv.Atoi(args[0])
		os.Exit(code)
	case "say":
		return result(p.holder.Say(args...))
	case "barrier":
		return result(p.holder.Barrier(context.Background()))
	case "push": // NAME PATH, opened without waiting
		flags := unix.O_RDWR
		if strings.HasSuffix(args[0], ".o") || strings.HasSuffix(args[0], ".e") {
			flags = unix.O_RDONLY
		} else if args[0] == ExeName {
			flags = unix.O_PATH
		}
		fd, err := unix.Open(args[1], flags|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			return err.Error()
		}
		return result(p.holder.Push(args[0], fd))
	case "remove":
		return result(p.holder.Remove(args[0]))
	case "names":
		return strings.Join(untaken(p.holder), " ")
	case "read": // an inherited pipe
		fd, ok := p.holder.Take(args[0])
		if !ok {
			return "not held"
		}
		buf := make([]byte, 4096)
		n, err := unix.Read(fd, buf)
		return fmt.Sprintf("%q %v", buf[:max(n, 0)], err)
	case "take":
		_, ok := p.holder.Take(args[0])
		return fmt.Sprint(ok)
	case "flags": // O_NONBLOCK of an inherited one, which stays untaken
		flags, err := unix.FcntlInt(uintptr(p.holder.inherited[args[0]]), unix.F_GETFL, 0)
		return fmt.Sprint(flags&unix.O_NONBLOCK != 0, err)
	case "ready": // the starter's line
		_, err := unix.Write(p.ready, []byte("ok\n"))
		unix.Close(p.ready)
		return result(err)
	case "env":
		return strconv.Quote(os.Getenv(args[0]))
	case "ppid":
		return strconv.Itoa(os.Getppid())
	case "signal": // waits for one
		return (<-p.caught).String()
	}
	return p.fork(verb, args)
}

// fork has the verbs that start processes.
func (p *part) fork(verb string, args []string) string {
	switch verb {
	case "successor": // another daemon, as an upgrade starts it
		pid, err := syscall.ForkExec("/proc/self/exe", []string{actorName, p.home}, &syscall.ProcAttr{Env: os.Environ(), Files: []uintptr{0, 1, 2}})
		if err != nil {
			return err.Error()
		}
		return strconv.Itoa(pid)
	case "shell": // a command of which the shell's last word is the output
		out, err := exec.Command("/bin/sh", "-c", strings.Join(args, " ")).Output()
		if err != nil {
			return err.Error()
		}
		return strings.TrimSpace(string(out))
	case "reported": // PID START: waits for the keeper's report
		fd, _ := p.holder.Take(ExitsName)
		if p.exits == nil {
			p.exits = NewExits(fd)
		}
		pid, _ := strconv.Atoi(args[0])
		start, _ := strconv.ParseUint(args[1], 10, 64)
		for {
			if status, ok := p.exits.Reported(Proc{pid, start}); ok {
				return howEnded(status, true)
			}
			unix.Poll([]unix.PollFd{{Fd: int32(p.exits.fd), Events: unix.POLLIN}}, -1)
		}
	case "watch": // waits for the end of the keeper, and starts another
		keeper, _ := strconv.Atoi(args[0])
		gone, err := Watch(context.Background(), keeper)
		if err != nil {
			return err.Error()
		}
		unix.Kill(keeper, unix.SIGKILL)
		<-gone
		pid, err := NewKeeper(context.Background(), p.home, "/proc/self/exe", p.holder.Held(), []string{actorName, p.home})
		if err != nil {
			return err.Error()
		}
		os.Setenv(KeeperVariable, strconv.Itoa(pid))
		return strconv.Itoa(pid)
	}
	return "no such order: " + verb
}

func result(err error) string {
	if err != nil {
		return err.Error()
	}
	return "ok"
}
