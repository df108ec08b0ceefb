package handover

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// What the keeper and those around it agree on.
const (
	// KeeperName is argv[0] of a keeper.
	KeeperName = "supervisor-keeper"

	// KeeperVariable tells a daemon the pid of its keeper.
	KeeperVariable = "SUPERVISOR_KEEPER"

	// UpwardVariable tells a daemon that its keeper passes on what is said of the service
	// (KeeperOptions.Upward).
	UpwardVariable = "SUPERVISOR_UPWARD"

	// NotifySocket and KeeperLock are files in HOME. The lock (flock(2)) is the keeper's
	// for as long as it lives; whoever has it owns the socket.
	NotifySocket = "notify.sock"
	KeeperLock   = "keeper.lock"

	// pidFile is the daemon's, in HOME.
	pidFile = "supervisor.pid"

	// ExitsName and ExeName are names in the store: the pipe of reports (Exits), which
	// the keeper itself puts there, and the daemon's own binary, opened with O_PATH.
	ExitsName = "exits"
	ExeName   = "exe"

	// ExitLocked is the exit status of a daemon that finds its home taken (EX_TEMPFAIL of
	// sysexits.h): its keeper is not to try again.
	ExitLocked = 75

	// exitFailed is the keeper's own failure.
	exitFailed = 1

	// The daemon's words on the ready pipe, which a keeper says that gets no daemon
	// started.
	readyRunning = "running\n"
	readyError   = "error: %v\n"
)

// errLocked is a home that has a keeper.
var errLocked = errors.New("another supervisor keeps it")

// KeeperOptions is how a keeper is started.
type KeeperOptions struct {
	Home string // SUPERVISOR_HOME, absolute

	// Daemon is the daemon's argument vector. The first daemon gets --ready-fd and the
	// number appended, if there is a ReadyFD.
	Daemon []string

	// ReadyFD is a descriptor for the first daemon alone, 0 for none: the pipe on which
	// whoever started the keeper waits.
	ReadyFD int

	// Watch is the pid of a daemon that lives already, our parent; 0: the keeper starts
	// one.
	Watch int

	// UpFD gets one byte when the keeper keeps, 0 for none.
	UpFD int

	// Upward is the NOTIFY_SOCKET of whoever runs the keeper and is to hear of the service,
	// "" for nobody. The keeper says there what the daemon gives it for that
	// (Holder.SayUpward), since who runs a container may listen to its first process alone.
	Upward string
}

// Args is the keeper's whole argument vector.
func (o KeeperOptions) Args() []string {
	args := []string{KeeperName, o.Home}
	for _, f := range []struct {
		name  string
		value int
	}{{"--ready-fd", o.ReadyFD}, {"--watch", o.Watch}, {"--up-fd", o.UpFD}} {
		if f.value > 0 {
			args = append(args, f.name, strconv.Itoa(f.value))
		}
	}
	if o.Upward != "" {
		args = append(args, "--upward", o.Upward)
	}
	return append(append(args, "--"), o.Daemon...)
}

// parseKeeper reads what Args has written.
func parseKeeper(args []string) (o KeeperOptions, err error) {
	if len(args) < 2 || !filepath.IsAbs(args[1]) {
		return o, errors.New("the first argument is not an absolute SUPERVISOR_HOME")
	}
	o.Home = args[1]
	f := flag.NewFlagSet(KeeperName, flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.IntVar(&o.ReadyFD, "ready-fd", 0, "")
	f.IntVar(&o.Watch, "watch", 0, "")
	f.IntVar(&o.UpFD, "up-fd", 0, "")
	f.StringVar(&o.Upward, "upward", "", "")
	if err := f.Parse(args[2:]); err != nil {
		return o, err
	}
	o.Daemon = f.Args()
	switch {
	case len(o.Daemon) == 0:
		return o, errors.New("no daemon's arguments after --")
	case o.Watch < 0 || o.Watch == 1 || o.ReadyFD < 0 || o.UpFD < 0:
		return o, errors.New("a negative number, or pid 1")
	case o.ReadyFD > 0 && o.ReadyFD < firstFD || o.UpFD > 0 && o.UpFD < firstFD:
		return o, errors.New("a descriptor that is stdin, stdout or stderr")
	}
	return o, nil
}

// IsKeeper tells whether a process with these arguments (os.Args) was started as the
// keeper.
func IsKeeper(args []string) bool { return len(args) > 0 && args[0] == KeeperName }

// KeeperMain is the whole of a process where IsKeeper says so; args is os.Args. It
// returns the exit code, as Keeper does.
func KeeperMain(args []string) int {
	o, err := parseKeeper(args)
	if err != nil {
		fmt.Fprintf(os.Stderr, "cannot run as keeper: %v\n", err)
		return exitFailed
	}
	return Keeper(o)
}

// Keeper is the whole keeper process. Its exit code is what the daemon announced with
// X_END; what the first daemon ended with, if it never was ready (128 and the number of
// the signal that killed it); 1 when it could not begin, or the home has another
// supervisor.
//
// The process is its own alone: it takes its signals, its children, its one thread.
func Keeper(o KeeperOptions) int {
	runtime.GOMAXPROCS(1)
	runtime.LockOSThread() // its signal mask is ours, and the daemon inherits it
	// Executed by its descriptor, it would be "exe" or a number to ps(1).
	os.WriteFile("/proc/self/comm", []byte(KeeperName), 0)
	k := newKeeper(o)
	err := k.begin()
	if err == nil {
		return k.run()
	}
	return k.notBegun(err)
}

// notBegun tells why nothing is kept, and returns the exit code.
func (k *keeper) notBegun(err error) int {
	if errors.Is(err, errLocked) {
		k.say("cannot start a supervisor on %s: %s", k.Home, whoHas(k.Home))
		k.answer(readyRunning)
		return exitFailed
	}
	k.say("cannot keep %s: %v", k.Home, err)
	k.answer(fmt.Sprintf(readyError, err))
	return exitFailed
}

// whoHas names the supervisor of a home, by the pid that it has left there.
func whoHas(home string) string {
	data, err := os.ReadFile(filepath.Join(home, pidFile))
	if pid, bad := strconv.Atoi(strings.TrimSpace(string(data))); err == nil && bad == nil {
		return fmt.Sprintf("pid %d has it", pid)
	}
	return "another one has it"
}

// answer says a line to whoever started the keeper, and no more.
func (k *keeper) answer(line string) {
	if k.ReadyFD > 0 {
		unix.Write(k.ReadyFD, []byte(line))
		k.closeReady()
	}
}

func (k *keeper) closeReady() {
	if k.ReadyFD > 0 {
		unix.Close(k.ReadyFD)
		k.ReadyFD = 0
	}
}
