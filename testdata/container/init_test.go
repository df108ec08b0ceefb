package container

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// initWord is the first argument of a test binary that is to become a container.
const initWord = "container-init"

// world is what a container finds; initMain makes it so.
type world struct {
	Root, Dir string
	Args, Env []string
	UID       int
	Tmpfs     []string          // folders that anybody may write to
	Binds     map[string]string // folders in it by those of the machine
	NoProc    bool

	Passed []*os.File `json:"-"` // descriptors from 3 on
}

// initMain becomes the container's program; it never returns.
func initMain(text string) {
	var w world
	err := json.Unmarshal([]byte(text), &w)
	if err == nil {
		err = w.mount()
	}
	if err == nil {
		err = w.enter()
	}
	if err == nil {
		err = syscall.Exec(w.Args[0], w.Args, w.Env)
	}
	fmt.Fprintln(os.Stderr, "no container:", err)
	os.Exit(99)
}

// mount makes the root read-only, and mounts what an engine would.
func (w world) mount() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("private: %w", err)
	}
	if err := unix.Mount(w.Root, w.Root, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("root: %w", err)
	}
	for _, dir := range append([]string{"/dev", "/proc"}, w.Tmpfs...) {
		if err := os.MkdirAll(filepath.Join(w.Root, dir), 0o755); err != nil {
			return err
		}
	}
	null := filepath.Join(w.Root, "dev/null")
	if err := os.WriteFile(null, nil, 0o666); err != nil {
		return err
	}
	if err := unix.Mount("/dev/null", null, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("/dev/null: %w", err)
	}
	if !w.NoProc {
		if err := unix.Mount("proc", filepath.Join(w.Root, "proc"), "proc", 0, ""); err != nil {
			return fmt.Errorf("/proc: %w", err)
		}
	}
	for _, dir := range w.Tmpfs {
		if err := unix.Mount("tmpfs", filepath.Join(w.Root, dir), "tmpfs", 0, "mode=1777"); err != nil {
			return fmt.Errorf("%s: %w", dir, err)
		}
	}
	for from, to := range w.Binds {
		to = filepath.Join(w.Root, to)
		if err := os.MkdirAll(to, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(from, to, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("%s: %w", from, err)
		}
	}
	return unix.Mount("", w.Root, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, "")
}

// enter leaves the machine's files and rights behind.
func (w world) enter() error {
	if err := raiseLoopback(); err != nil {
		return fmt.Errorf("lo: %w", err)
	}
	if err := unix.Chroot(w.Root); err != nil {
		return err
	}
	if err := os.Chdir(w.Dir); err != nil {
		return err
	}
	if err := syscall.Setgroups(nil); err != nil {
		return err
	}
	if err := syscall.Setgid(w.UID); err != nil {
		return err
	}
	return syscall.Setuid(w.UID)
}

// raiseLoopback gives a new network namespace its 127.0.0.1 (netdevice(7)).
func raiseLoopback() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo)
}
