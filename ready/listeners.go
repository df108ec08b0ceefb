package ready

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	// firstFD is where passed sockets begin (SD_LISTEN_FDS_START).
	firstFD = 3
	// maxFDs is the largest LISTEN_FDS that is believed.
	maxFDs = 4096
	// unnamed is a socket's name when LISTEN_FDNAMES is not given (sd_listen_fds_with_names(3)).
	unnamed = "unknown"
)

// ErrNotPassed is the cause when no listener of that name was passed.
var ErrNotPassed = errors.New("not passed by the supervisor")

// socket is one of LISTEN_FDS.
type socket struct {
	name     string
	fd       int
	listener func() (net.Listener, error) // made by the first call, the same for each
}

// Listeners returns the listening sockets that were passed to this process (LISTEN_FDS,
// sd_listen_fds(3)), in their order; none, without an error, if there are none or they are
// another process's (LISTEN_PID). Each call returns the same listeners. Closing one closes it in
// this process alone, and removes no socket file. A passed socket that doesn't listen, or isn't
// a stream socket, is an error.
func Listeners() ([]net.Listener, error) {
	ours.take()
	return ours.listeners(func(string) bool { return true })
}

// ListenersByName is Listeners by their names in LISTEN_FDNAMES ("unknown" without it); several
// may have one name.
func ListenersByName() (map[string][]net.Listener, error) {
	ours.take()
	if ours.sockErr != nil {
		return nil, ours.sockErr
	}
	byName := make(map[string][]net.Listener)
	for _, s := range ours.sockets {
		ln, err := s.listener()
		if err != nil {
			return nil, err
		}
		byName[s.name] = append(byName[s.name], ln)
	}
	return byName, nil
}

// Listener returns the first passed listener with this name. The error wraps ErrNotPassed if
// there is none:
//
//	ln, err := ready.Listener("admin")
//	if errors.Is(err, ready.ErrNotPassed) {
//		ln, err = net.Listen("tcp", "127.0.0.1:9000")
//	}
func Listener(name string) (net.Listener, error) {
	ours.take()
	found := false
	lns, err := ours.listeners(func(n string) bool {
		first := n == name && !found
		found = found || first
		return first
	})
	if err != nil {
		return nil, err
	}
	if len(lns) == 0 {
		return nil, fmt.Errorf("cannot use listener %q: %w", name, ErrNotPassed)
	}
	return lns[0], nil
}

func (w *world) listeners(want func(name string) bool) ([]net.Listener, error) {
	if w.sockErr != nil {
		return nil, w.sockErr
	}
	var lns []net.Listener
	for _, s := range w.sockets {
		if !want(s.name) {
			continue
		}
		ln, err := s.listener()
		if err != nil {
			return nil, err
		}
		lns = append(lns, ln)
	}
	return lns, nil
}

// passed reads LISTEN_* and takes them out of the environment if they are this process's.
func passed() ([]socket, error) {
	pid, count, names := os.Getenv("LISTEN_PID"), os.Getenv("LISTEN_FDS"), os.Getenv("LISTEN_FDNAMES")
	if pid != strconv.Itoa(os.Getpid()) || count == "" {
		return nil, nil
	}
	for _, name := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID"} {
		os.Unsetenv(name)
	}
	n, err := strconv.Atoi(count)
	if err != nil || n < 0 || n > maxFDs {
		return nil, fmt.Errorf("cannot use LISTEN_FDS=%q: not a number of descriptors", count)
	}
	sockets := make([]socket, n)
	for i := range sockets {
		s := socket{name: unnamed, fd: firstFD + i}
		// Before all else, so that no child inherits it even if the rest is refused.
		if _, err := unix.FcntlInt(uintptr(s.fd), unix.F_SETFD, unix.FD_CLOEXEC); err != nil {
			return nil, fmt.Errorf("cannot use LISTEN_FDS=%d: descriptor %d: %w", n, s.fd, err)
		}
		s.listener = sync.OnceValues(func() (net.Listener, error) { return listener(s.fd) })
		sockets[i] = s
	}
	if names != "" {
		all := strings.Split(names, ":")
		if len(all) != n {
			return nil, fmt.Errorf("cannot use LISTEN_FDNAMES=%q: %d names for %d descriptors", names, len(all), n)
		}
		for i := range sockets {
			sockets[i].name = all[i]
		}
	}
	return sockets, nil
}

// listener makes a net.Listener of a descriptor and closes the descriptor: the listener has a
// copy.
func listener(fd int) (net.Listener, error) {
	on, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	if err == nil && on == 0 {
		err = errors.New("it doesn't listen")
	}
	if err == nil {
		// Before os.NewFile: only a file that found its descriptor non-blocking leaves it so.
		err = unix.SetNonblock(fd, true)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot use the passed descriptor %d as a listener: %w", fd, err)
	}
	f := os.NewFile(uintptr(fd), "listener")
	defer f.Close()
	ln, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("cannot use the passed descriptor %d as a listener: %w", fd, err)
	}
	return ln, nil
}
