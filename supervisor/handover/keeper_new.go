package handover

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// NewKeeper starts a new keeper for this process, a daemon whose keeper has died, and
// returns when it keeps. binary is what it executes (/proc/self/exe is this program), held
// is Holder.Held, daemonArgv the argument vector of the next daemon. Afterwards
// KeeperVariable is to be set to pid, and Holder.Resend tells it what has changed
// meanwhile; NOTIFY_SOCKET stays.
//
// The keeper is a child of the daemon, in a session of its own, and outlives it. Errors:
// the binary's, that it did not come up, ctx's; then there is no new keeper.
func NewKeeper(ctx context.Context, home, binary string, held map[string]int, daemonArgv []string) (pid int, err error) {
	pid, err = newKeeperProcess(ctx, home, binary, held, daemonArgv)
	if err != nil {
		return 0, fmt.Errorf("cannot start a new keeper: %w", err)
	}
	return pid, nil
}

func newKeeperProcess(ctx context.Context, home, binary string, held map[string]int, daemonArgv []string) (int, error) {
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return 0, err
	}
	up := os.NewFile(uintptr(pipe[0]), "up")
	defer up.Close()
	names := slices.Sorted(maps.Keys(held))
	files := []uintptr{0, 1, 2}
	for _, name := range names {
		files = append(files, uintptr(held[name]))
	}
	self := strconv.Itoa(os.Getpid())
	o := KeeperOptions{Home: home, Watch: os.Getpid(), UpFD: len(files), Daemon: daemonArgv}
	pid, err := syscall.ForkExec(binary, o.Args(), &syscall.ProcAttr{
		Dir: "/",
		Env: append(withoutHolder(os.Environ()), "LISTEN_PID="+keeperPID+self,
			"LISTEN_FDS="+strconv.Itoa(len(names)), "LISTEN_FDNAMES="+strings.Join(names, ":")),
		Files: append(files, uintptr(pipe[1])),
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	unix.Close(pipe[1])
	if err != nil {
		return 0, fmt.Errorf("cannot execute %s: %w", binary, err)
	}
	stop := context.AfterFunc(ctx, func() { up.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err = up.Read(make([]byte, 1)); err == nil {
		return pid, nil
	}
	unix.Kill(pid, unix.SIGKILL) // a child that is not reaped yet: no other has the pid
	var status unix.WaitStatus
	for {
		if _, werr := unix.Wait4(pid, &status, 0, nil); werr != unix.EINTR {
			break
		}
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return 0, context.Cause(ctx)
	}
	return 0, fmt.Errorf("it %s", howEnded(status, true))
}

// Watch returns a channel that is closed when the keeper with that pid has ended, and
// takes its zombie if it was our child; ctx ends the wait, and then nothing is closed.
// Where there is no such keeper, or the pid is another's by now, it has ended. The error
// is that it can't be watched.
func Watch(ctx context.Context, keeperPID int) (<-chan struct{}, error) {
	gone := make(chan struct{})
	pidfd, err := unix.PidfdOpen(keeperPID, 0)
	if err == unix.ESRCH {
		close(gone)
		return gone, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot watch the keeper (pid %d): %w", keeperPID, err)
	}
	if !keeps(keeperPID, pidfd) {
		unix.Close(pidfd)
		unix.Wait4(keeperPID, nil, unix.WNOHANG, nil)
		close(gone)
		return gone, nil
	}
	unix.SetNonblock(pidfd, true)
	file := os.NewFile(uintptr(pidfd), "keeper")
	stop := context.AfterFunc(ctx, func() { file.Close() })
	go func() { // ends with the keeper or ctx
		defer stop()
		if awaitEnd(file) != nil {
			return
		}
		file.Close()
		unix.Wait4(keeperPID, nil, unix.WNOHANG, nil)
		close(gone)
	}()
	return gone, nil
}

// maxExec is how long a keeper may take to execute itself anew, in milliseconds.
const maxExec = 1000

// keeps reports whether a process, which pidfd is open on, is a keeper that lives. While
// it executes itself anew it has no arguments, as one that has ended has none.
func keeps(pid, pidfd int) bool {
	for range maxExec {
		cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if err != nil {
			return false
		}
		if len(cmdline) > 0 {
			name, _, _ := bytes.Cut(cmdline, []byte{0})
			return string(name) == KeeperName
		}
		end := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
		if n, _ := unix.Poll(end, 1); n > 0 {
			return false
		}
	}
	return false
}
