package handover

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"supervisor/supervisor/fault"
)

// heirName is what the helper of TakeMain is executed as, argv[0].
const heirName = "supervisor-heir"

// The helper's descriptors: the conversation with this process, and a datagram
// socket that is connected to the manager.
const (
	heirTalk = 3 + iota
	heirNotify
)

// ErrMainLost is the cause when systemd may take the helper for the main process.
// The helper has ended, but is left to be reaped by systemd after this process, which
// has to exit: only so does systemd learn of it, and start another.
var ErrMainLost = errors.New("systemd may take another process for the main one")

// TakeMain makes this process the child of systemd in systemd's own view, after an
// upgrade. When the old process named this one (MAINPID), it was its child: "which
// is not our child" stays with a main process for good, and `systemctl stop` does
// not wait for its end (KillMode=process). So the old process's end is waited for,
// a helper becomes the main process, names this one, which systemd judges anew, and
// ends. Under NotifyAccess=main only the main process is heard, so the helper has to
// say it itself.
//
// notifySocket is the value of NOTIFY_SOCKET; say and barrier are this process's
// words to it (Holder). Nothing but the helper may speak meanwhile: what the process
// says is not heard. It takes some milliseconds. Should this process be killed on
// the way, the helper ends as well and systemd sees the main process end.
func (s *Successor) TakeMain(ctx context.Context, notifySocket string, say func(lines ...string) error, barrier func(context.Context) error) error {
	if err := s.AwaitParent(ctx); err != nil {
		return fmt.Errorf("cannot become the main process: %w", err)
	}
	h, err := startHeir(notifySocket)
	if err != nil {
		return fmt.Errorf("cannot become the main process: %w", err)
	}
	named, err := h.inherit(ctx, say, barrier)
	h.end(err == nil || !named)
	switch {
	case err == nil:
		return nil
	case named:
		err = fmt.Errorf("%w: %w", ErrMainLost, err)
	}
	return fmt.Errorf("cannot become the main process: %w", err)
}

// AwaitParent returns when the old process is no longer this one's parent, or with an
// error that it still is when ctx ends, at its deadline. Its pidfd tells that, and only
// after this process has got another: an EOF on what it had open would come earlier.
//
// Whoever dies before is reaped by the old process, and a systemd that has it for the main
// process (MAINPID) never hears of it.
func (s *Successor) AwaitParent(ctx context.Context) error {
	old, err := openNewcomer(s.parent)
	if err != nil || os.Getppid() != s.parent {
		old.close()
		return nil // it is gone
	}
	defer old.close()
	patience := predecessorTimeout
	if end, ok := ctx.Deadline(); ok {
		patience = time.Until(end)
	}
	if !old.ended(patience) {
		return fmt.Errorf("the supervisor that this one has replaced (pid %d) has not ended", s.parent)
	}
	return nil
}

// heir is the helper.
type heir struct {
	pid  int
	talk *os.File
}

// startHeir forks the helper, which waits for a word.
func startHeir(notifySocket string) (*heir, error) {
	notify, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot open a socket: %w", err)
	}
	defer unix.Close(notify)
	if err := unix.Connect(notify, &unix.SockaddrUnix{Name: notifySocket}); err != nil {
		return nil, fmt.Errorf("cannot reach %s: %w", notifySocket, err)
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot open a socket: %w", err)
	}
	defer unix.Close(pair[1])
	unix.SetNonblock(pair[0], true) // before os.NewFile, so that a deadline ends a read; the other end blocks
	h := &heir{talk: os.NewFile(uintptr(pair[0]), "heir")}
	h.pid, err = syscall.ForkExec("/proc/self/exe", []string{heirName, "MAINPID=" + strconv.Itoa(os.Getpid())}, &syscall.ProcAttr{
		Files: []uintptr{heirTalk: uintptr(pair[1]), heirNotify: uintptr(notify), 0: noFile, 1: noFile, 2: noFile},
	})
	if err != nil {
		h.talk.Close()
		return nil, fmt.Errorf("cannot start a helper: %w", err)
	}
	return h, nil
}

// noFile in ProcAttr.Files leaves a descriptor closed.
const noFile = ^uintptr(0)

// speak makes the helper speak, and returns when it has.
func (h *heir) speak(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { h.talk.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	_, err := h.talk.Write([]byte{1})
	if err == nil {
		_, err = h.talk.Read(make([]byte, 1))
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return context.Cause(ctx)
	}
	if err != nil {
		return fmt.Errorf("the helper ended before it spoke: %w", err)
	}
	return nil
}

// inherit makes the helper the main process and lets it name this one. An error
// when it was named means that it may still be that.
func (h *heir) inherit(ctx context.Context, say func(lines ...string) error, barrier func(context.Context) error) (named bool, err error) {
	if err := say("MAINPID=" + strconv.Itoa(h.pid)); err != nil {
		return false, err
	}
	if err := barrier(ctx); err != nil {
		return true, err
	}
	fault.Point("heir.named")
	if err := h.speak(ctx); err != nil {
		return true, err
	}
	// Before the helper ends: systemd could no longer tell who spoke.
	if err := barrier(ctx); err != nil {
		return true, err
	}
	fault.Point("heir.returned")
	return true, nil
}

// end ends the helper, which is of no more use, or hangs.
func (h *heir) end(reap bool) {
	h.talk.Close()
	unix.Kill(h.pid, unix.SIGKILL) // not reaped yet, so the pid is its own
	if reap {
		eintr(func() (int, error) { return unix.Wait4(h.pid, nil, 0, nil) })
	}
}

// IsHeir tells whether a process with these arguments (os.Args) is the helper that
// TakeMain starts. main asks before it does anything else.
func IsHeir(args []string) bool { return len(args) == 2 && args[0] == heirName }

// HeirMain is the whole of the helper; it returns its exit code. Whoever started it
// can end it at any time by its own end.
func HeirMain(args []string) int {
	word := make([]byte, 1)
	if n, err := eintr(func() (int, error) { return unix.Read(heirTalk, word) }); n < 1 || err != nil {
		return 1
	}
	if _, err := eintr(func() (int, error) { return unix.Write(heirNotify, []byte(args[1])) }); err != nil {
		return 1
	}
	unix.Write(heirTalk, word)
	eintr(func() (int, error) { return unix.Read(heirTalk, word) }) // EOF: it was heard
	return 0
}

// eintr repeats a call that a signal has interrupted.
func eintr(call func() (int, error)) (int, error) {
	for {
		if n, err := call(); err != unix.EINTR {
			return n, err
		}
	}
}
