package cli

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"supervisor/supervisor/control"
)

// The daemon's one line on the ready pipe.
const (
	ReadyOK      = "ok"      // the control socket accepts
	ReadyRunning = "running" // another daemon holds HOME/lock: connect to it
	ReadyError   = "error: " // and why; the daemon exits
)

const (
	readyFD = 3 // the pipe's number in the daemon

	// maxReadyLine bounds what is read of the pipe, in bytes.
	maxReadyLine = 64 << 10

	// daemonStart is how long a daemon may take until its socket accepts. It does
	// not wait for its own apps, but for the end of workers that a dead daemon left
	// (their kill_timeout); its death is seen at once as EOF.
	daemonStart = 5 * time.Minute

	// quotedLog is how many of the log's last bytes a failed start quotes.
	quotedLog = 4 << 10
)

// startBackground starts a daemon for home if none answers, and returns when
// one does. Two at once yield one daemon: whoever is starting one holds a lock
// on the folder (flock(2)), and the daemon itself one on HOME/lock.
func (s *session) startBackground(ctx context.Context, home string) error {
	if err := ensureHome(home); err != nil {
		return err
	}
	unlock, err := lockFolder(home)
	if err != nil {
		return failed("cannot start the supervisor: cannot lock %s: %v", home, err)
	}
	defer unlock()
	client := control.Dial(filepath.Join(home, socketName))
	if _, err := client.Ping(ctx); !errors.Is(err, control.ErrNoDaemon) {
		return err // somebody was faster, or there is one that is ill
	}
	return s.spawnDaemon(ctx, home)
}

// lockFolder waits for the lock; the kernel drops it when we die.
func lockFolder(dir string) (unlock func(), err error) {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	for {
		if err = unix.Flock(fd, unix.LOCK_EX); err != unix.EINTR {
			break
		}
	}
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return func() { unix.Close(fd) }, nil
}

// keeperArgs are the arguments of the keeper in the background, and after -- of the
// daemon that it starts. The keeper passes the ready pipe on, to the first one alone, with
// its --ready-fd, and keeps no copy.
func keeperArgs(home string, readyFD int) []string {
	return []string{"supervisor-keeper", home, "--ready-fd", strconv.Itoa(readyFD), "--", "supervisor", "daemon"}
}

// daemonArgs are those of a daemon with nobody above it.
func daemonArgs(readyFD int) []string {
	return []string{"supervisor", "daemon", "--ready-fd", strconv.Itoa(readyFD)}
}

// spawnDaemon runs this program again as a keeper with a daemon below it, in a session
// of their own, and waits for the daemon's line.
func (s *session) spawnDaemon(ctx context.Context, home string) error {
	logPath := filepath.Join(home, daemonLogName)
	logFD, err := unix.Open(logPath, unix.O_WRONLY|unix.O_CREAT|unix.O_APPEND|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return failed("cannot start the supervisor: cannot open %s: %v", logPath, err)
	}
	defer unix.Close(logFD)
	logged, _ := unix.Seek(logFD, 0, io.SeekEnd)
	null, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return failed("cannot start the supervisor: cannot open /dev/null: %v", err)
	}
	defer unix.Close(null)
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		return failed("cannot start the supervisor: %v", err)
	}
	unix.SetNonblock(pipe[0], true)
	ready := os.NewFile(uintptr(pipe[0]), "ready")
	defer ready.Close()

	args := daemonArgs(readyFD)
	if s.env.Keeper != nil {
		args = keeperArgs(home, readyFD)
	}
	pid, err := syscall.ForkExec(s.env.Executable, args, &syscall.ProcAttr{
		Dir:   "/",
		Env:   append(withoutVariable(s.env.Environ(), "SUPERVISOR_HOME"), "SUPERVISOR_HOME="+home),
		Files: []uintptr{uintptr(null), uintptr(logFD), uintptr(logFD), uintptr(pipe[1])},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	unix.Close(pipe[1])
	if err != nil {
		return failed("cannot start the supervisor: cannot execute %s: %v", s.env.Executable, err)
	}
	line, err := readyLine(ctx, ready)
	switch {
	case ctx.Err() != nil:
		return errInterrupted
	case line == ReadyOK:
		return nil
	case line == ReadyRunning:
		return awaitSocket(ctx, home)
	case strings.HasPrefix(line, ReadyError):
		reap(pid)
		return failed("cannot start the supervisor: %s", strings.TrimPrefix(line, ReadyError))
	case errors.Is(err, os.ErrDeadlineExceeded):
		return failed("cannot start the supervisor: pid %d is not ready after %v; look at %s", pid, daemonStart, logPath)
	}
	reap(pid)
	return daemonDied(logPath, logged)
}

func withoutVariable(env []string, name string) []string {
	var kept []string
	for _, kv := range env {
		if !strings.HasPrefix(kv, name+"=") {
			kept = append(kept, kv)
		}
	}
	return kept
}

// readyLine reads the daemon's line; io.EOF when it died without one.
func readyLine(ctx context.Context, f *os.File) (string, error) {
	f.SetReadDeadline(time.Now().Add(daemonStart))
	stop := context.AfterFunc(ctx, func() { f.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	var got []byte
	buf := make([]byte, 4096)
	for len(got) < maxReadyLine {
		n, err := f.Read(buf)
		got = append(got, buf[:n]...)
		if line, _, whole := bytes.Cut(got, []byte("\n")); whole {
			return string(line), nil
		}
		if err != nil {
			return "", err
		}
	}
	return "", errors.New("the ready line has no end")
}

// reap takes a daemon's exit status, if it has ended, so that no zombie stays
// while we print.
func reap(pid int) {
	var ws unix.WaitStatus
	unix.Wait4(pid, &ws, unix.WNOHANG, nil)
}

// daemonDied quotes what the daemon logged before its end.
func daemonDied(logPath string, from int64) error {
	e := failed("cannot start the supervisor: it ended before it was ready; its log is %s", logPath)
	f, err := os.Open(logPath)
	if err != nil {
		return e
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size()-from > quotedLog {
		from = info.Size() - quotedLog
	}
	b, _ := io.ReadAll(io.NewSectionReader(f, from, quotedLog))
	if text := strings.TrimSpace(string(b)); text != "" {
		return withDetails(e, strings.Split(text, "\n"))
	}
	return e
}

// awaitSocket waits for a daemon that holds the lock but may not accept yet: it
// tries again whenever something happens in its folder (inotify(7)). The daemon
// writes its pid file after its socket listens, so that is never missed.
func awaitSocket(ctx context.Context, home string) error {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return failed("cannot wait for the other supervisor: %v", err)
	}
	events := os.NewFile(uintptr(fd), "inotify")
	defer events.Close()
	const mask = unix.IN_CREATE | unix.IN_MOVED_TO | unix.IN_ATTRIB | unix.IN_CLOSE_WRITE
	if _, err := unix.InotifyAddWatch(fd, home, mask); err != nil {
		return failed("cannot wait for the other supervisor: %v", err)
	}
	events.SetReadDeadline(time.Now().Add(daemonStart))
	stop := context.AfterFunc(ctx, func() { events.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	client := control.Dial(filepath.Join(home, socketName))
	buf := make([]byte, 4096)
	for {
		if _, err := client.Ping(ctx); !errors.Is(err, control.ErrNoDaemon) {
			return err
		}
		if _, err := events.Read(buf); err != nil {
			return failed("cannot reach the supervisor that holds %s: its socket does not answer", filepath.Join(home, "lock"))
		}
	}
}
