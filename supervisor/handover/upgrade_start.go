package handover

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cloudflare/tableflip"
)

// What tableflip is told. Names are constant, since its Fds forget nothing, and a
// name that is added again replaces what it named.
const (
	flipSentinel = "TABLEFLIP_HAS_PARENT_7DIU3" // tells a process that it has a parent
	flipSocket   = "handover"
	flipLock     = "lock"
	flipControl  = "ctl" // with the network "unix"
	// flipTimeout is from the start to the end of Commit; what is shorter is ours.
	flipTimeout = time.Minute
	// predecessorTimeout is how long a process that has taken over waits for the end
	// of the one before it, when it is to be replaced in turn.
	predecessorTimeout = 5 * time.Second
)

// flipper is tableflip's one Upgrader of this process, made at the first upgrade
// or by the process that is one. It writes no pid file: a process that dies
// between that and its ready would leave a wrong one.
var flipper = sync.OnceValues(func() (*tableflip.Upgrader, error) {
	return tableflip.New(tableflip.Options{UpgradeTimeout: flipTimeout})
})

// upgrading is whether a Run is going on in this process.
var upgrading atomic.Bool

// prepareFlip returns the Upgrader of a process that nobody waits for any more.
func prepareFlip(ctx context.Context) (*tableflip.Upgrader, error) {
	flip, err := flipper()
	if err != nil {
		return nil, err
	}
	select {
	case <-flip.Exit():
		return nil, ErrUpgradeSpent
	default:
	}
	if !flip.HasParent() {
		return flip, flip.Ready() // nobody is told
	}
	ctx, cancel := context.WithTimeout(ctx, predecessorTimeout)
	defer cancel()
	if err := flip.WaitForParent(ctx); err != nil {
		return nil, fmt.Errorf("the supervisor that this one has replaced has not ended yet: %w", err)
	}
	return flip, nil
}

// start puts the new process on its way. a.over gets how tableflip ended it: nil
// when it was told that it is ready, which this process does not live to see unless
// it is told out of turn.
func (a *attempt) start(ctx context.Context) error {
	if !filepath.IsAbs(a.Binary) {
		return fmt.Errorf("cannot start %s: not an absolute path", a.Binary)
	}
	if _, err := exec.LookPath(a.Binary); err != nil {
		var cause *exec.Error
		if errors.As(err, &cause) {
			err = cause.Err
		}
		var path *os.PathError
		if errors.As(err, &path) {
			err = path.Err
		}
		return fmt.Errorf("cannot start %s: %w", a.Binary, err)
	}
	flip, err := prepareFlip(ctx)
	if err != nil {
		return err
	}
	wire, theirs, err := newWires()
	if err != nil {
		return err
	}
	a.wire = wire
	defer theirs.Close()
	if a.theirs, err = inode(theirs); err != nil {
		return err
	}
	if err := a.pass(flip, theirs); err != nil {
		return err
	}
	listening, speaking, err := listen(a.Output)
	if err != nil {
		return err
	}
	a.words = listening
	over := make(chan error, 1)
	a.over = over
	go func() { // ends with the new process, this one, or by tableflip's timeout at the latest
		err := flipOnce(flip, a.command(), a.environ(), speaking)
		speaking.Close()
		over <- err
		if err != nil {
			wire.end() // tableflip's copy of the other end keeps us from an EOF
		}
	}()
	go a.hear() // ends with the conversation or the attempt
	return nil
}

// pass gives tableflip what goes through it by name.
func (a *attempt) pass(flip *tableflip.Upgrader, socket *os.File) error {
	if err := flip.AddFile(flipSocket, socket); err != nil {
		return fmt.Errorf("cannot pass the socket on: %w", err)
	}
	if a.Lock != nil {
		if err := flip.AddFile(flipLock, a.Lock); err != nil {
			return fmt.Errorf("cannot pass the lock on: %w", err)
		}
	}
	if a.Control != nil {
		if err := flip.AddListener("unix", flipControl, a.Control); err != nil {
			return fmt.Errorf("cannot pass the control listener on: %w", err)
		}
	}
	return nil
}

func (a *attempt) command() []string { return append([]string{a.Binary}, a.Args...) }

// environ is the new process's environment. What tells a process that it was
// given something by number is for this process alone.
func (a *attempt) environ() []string {
	env := a.Env
	if env == nil {
		env = os.Environ()
	}
	return slices.DeleteFunc(slices.Clone(env), func(s string) bool {
		name, _, _ := strings.Cut(s, "=")
		return strings.HasPrefix(name, "LISTEN_") || name == "WATCHDOG_PID" || name == flipSentinel
	})
}

// flipOnce calls Upgrade in a world that says what is to be started: tableflip
// takes it from os.Args and os.Environ, and stdout and stderr from package os.
// They are as before when it returns.
func flipOnce(flip *tableflip.Upgrader, argv, env []string, output *os.File) error {
	args, stdout, stderr, before := os.Args, os.Stdout, os.Stderr, os.Environ()
	defer func() {
		os.Args, os.Stdout, os.Stderr = args, stdout, stderr
		changeEnv(env, before)
	}()
	os.Args, os.Stdout, os.Stderr = argv, output, output
	changeEnv(before, env)
	for {
		err := flip.Upgrade()
		// Its goroutine chooses at random between a request and the events that end
		// these states. Both events have happened (prepareFlip), and each refusal
		// is a choice, so it is a few at most.
		if err != nil && (err.Error() == "process is not ready yet" || err.Error() == "parent hasn't exited") {
			runtime.Gosched()
			continue
		}
		return err
	}
}

// changeEnv turns the environment from into to, touching only what differs: others
// read theirs meanwhile.
func changeEnv(from, to []string) {
	for _, s := range from {
		if name, _, _ := strings.Cut(s, "="); !slices.ContainsFunc(to, func(s string) bool { return strings.HasPrefix(s, name+"=") }) {
			os.Unsetenv(name)
		}
	}
	for _, s := range to {
		if name, value, ok := strings.Cut(s, "="); ok && name != "" && !slices.Contains(from, s) {
			os.Setenv(name, value)
		}
	}
}

// inode is a descriptor's number in its file system; f's mode is left as it is.
func inode(f *os.File) (ino uint64, err error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return 0, err
	}
	var st syscall.Stat_t
	if e := raw.Control(func(fd uintptr) { err = syscall.Fstat(int(fd), &st) }); e != nil {
		err = e
	}
	return st.Ino, err
}
