package lab

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Role is what a process is to the supervisor of a home.
type Role string

const (
	Daemon  Role = "daemon"
	Keeper  Role = "keeper"
	Shim    Role = "shim" // that has not become its worker yet
	Worker  Role = "worker"
	Command Role = "command" // of the supervisor, that somebody runs
	Foreign Role = "foreign" // none of these, though it has the mark
)

// argv[0] by which the program knows what it is.
const (
	shimName   = "supervisor-exec-shim"
	keeperName = "supervisor-keeper"
)

// Process is one that runs with a home in its environment. A worker's children have its
// app and id, too.
type Process struct {
	PID, Parent int
	Role        Role
	Args        []string
	App         string
	ID          string // SUPERVISOR_WORKER
	Slot        string // NODE_APP_INSTANCE
}

func (p Process) String() string {
	return fmt.Sprintf("%d %s %s", p.PID, p.Role, strings.Join(p.Args, " "))
}

// Scan lists the living processes of the home; a zombie does not live.
func (s *Supervisor) Scan() (found []Process) {
	for _, dir := range folders() {
		environ, cmd := program(dir)
		if !bytes.Contains(environ, []byte("SUPERVISOR_HOME="+s.Home+"\x00")) {
			continue
		}
		stat := living(dir)
		if stat == nil {
			continue
		}
		p := Process{Args: strings.Split(strings.TrimRight(string(cmd), "\x00"), "\x00")}
		p.PID, _ = strconv.Atoi(filepath.Base(dir))
		p.Parent, _ = strconv.Atoi(stat[1])
		for _, e := range strings.Split(string(environ), "\x00") {
			switch name, value, _ := strings.Cut(e, "="); name {
			case "SUPERVISOR_APP":
				p.App = value
			case "SUPERVISOR_WORKER":
				p.ID = value
			case "NODE_APP_INSTANCE":
				p.Slot = value
			}
		}
		p.Role = s.role(p)
		found = append(found, p)
	}
	return found
}

// folders are those of all processes in /proc. It is listed twice: one whose thread takes
// the place of its first (execve(2)) is missing for that instant.
func folders() []string {
	once, _ := filepath.Glob("/proc/[0-9]*")
	again, _ := filepath.Glob("/proc/[0-9]*")
	all := append(once, again...)
	slices.Sort(all)
	return slices.Compact(all)
}

// program reads the environment and the command line of a process, whose folder in /proc
// is dir. While it executes another program it has neither, as a zombie has none; that is
// waited for.
func program(dir string) (environ, cmdline []byte) {
	const longest, none = 1000, 50 // looks, a millisecond apart
	for n := range longest {
		environ, _ = os.ReadFile(filepath.Join(dir, "environ"))
		cmdline, _ = os.ReadFile(filepath.Join(dir, "cmdline"))
		if len(environ) > 0 && len(cmdline) > 0 || len(cmdline) > 0 && n > none {
			return environ, cmdline
		}
		if _, err := os.Readlink(filepath.Join(dir, "exe")); err != nil {
			if stat := living(dir); stat == nil || os.IsPermission(err) || isKernels(stat) {
				return nil, nil
			}
		}
		unix.Poll(nil, 1)
	}
	return nil, nil
}

// living is the status of a process that lives, and nil of one that has ended. That is
// looked at more than once: while one thread takes the place of another it seems so, too.
func living(dir string) []string {
	const looks = 20 // a millisecond apart
	for range looks {
		if stat := status(dir); stat != nil && !hasEnded(stat) {
			return stat
		}
		unix.Poll(nil, 1)
	}
	return nil
}

// status is /proc/PID/stat from the state on (field 3), or nil.
func status(dir string) []string {
	text, err := os.ReadFile(filepath.Join(dir, "stat"))
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if err != nil || len(fields) < 18 {
		return nil
	}
	return fields
}

// hasEnded reports whether a process of that stat is a zombie. With threads left it is one
// that executes another program from a thread that was not its first (execve(2)).
func hasEnded(stat []string) bool {
	return stat[0] == "X" || stat[0] == "Z" && (stat[17] == "0" || stat[17] == "1")
}

// isKernels reports whether it is a thread of the kernel (PF_KTHREAD in field 9).
func isKernels(stat []string) bool {
	flags, _ := strconv.ParseUint(stat[6], 10, 64)
	return flags&0x200000 != 0
}

func (s *Supervisor) role(p Process) Role {
	name, args := p.Args[0], p.Args[1:]
	switch {
	case name == shimName:
		return Shim
	case name == keeperName:
		return Keeper
	case p.App != "":
		return Worker
	case slices.Contains(args, "daemon"), slices.Contains(args, "--no-daemon"):
		return Daemon
	case filepath.Dir(name) == Built:
		return Command
	}
	return Foreign
}
