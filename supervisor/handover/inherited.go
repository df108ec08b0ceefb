package handover

import (
	"math"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	// firstFD is the number of the first inherited descriptor (sd_listen_fds(3)).
	firstFD = 3

	// maxInherited bounds what an environment may claim.
	maxInherited = 1 << 16

	// keeperPID comes before the pid of a keeper in LISTEN_PID: a program can't know
	// the pid of the child that it is about to have.
	keeperPID = "keeper:"

	// unnamed is the name of a descriptor that was given none (sd_listen_fds_with_names(3)).
	unnamed = "unknown"
)

// Foreign is an inherited descriptor that was never stored: a socket unit's
// (systemd.socket(5)), whose name several may have.
type Foreign struct {
	Name string
	FD   int
}

// Inherited returns the descriptors that the holder gave back, by name: LISTEN_FDS and
// LISTEN_FDNAMES as in sd_listen_fds(3), if LISTEN_PID is this process or "keeper:" and
// the pid of the keeper, which may have died since. They are made close-on-exec. Of one
// name the last counts, the others are closed; those whose name is not ours come apart,
// in their order. What is not open is left out. Without any it is empty.
//
// To be called once, before anything else opens descriptors; then the caller unsets
// ListenVariables, or children would find them too.
func Inherited(env func(string) string, keeper int, ours func(name string) bool) (held map[string]int, foreign []Foreign) {
	names := listed(env, os.Getpid(), keeper)
	held = make(map[string]int, len(names))
	for i, name := range names {
		fd := firstFD + i
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, unix.FD_CLOEXEC); err != nil {
			continue
		}
		if !ours(name) {
			foreign = append(foreign, Foreign{name, fd})
			continue
		}
		if earlier, twice := held[name]; twice {
			unix.Close(earlier)
		}
		held[name] = fd
	}
	return held, foreign
}

// listed gives the name of each descriptor from firstFD on that env lists for us.
func listed(env func(string) string, pid, keeper int) []string {
	given := env("LISTEN_PID")
	if given != strconv.Itoa(pid) && given != keeperPID+strconv.Itoa(keeper) {
		return nil
	}
	n, err := strconv.Atoi(env("LISTEN_FDS"))
	if err != nil || n <= 0 || n > maxInherited {
		return nil
	}
	names := make([]string, n)
	rest, more := env("LISTEN_FDNAMES"), true
	for i := range names {
		name := ""
		if more {
			name, rest, more = strings.Cut(rest, ":")
		}
		if name == "" {
			name = unnamed
		}
		names[i] = name
	}
	return names
}

// ListenVariables are the variables that Inherited reads; a daemon unsets them, since
// neither an upgrade nor a worker is meant.
func ListenVariables() []string {
	return []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID"}
}

// StoreMax is how many descriptors the holder takes, as FDSTORE tells it (systemd.exec(5),
// since 254; the keeper does too), 0 where that is not known. It is meant for
// Holder.Limit.
func StoreMax(env func(string) string) int {
	n, err := strconv.Atoi(env("FDSTORE"))
	if err != nil || n < 0 || n > math.MaxInt32 {
		return 0
	}
	return n
}
