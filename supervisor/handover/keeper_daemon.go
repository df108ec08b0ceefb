package handover

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"supervisor/signals"
)

// How long the keeper waits with a daemon that has ended before it was ready: minBackoff,
// then twice as long each time.
const (
	minBackoff = 10 * time.Millisecond
	maxBackoff = time.Second
)

// reserved is how many descriptors the keeper needs for itself beside the store.
const reserved = 32

// mainProcess is the daemon.
type mainProcess struct {
	pid   int
	pidfd int
	ready bool
	child bool     // ours, at least when it began
	file  *os.File // pidfd in the poller, where it is no child
}

// signal sends sig to the process and never to a later one of its pid.
func (m *mainProcess) signal(sig unix.Signal) error {
	return unix.PidfdSendSignal(m.pidfd, sig, nil, 0)
}

func (m *mainProcess) forget() {
	if m.file != nil {
		m.file.Close() // ends its goroutine
		return
	}
	unix.Close(m.pidfd)
}

// setMain makes m the daemon. The end of one that is no child is waited for.
func (k *keeper) setMain(m *mainProcess) {
	if k.main != nil {
		k.main.forget()
	}
	k.main = m
	if m.child {
		return
	}
	unix.SetNonblock(m.pidfd, true)
	m.file = os.NewFile(uintptr(m.pidfd), "daemon")
	go func() { // ends with the process, or by forget
		if awaitEnd(m.file) == nil {
			k.gone <- m
		}
	}()
}

// awaitEnd returns nil when the process of a pidfd has ended, which must be non-blocking,
// and else the file's error.
func awaitEnd(pidfd *os.File) error {
	raw, err := pidfd.SyscallConn()
	if err != nil {
		return err
	}
	return raw.Read(func(fd uintptr) bool {
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(p, 0)
		return n == 1 && err == nil
	})
}

// follow makes pid the daemon, by word of the one that it replaces.
func (k *keeper) follow(pid int) {
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		k.say("cannot follow the daemon from pid %d to pid %d: %v", k.main.pid, pid, err)
		return
	}
	k.say("the daemon (pid %d) is replaced by pid %d", k.main.pid, pid)
	k.setMain(&mainProcess{pid: pid, pidfd: pidfd, ready: k.main.ready})
}

// start starts a daemon. why is what happened to the last, "" for none or when it was
// said. An error is that of a keeper that has never had a ready one.
func (k *keeper) start(why string) error {
	if k.out.own {
		k.out.reopen() // the daemon inherits it
	}
	pid, pidfd, err := k.spawn()
	k.trimmer.Touched()
	if err != nil {
		if !k.ever {
			return fmt.Errorf("cannot start the daemon: %w", err)
		}
		k.retry(fmt.Sprintf("cannot start the daemon: %v", err))
		return nil
	}
	k.closeReady()
	k.setMain(&mainProcess{pid: pid, pidfd: pidfd, child: true})
	switch {
	case why != "":
		k.say("%s; started again as pid %d", why, pid)
	case k.ever:
		k.say("the daemon is started again as pid %d", pid)
	}
	return nil
}

// spawn executes the daemon's binary. The one that it has stored is the one that ran: a
// broken one may lie at the path by now. Without it, it is our own.
func (k *keeper) spawn() (pid, pidfd int, err error) {
	files := []uintptr{0, 1, 2}
	all := k.store.all()
	all = append(all, k.own...)
	for _, h := range all {
		files = append(files, uintptr(h.FD))
	}
	argv := k.Daemon
	if k.ReadyFD > 0 {
		argv = append(argv[:len(argv):len(argv)], "--ready-fd", strconv.Itoa(len(files)))
		files = append(files, uintptr(k.ReadyFD))
	}
	pidfd = -1
	attr := &syscall.ProcAttr{Env: k.environment(all), Files: files, Sys: &syscall.SysProcAttr{PidFD: &pidfd}}
	for _, path := range k.binaries() {
		pid, err = syscall.ForkExec(path, argv, attr)
		if err == nil {
			return pid, pidfd, nil
		}
		k.say("cannot execute %s: %v", path, err)
	}
	return 0, -1, err
}

// binaries are paths of the daemon's program, best first. /proc/self is the child by the
// time that they are looked up, in which the descriptors have other numbers, but the same
// exe.
func (k *keeper) binaries() []string {
	own := "/proc/self/exe"
	if fd := k.store.fd(ExeName); fd >= 0 {
		return []string{fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), fd), own}
	}
	return []string{own}
}

// environment is the daemon's: ours, and what a holder tells (sd_notify(3),
// sd_listen_fds(3)).
func (k *keeper) environment(all []namedFD) []string {
	names := make([]string, len(all))
	for i, h := range all {
		names[i] = h.Name
	}
	pid := strconv.Itoa(os.Getpid())
	env := withoutHolder(os.Environ())
	env = append(env,
		"NOTIFY_SOCKET="+k.socketPath(),
		KeeperVariable+"="+pid,
		"LISTEN_PID="+keeperPID+pid,
		"LISTEN_FDS="+strconv.Itoa(len(all)),
		"LISTEN_FDNAMES="+strings.Join(names, ":"))
	if k.up != nil {
		env = append(env, UpwardVariable+"=1")
	}
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) == nil && limit.Cur > 2*reserved {
		env = append(env, "FDSTORE="+strconv.FormatUint(min(limit.Cur-reserved, maxInherited), 10))
	}
	return env
}

// withoutHolder leaves out what another holder has told somebody else.
func withoutHolder(env []string) []string {
	drop := append(ListenVariables(), "NOTIFY_SOCKET", "FDSTORE", KeeperVariable, UpwardVariable, carriedVariable, flipSentinel)
	kept := make([]string, 0, len(env)+8)
next:
	for _, kv := range env {
		for _, name := range drop {
			if strings.HasPrefix(kv, name) && strings.HasPrefix(kv[len(name):], "=") {
				continue next
			}
		}
		kept = append(kept, kv)
	}
	return kept
}

// reap takes the children that have ended, ours and those that descendants have left.
func (k *keeper) reap() {
	for !k.done {
		pid, status, ok := nextZombie()
		if !ok {
			return
		}
		// What a daemon said last may be that another is the daemon now.
		k.receive(true)
		isMain := k.main != nil && k.main.pid == pid
		if !isMain { // before it is gone from /proc, so that nobody finds neither
			if s, err := readStat(pid); err == nil {
				k.exits.report(Exit{Proc{pid, s.start}, status})
			}
		}
		for {
			if _, err := unix.Wait4(pid, nil, 0, nil); err != unix.EINTR {
				break
			}
		}
		if isMain {
			k.mainEnded(status, true)
		}
	}
}

// nextZombie finds a child that has ended and leaves it there (waitid(2), WNOWAIT).
func nextZombie() (pid int, status unix.WaitStatus, ok bool) {
	// siginfo_t as waitid fills it on 64-bit Linux.
	var info struct {
		signo, errno, code, _ int32
		pid, uid              int32
		status                int32
		_                     [100]byte
	}
	const options = unix.WEXITED | unix.WNOWAIT | unix.WNOHANG
	err := error(unix.EINTR)
	for err == unix.EINTR {
		err = unix.Waitid(unix.P_ALL, 0, (*unix.Siginfo)(unsafe.Pointer(&info)), options, nil)
	}
	if err != nil || info.pid == 0 {
		return 0, 0, false
	}
	// si_code of SIGCHLD, sigaction(2), and the layout of wait(2).
	const exited, dumped = 1, 3
	switch status = unix.WaitStatus(info.status); info.code {
	case exited:
		status = (status & 0xff) << 8
	case dumped:
		status |= 0x80
	}
	return int(info.pid), status, true
}

// foreignEnded takes the end of a daemon that is, or was, not our child.
func (k *keeper) foreignEnded(m *mainProcess) {
	k.receive(true) // its last words
	if k.main != m {
		return
	}
	s, err := readStat(m.pid)
	switch {
	case err == nil && s.state == 'Z' && s.ppid == os.Getpid():
		k.reap()
	case err == nil && s.state == 'Z':
		k.mainEnded(s.status, true)
	default:
		k.mainEnded(0, false)
	}
}

// mainEnded decides what follows the daemon's end.
func (k *keeper) mainEnded(status unix.WaitStatus, known bool) {
	m := k.main
	m.forget()
	k.main = nil
	how := fmt.Sprintf("the daemon (pid %d) %s", m.pid, howEnded(status, known))
	switch {
	case k.end != nil:
		k.finish(*k.end)
	case !k.ever:
		k.say("%s before it was ready", how)
		code := exitCode(status, known)
		if code == ExitLocked {
			code = exitFailed
		}
		k.finish(code)
	case !m.ready && k.stop != 0:
		k.say("%s before it could stop the workers (%s): they are left", how, signals.Name(k.stop))
		k.finish(128 + int(k.stop))
	case m.ready:
		k.restart(how)
	default:
		k.retry(how + " before it was ready")
	}
}

// retry starts a daemon after the back-off, and keeps the workers' logs moving meanwhile.
func (k *keeper) retry(why string) {
	k.delay = min(max(2*k.delay, minBackoff), maxBackoff)
	k.say("%s; the next one in %v", why, k.delay)
	k.again = time.After(k.delay)
	k.drain = startDrain(flows(&k.store))
}

// restart starts a daemon now. Nothing else moves the logs by then.
func (k *keeper) restart(why string) {
	k.again = nil
	k.drain.end()
	k.drain = nil
	if err := k.start(why); err != nil {
		k.say("%v", err)
		k.finish(exitFailed)
	}
}

func howEnded(status unix.WaitStatus, known bool) string {
	switch {
	case !known:
		return "has ended, how is not known,"
	case status.Signaled():
		return "was killed by " + signals.Name(status.Signal())
	default:
		return fmt.Sprintf("exited with status %d", status.ExitStatus())
	}
}

// exitCode is a status as a shell gives it, and a failure if it is not known.
func exitCode(status unix.WaitStatus, known bool) int {
	switch {
	case !known:
		return exitFailed
	case status.Signaled():
		return 128 + int(status.Signal())
	default:
		return status.ExitStatus()
	}
}
