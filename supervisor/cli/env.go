package cli

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"supervisor/supervisor/state"
)

// Env is the world of one invocation. The zero value of a field is the real one,
// but for Daemon, Keeper, Boot and Version, which main fills in.
type Env struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Getenv         func(string) string
	Environ        func() []string
	Getwd          func() (string, error)

	// Terminal returns the size of the terminal that Stdout is; ok is false when
	// it is none.
	Terminal func() (columns, rows int, ok bool)

	// Context's end is a Ctrl-C. nil: SIGINT is caught while a client command
	// runs.
	Context context.Context

	// Executable is what is started in the background, /proc/self/exe by default.
	Executable string

	Systemd Systemd
	Daemon  DaemonMain
	Keeper  KeeperMain    // nil: daemons run with nobody above them
	Init    bool          // this process is pid 1: a container's first
	Boot    func() string // names the life of what has a pid here, as the daemon's state does; "" if nobody knows
	Version string
}

// DaemonMain is the daemon: it returns its exit code when it has ended.
type DaemonMain func(DaemonOptions) int

// DaemonOptions is how the command line starts a daemon.
type DaemonOptions struct {
	Home       string         // SUPERVISOR_HOME, absolute
	Foreground bool           // start --no-daemon: workers' lines go to Stdout and Stderr too
	Request    *state.Request // what to do first; nil for the background daemon
	ReadyFD    int            // the pipe for its one line (ReadyOK, ReadyRunning, ReadyError), then to be closed; -1 for none
	Version    string

	Stdout, Stderr io.Writer
}

// KeeperMain is the keeper of a daemon in the foreground: it returns its exit code
// when the daemon has ended for good.
type KeeperMain func(KeeperOptions) int

// KeeperOptions is how the command line becomes a keeper.
type KeeperOptions struct {
	Home   string   // SUPERVISOR_HOME, absolute
	Daemon []string // the daemon's arguments; it finds the keeper by NOTIFY_SOCKET
	Upward string   // the NOTIFY_SOCKET of whoever runs us and wants to hear of the service; "": nobody does

	Stdout, Stderr io.Writer
}

func (e Env) withDefaults() Env {
	if e.Stdin == nil {
		e.Stdin = os.Stdin
	}
	if e.Stdout == nil {
		e.Stdout = os.Stdout
	}
	if e.Stderr == nil {
		e.Stderr = os.Stderr
	}
	if e.Getenv == nil {
		e.Getenv = os.Getenv
	}
	if e.Environ == nil {
		e.Environ = os.Environ
	}
	if e.Getwd == nil {
		e.Getwd = os.Getwd
	}
	if e.Terminal == nil {
		out := e.Stdout
		e.Terminal = func() (int, int, bool) { return terminalSize(out) }
	}
	if e.Executable == "" {
		e.Executable = "/proc/self/exe"
	}
	if e.Version == "" {
		e.Version = "unknown"
	}
	return e
}

// terminalSize asks the terminal (TIOCGWINSZ, ioctl_tty(2)). The descriptor is
// borrowed: File.Fd would clear O_NONBLOCK for everybody who shares it.
func terminalSize(w io.Writer) (columns, rows int, ok bool) {
	f, isFile := w.(*os.File)
	if !isFile {
		return 0, 0, false
	}
	raw, err := f.SyscallConn()
	if err != nil {
		return 0, 0, false
	}
	raw.Control(func(fd uintptr) {
		ws, err := unix.IoctlGetWinsize(int(fd), unix.TIOCGWINSZ)
		if err == nil {
			columns, rows, ok = int(ws.Col), int(ws.Row), true
		}
	})
	if ok && columns == 0 {
		columns, rows = 80, 24
	}
	return columns, rows, ok
}

// Names in SUPERVISOR_HOME that the command line uses.
const (
	socketName    = "supervisor.sock"
	daemonLogName = "supervisor.log"
	stateName     = "state"
)

// home returns SUPERVISOR_HOME, or .supervisor in the user's home folder.
func (e Env) home() (string, error) {
	if h := e.Getenv("SUPERVISOR_HOME"); h != "" {
		return e.abs(h)
	}
	if h := e.Getenv("HOME"); filepath.IsAbs(h) {
		return filepath.Join(h, ".supervisor"), nil
	}
	if h := passwdHome("/etc/passwd", os.Getuid()); h != "" {
		return filepath.Join(h, ".supervisor"), nil
	}
	return "", errors.New("cannot find your home folder: HOME is not set and /etc/passwd has no entry for uid " +
		strconv.Itoa(os.Getuid()) + "; set SUPERVISOR_HOME")
}

// passwdHome finds a home folder in passwd(5), "" if there is none. os/user
// would do it through cgo where that is on.
func passwdHome(file string, uid int) string {
	f, err := os.Open(file)
	if err != nil {
		return ""
	}
	defer f.Close()
	sc := bufio.NewScanner(f)
	for sc.Scan() {
		fields := strings.Split(sc.Text(), ":")
		if len(fields) >= 7 && fields[2] == strconv.Itoa(uid) && filepath.IsAbs(fields[5]) {
			return fields[5]
		}
	}
	return ""
}

// abs makes a path absolute from where the user is.
func (e Env) abs(path string) (string, error) {
	if filepath.IsAbs(path) {
		return filepath.Clean(path), nil
	}
	wd, err := e.Getwd()
	if err != nil {
		return "", err
	}
	return filepath.Join(wd, path), nil
}
