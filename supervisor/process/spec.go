package process

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"supervisor/supervisor/process/shim"
)

// Spec says what a worker is started as. Nothing in it is kept after Start.
type Spec struct {
	// Path is the program's file. It is executed after the change to Dir, so
	// it should be absolute; PATH is not searched.
	Path string
	// Argv is the worker's argument vector, Argv[0] the name that the program
	// sees as its own. Empty: Path alone.
	Argv []string
	// Env is the worker's whole environment as NAME=value. Of two entries of
	// one name the first counts.
	Env []string
	// Dir is the working directory; empty: the supervisor's.
	Dir string
	// Stdin, Stdout and Stderr become 0, 1 and 2; -1 is /dev/null.
	Stdin, Stdout, Stderr int
	// Files become 3, 4, ... in the worker and stay open over its exec.
	// They stay the caller's, and their open files' flags are not touched
	// (os.File.Fd and os/exec's ExtraFiles would clear O_NONBLOCK for all).
	Files []int
	// ListenPID sets LISTEN_PID to the worker's pid (sd_listen_fds(3)).
	ListenPID bool
	// Filter asks for the seccomp filter. That it can't be had is no failure
	// of Start: see Child.FilterErr.
	Filter FilterMode
	// Credential changes user and groups; nil changes nothing.
	Credential *Credential
	// Umask and Nice change the file mode mask (umask(2)) and the nice value
	// (-20 to 19, setpriority(2)); nil inherits the supervisor's.
	Umask, Nice *int
	// Limits are resource limits. RLIMIT_NOFILE is the soft limit that the
	// supervisor was started with unless it is given here.
	Limits []Limit
	// Deserted tells, when it is sure, that no process of the worker is left. It is
	// asked after the main process has ended, by the child's own goroutine, and saves
	// the look at every process of the machine. False is no answer; nil never knows.
	Deserted func() bool
	// HoldZombie leaves the reaping to Child.Release: when Gone is closed the main
	// process is still a zombie, and whoever follows us if we die then can still read
	// how it ended.
	HoldZombie bool
	// Tracer is a process that may, with its descendants, look into the worker where
	// Yama reserves that to ancestors: its pid, or -1 for everybody of the worker's
	// user; 0 is nobody. See shim.Order.
	Tracer int
}

// FilterMode says which calls of a worker are reported (InstallFilter).
type FilterMode int

// The filter's modes.
const (
	FilterNone   FilterMode = iota
	FilterListen            // bind and listen
	FilterUnlink            // bind, listen, unlink and unlinkat
)

// Credential is who a worker runs as: UID and GID, -1 leaves it, and the
// supplementary Groups; nil leaves them, empty drops them. LookupCredential
// makes one from names.
type Credential = shim.Credential

// Limit is one resource limit (setrlimit(2)): Resource is unix.RLIMIT_*. Soft
// and Hard are in the resource's own unit; Unlimited is RLIM_INFINITY.
type Limit = shim.Limit

// Unlimited is the value of a limit that is none.
const Unlimited = uint64(unix.RLIM_INFINITY)

// resourceName is a limit's name as in limits.conf and ulimit.
func resourceName(number int) string {
	for _, r := range resources {
		if r.number == number {
			return r.name
		}
	}
	return fmt.Sprint(number)
}

var resources = [...]struct {
	name   string
	number int
}{
	{"as", unix.RLIMIT_AS},
	{"core", unix.RLIMIT_CORE},
	{"cpu", unix.RLIMIT_CPU},
	{"data", unix.RLIMIT_DATA},
	{"fsize", unix.RLIMIT_FSIZE},
	{"locks", unix.RLIMIT_LOCKS},
	{"memlock", unix.RLIMIT_MEMLOCK},
	{"msgqueue", unix.RLIMIT_MSGQUEUE},
	{"nice", unix.RLIMIT_NICE},
	{"nofile", unix.RLIMIT_NOFILE},
	{"nproc", unix.RLIMIT_NPROC},
	{"rss", unix.RLIMIT_RSS},
	{"rtprio", unix.RLIMIT_RTPRIO},
	{"rttime", unix.RLIMIT_RTTIME},
	{"sigpending", unix.RLIMIT_SIGPENDING},
	{"stack", unix.RLIMIT_STACK},
}

// Stage is a step between the fork and the running program.
type Stage = shim.Stage

// The stages, in their order. StageFork covers everything up to the shim's
// first sign of life, StageHello a shim that gives none or dies.
const (
	StageFork      Stage = "fork"
	StageHello     Stage = "hello"
	StageSignals         = shim.StageSignals
	StageSetpgid         = shim.StageSetpgid
	StageRlimit          = shim.StageRlimit
	StageNice            = shim.StageNice
	StageSetgroups       = shim.StageSetgroups
	StageSetgid          = shim.StageSetgid
	StageSetuid          = shim.StageSetuid
	StageChdir           = shim.StageChdir
	StageExec            = shim.StageExec
)

// StageError is a start that failed: nothing of the worker exists any more.
type StageError struct {
	Stage Stage
	// Subject is what the stage worked on, as the user knows it: the
	// directory, the program's file, the limit's name. It may be empty.
	Subject string
	// Err is the cause, a syscall.Errno wherever the kernel gave one.
	Err error
	// Hint says more about the cause where more is known; it may be empty.
	Hint string
}

// Errno gives the kernel's error number, 0 if the cause is none of its.
func (e *StageError) Errno() syscall.Errno {
	var errno syscall.Errno
	errors.As(e.Err, &errno)
	return errno
}

func (e *StageError) Unwrap() error { return e.Err }

func (e *StageError) Error() string {
	act := map[Stage]string{
		StageFork:      "start the exec shim",
		StageHello:     "hear from the exec shim",
		StageSignals:   "reset the signals",
		StageSetpgid:   "make a process group",
		StageRlimit:    "set the limit",
		StageNice:      "set the nice value",
		StageSetgroups: "set the groups of user",
		StageSetgid:    "change to group",
		StageSetuid:    "change to user",
		StageChdir:     "chdir to",
		StageExec:      "exec",
	}[e.Stage]
	text := "cannot " + act
	if e.Subject != "" {
		text += " " + e.Subject
	}
	text += ": " + e.Err.Error()
	if e.Hint != "" {
		text += " (" + e.Hint + ")"
	}
	return text
}

// stageError puts what is known about spec to a stage that failed.
func (spec *Spec) stageError(stage Stage, errno syscall.Errno, extra int) *StageError {
	e := &StageError{Stage: stage, Err: errno}
	switch stage {
	case StageRlimit:
		e.Subject = resourceName(extra)
	case StageNice:
		e.Subject = fmt.Sprint(extra)
	case StageSetgroups, StageSetuid:
		e.Subject = fmt.Sprint(spec.Credential.UID)
	case StageSetgid:
		e.Subject = fmt.Sprint(spec.Credential.GID)
	case StageChdir:
		e.Subject = spec.Dir
	case StageExec:
		e.Subject = spec.Path
		e.Hint = execHint(spec.Path, errno)
	}
	return e
}

// execHint explains the errors of execve(2) that speak of another file than
// the one that was named.
func execHint(path string, errno syscall.Errno) string {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return ""
	case errno == unix.ENOENT:
		return "the file is there, the interpreter that it names is not"
	case errno == unix.ENOEXEC:
		return "it is neither a program nor does it begin with #!"
	case errno == unix.EACCES && info.IsDir():
		return "it is a folder"
	case errno == unix.EACCES && info.Mode()&0o111 == 0:
		return "it is not executable"
	}
	return ""
}
