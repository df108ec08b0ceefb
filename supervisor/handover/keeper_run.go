package handover

import (
	"fmt"
	"math"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"supervisor/signals"
	"supervisor/supervisor/notify"
	"supervisor/supervisor/trim"
)

// trimMessages is after how many messages the keeper makes itself small again.
const trimMessages = 256

// keeper is one Keeper at work. The goroutine of run owns all of it.
type keeper struct {
	KeeperOptions
	out   keeperLog
	up    *notify.Sender // nil: nobody hears of the service
	heard bool           // up has
	own   []namedFD      // what whoever started us gave us (systemd.socket(5)): each daemon gets them

	lock   int // KeeperLock
	socket *notifySocket
	store  fdStore
	exits  exitPipe

	main  *mainProcess // nil: between two daemons
	ever  bool         // a daemon has said READY
	delay time.Duration
	end   *int // said by X_END

	stop              unix.Signal        // INT or TERM, once it came
	pending           map[os.Signal]bool // others that wait for a READY
	again             <-chan time.Time   // the end of a back-off
	drain             *drain             // at work during a back-off
	gone              chan *mainProcess  // one that is not our child has ended
	signals, children chan os.Signal

	trimmer  *trim.Timer
	messages int
	reexec   bool // asked for
	done     bool
	code     int
}

func newKeeper(o KeeperOptions) *keeper {
	return &keeper{
		KeeperOptions: o, out: newKeeperLog(o.Home), lock: -1, exits: exitPipe{-1, -1},
		store: newFDStore(), pending: map[os.Signal]bool{}, gone: make(chan *mainProcess),
		signals: make(chan os.Signal, 16), children: make(chan os.Signal, 1),
	}
}

func (k *keeper) socketPath() string { return filepath.Join(k.Home, NotifySocket) }

func (k *keeper) say(format string, args ...any) { k.out.say(fmt.Sprintf(format, args...)) }

// forwarded are the signals that are the daemon's (README, signals).
func forwarded() []os.Signal {
	return []os.Signal{unix.SIGHUP, unix.SIGINT, unix.SIGTERM, unix.SIGUSR1, unix.SIGUSR2}
}

// begin gets everything up to the first daemon. An error leaves nothing that the end of
// the process does not end.
func (k *keeper) begin() error {
	// Before anything else opens one.
	_, given := Inherited(os.Getenv, -1, func(string) bool { return false })
	for _, g := range given {
		k.own = append(k.own, namedFD(g))
	}
	if k.Upward != "" {
		var err error
		if k.up, err = notify.NewSender(k.Upward); err != nil {
			return err
		}
	}
	// A careless parent's descriptors are nobody's.
	unix.CloseRange(firstFD, math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC) // before 5.11: they stay
	signal.Ignore(unix.SIGPIPE, unix.SIGXFSZ)
	signal.Notify(k.signals, forwarded()...)
	signal.Notify(k.children, unix.SIGCHLD)
	unblockSignals()
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("cannot become the reaper of its descendants: %w", err)
	}
	k.trimmer = trim.New()
	if resumed, err := k.resume(); resumed || err != nil {
		return err
	}
	waited, err := k.takeLock()
	if err != nil {
		return err
	}
	if k.Watch > 0 {
		k.takeOver()
	}
	if k.exits, err = newExitPipe(); err != nil {
		return err
	}
	report, err := unix.FcntlInt(uintptr(k.exits.r), unix.F_DUPFD_CLOEXEC, 0) // the store's own, which a daemon may remove
	if err != nil {
		return err
	}
	k.store.put(ExitsName, report)
	if k.socket, err = listenNotify(k.socketPath()); err != nil {
		return err
	}
	return k.first(waited)
}

// first starts the first daemon, or says that it keeps one that lives.
func (k *keeper) first(waited bool) error {
	switch {
	case k.Watch == 0:
		return k.start("")
	case k.main == nil && waited:
		return fmt.Errorf("the daemon (pid %d) is gone, and another keeper was here since", k.Watch)
	case k.main == nil:
		return k.start(fmt.Sprintf("the daemon (pid %d) ended while its keeper was replaced", k.Watch))
	}
	if k.UpFD > 0 {
		unix.Write(k.UpFD, []byte{'k'})
		unix.Close(k.UpFD)
		k.UpFD = 0
	}
	k.say("keeps the daemon (pid %d) from now on", k.Watch)
	return nil
}

// takeLock makes the home ours. A new keeper for a living daemon waits for it, since
// nothing but a keeper that is about to leave can have it then; whoever waits for us
// gives up in time.
func (k *keeper) takeLock() (waited bool, err error) {
	path := filepath.Join(k.Home, KeeperLock)
	if k.lock, err = openRetry(path, unix.O_RDWR|unix.O_CREAT|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600); err != nil {
		return false, fmt.Errorf("cannot open %s: %w", path, err)
	}
	err = unix.Flock(k.lock, unix.LOCK_EX|unix.LOCK_NB)
	if err == unix.EWOULDBLOCK {
		if k.Watch == 0 {
			return false, errLocked
		}
		waited = true
		for err = unix.EINTR; err == unix.EINTR; {
			err = unix.Flock(k.lock, unix.LOCK_EX)
		}
	}
	if err != nil {
		return waited, fmt.Errorf("cannot lock %s: %w", path, err)
	}
	return waited, nil
}

// takeOver takes what our parent, the daemon to watch, has given us.
func (k *keeper) takeOver() {
	held, _ := Inherited(os.Getenv, k.Watch, anyName)
	for name, fd := range held {
		if name == ExitsName { // the dead keeper's
			unix.Close(fd)
			continue
		}
		k.store.put(name, fd)
	}
	for _, name := range ListenVariables() {
		os.Unsetenv(name)
	}
	k.ever = true
	pidfd, err := unix.PidfdOpen(k.Watch, 0)
	if err != nil || os.Getppid() != k.Watch { // a dead one's number may be another's already
		unix.Close(pidfd)
		return
	}
	k.setMain(&mainProcess{pid: k.Watch, pidfd: pidfd, ready: true})
}

// anyName takes whatever a daemon stores for one of its own.
func anyName(string) bool { return true }

// run is the keeper's life from the first daemon to the last one's end.
func (k *keeper) run() int {
	k.reap() // what ended while this program was being executed
	for !k.done {
		if k.reexec {
			k.reexec = false
			k.executeAnew()
		}
		select {
		case <-k.children:
			k.reap()
		case <-k.socket.readable:
			k.receive(false)
			k.socket.drained <- struct{}{}
		case m := <-k.gone:
			k.foreignEnded(m)
		case sig := <-k.signals:
			k.forward(sig)
		case <-k.again:
			k.restart("")
		}
	}
	k.socket.remove()
	return k.code
}

// finish ends run.
func (k *keeper) finish(code int) {
	k.done, k.code = true, code
	k.drain.end()
}

// forward gives the daemon a signal that was sent to us. One that is not ready may not
// have a handler yet and die of it: then the signal waits. Only a stop that is asked for
// again, or before any daemon was ready, does not.
func (k *keeper) forward(sig os.Signal) {
	if sig != unix.SIGINT && sig != unix.SIGTERM {
		if k.main == nil || !k.main.ready || k.main.signal(sig.(unix.Signal)) != nil {
			k.pending[sig] = true
		}
		return
	}
	twice := k.stop != 0
	k.stop = sig.(unix.Signal)
	switch {
	case k.main == nil:
		k.restart("")
	case k.main.ready || !k.ever || twice:
		if err := k.main.signal(k.stop); err != nil {
			k.say("cannot give %s to the daemon (pid %d): %v", signals.Name(k.stop), k.main.pid, err)
		}
	}
}

// isReady takes the daemon's READY: what has waited for it is due.
func (k *keeper) isReady() {
	if k.main.ready {
		return
	}
	k.main.ready, k.ever, k.delay = true, true, 0
	if k.stop != 0 {
		k.main.signal(k.stop)
	}
	for sig := range k.pending {
		k.main.signal(sig.(unix.Signal))
	}
	clear(k.pending)
}
