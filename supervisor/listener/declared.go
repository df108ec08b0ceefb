package listener

import (
	"errors"
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// resolved is a declared socket with its address read.
type resolved struct {
	Declared
	key   key
	path  string
	shown string
}

func (d Declared) resolve() (r resolved, err error) {
	r.Declared = d
	switch d.Network {
	case "tcp":
		if r.key, err = parseTCP(d.Address); err != nil {
			return r, err
		}
		r.shown = r.key.String()
		return r, nil
	case "unix":
		if !filepath.IsAbs(d.Address) {
			return r, fmt.Errorf("%q is not an absolute path", d.Address)
		}
		var sa unix.RawSockaddrUnix
		if len(d.Address) >= len(sa.Path) {
			return r, fmt.Errorf("%q is longer than the %d bytes that a unix socket's path may have", d.Address, len(sa.Path)-1)
		}
		r.key.family, r.path = unix.AF_UNIX, filepath.Clean(d.Address)
		r.shown = "unix:" + r.path
		return r, nil
	}
	return r, fmt.Errorf("%q is not tcp or unix", d.Network)
}

// Open opens the sockets that an app declares, all or none, and listens. What
// the app holds already at such an address is taken for it. The sockets are
// close-on-exec, and block until a program wants them not to: they belong to
// whoever accepts. An error names the address as declared, and whoever has it.
func (t *Table) Open(app string, list []Declared) error {
	wanted, err := resolveAll(list)
	if err != nil {
		return err
	}
	var opened []*socket
	fail := func(d resolved, err error) error {
		for _, s := range opened {
			unix.Close(s.first.fd)
			if s.path != "" {
				s.removeFile()
			}
		}
		return fmt.Errorf("cannot listen on %s: %w", d.Address, err)
	}
	for _, d := range wanted {
		held, holder := false, ""
		if !t.do(func() { held, holder = t.findDeclared(app, d) }) {
			return fail(d, errClosed)
		}
		if held {
			continue
		}
		if holder != "" {
			return fail(d, fmt.Errorf("%w: app %s has it", unix.EADDRINUSE, holder))
		}
		s, err := d.open(t.somaxconn)
		if err != nil {
			return fail(d, t.explain(d, err))
		}
		s.app = app
		opened = append(opened, s)
	}
	if !t.doOnRecord(func() { t.install(app, wanted, opened) }) {
		return fail(wanted[0], errClosed)
	}
	return nil
}

// resolveAll reads the addresses. If both wildcards of a port are declared,
// [::] is for IPv6 alone, as servers that bind both do it.
func resolveAll(list []Declared) ([]resolved, error) {
	var all []resolved
	seen := map[string]bool{}
	for _, d := range list {
		r, err := d.resolve()
		if err != nil {
			return nil, fmt.Errorf("cannot listen on %s: %w", d.Address, err)
		}
		if seen[r.shown] {
			return nil, fmt.Errorf("cannot listen on %s: it is declared twice", d.Address)
		}
		seen[r.shown] = true
		all = append(all, r)
	}
	for i, r := range all {
		if r.key.family == unix.AF_INET6 && r.key.wildcard() {
			v4 := key{family: unix.AF_INET, port: r.key.port}
			all[i].key.v6only = seen[v4.String()]
		}
	}
	return all, nil
}

// findDeclared tells if the app holds a declared address, if need be one that was
// nobody's, or which other app.
func (t *Table) findDeclared(app string, d resolved) (held bool, holder string) {
	t.claimDeclared(app, d)
	for _, s := range t.sockets {
		if !s.at(d.shown) || s.app == "" {
			continue
		}
		if s.app != app {
			return false, s.app
		}
		return true, ""
	}
	return false, ""
}

// install takes the opened sockets into the table. What is not declared any more
// stays held until Retain.
func (t *Table) install(app string, wanted []resolved, opened []*socket) {
	for _, s := range opened {
		s.declared = true
		t.hold(s, s.first)
	}
	for _, d := range wanted {
		if s := t.heldAt(app, d.shown); s != nil {
			s.declared, t.dirty = true, true
		}
	}
}

// open makes the socket: SO_REUSEADDR, bind, listen.
func (d resolved) open(somaxconn int) (*socket, error) {
	fd, err := unix.Socket(int(d.key.family), unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	s := &socket{key: d.key, addr: d.shown, path: d.path, first: &share{fd: fd}}
	if d.path != "" {
		err = s.bindPath()
	} else {
		err = s.bindTCP()
	}
	if err == nil {
		err = unix.Listen(fd, max(minBacklog, somaxconn))
	}
	if err == nil {
		s.first.inode, err = inodeOf(fd)
	}
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return s, nil
}

func (s *socket) bindTCP() error {
	fd := s.first.fd
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return err
	}
	if s.key.family == unix.AF_INET6 {
		only := 0
		if s.key.v6only {
			only = 1
		}
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, only); err != nil {
			return err
		}
	}
	var err error
	if s.key.netns, err = newTarget(unix.Gettid()).netns(); err != nil {
		return err
	}
	if errno := bindRaw(fd, s.key.sockaddr()); errno != 0 {
		return errno
	}
	prepare(fd)
	return nil
}

// bindPath binds a unix socket, in the place of the stale file of a dead
// server if there is one.
func (s *socket) bindPath() error {
	err := unix.Bind(s.first.fd, &unix.SockaddrUnix{Name: s.path})
	if err == unix.EADDRINUSE {
		if err := removeStale(s.path); err != nil {
			return err
		}
		err = unix.Bind(s.first.fd, &unix.SockaddrUnix{Name: s.path})
	}
	if err != nil {
		return err
	}
	p, err := newTarget(unix.Gettid()).locate(unix.AT_FDCWD, s.path)
	if err != nil {
		return err
	}
	s.key = p.key()
	s.dev, s.ino = fileOf(s.path)
	return nil
}

// removeStale unlinks a socket that nobody listens on.
func removeStale(path string) error {
	folder, err := openFolder(path)
	if err != nil {
		return err
	}
	defer unix.Close(folder)
	var st unix.Stat_t
	if err := unix.Fstatat(folder, filepath.Base(path), &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return errors.New("a file that is no socket is in the way")
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: path}); err != unix.ECONNREFUSED {
		return fmt.Errorf("%w: %s listens on it", unix.EADDRINUSE, findUnixHolder(path))
	}
	return removeFrom(folder, filepath.Base(path), uint64(st.Dev), st.Ino)
}

// explain names the holder of an address that is in use.
func (t *Table) explain(d resolved, err error) error {
	if err != unix.EADDRINUSE || d.path != "" {
		return err
	}
	thread := newTarget(unix.Gettid())
	d.key.netns, _ = thread.netns()
	holder := ""
	t.do(func() { holder = t.holderOf(d.key) })
	if holder == "" {
		holder = findHolder(thread.proc, d.key)
	}
	return fmt.Errorf("%w: %s has it", unix.EADDRINUSE, holder)
}
