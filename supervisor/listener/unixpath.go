package listener

import (
	"path"

	"golang.org/x/sys/unix"
)

// key is the key of a unix socket at a place.
func (p place) key() key {
	return key{family: unix.AF_UNIX, dev: p.dev, dir: p.dir, base: path.Base(p.path)}
}

// unlink answers the removal of a declared unix socket's path with 0, and
// leaves the file: programs remove it before bind and when they close.
//
// unlink: const char *path. unlinkat: int dirfd, const char *path, int flags.
func (r *reader) unlink(g target, n *notification) answer {
	dirfd, at := unix.AT_FDCWD, n.Args[0]
	if n.NR == unix.SYS_UNLINKAT {
		dirfd, at = int(int32(n.Args[0])), n.Args[1]
		if n.Args[2]&unix.AT_REMOVEDIR != 0 {
			return proceed
		}
	}
	name, err := g.text(at)
	if err != nil {
		return r.blind("the worker's memory", err)
	}
	if name == "" || !r.valid() {
		return proceed
	}
	p, err := g.locate(dirfd, name)
	if err != nil {
		return r.blind("the worker's folder", err)
	}
	keeps := false
	r.t.do(func() { keeps = r.t.keepsPath(r.m.App, p.key(), p.path) })
	if keeps {
		return answer{}
	}
	return proceed
}

// adorn gives the file of a declared unix socket the owner and the mode that
// the first worker which binds it would have given it (unix(7)).
func (r *reader) adorn(g target, s *socket) {
	st, err := g.status()
	if err != nil {
		r.blind("the worker's umask", err)
		return
	}
	// path and file don't change while the socket is being handed out.
	uid := -1
	if unix.Geteuid() == 0 {
		uid = st.uid
	}
	if err := adornFile(s.path, s.dev, s.ino, 0o777&^st.umask, uid, st.gid); err != nil {
		r.unavailable("cannot set the mode of "+s.addr+": "+err.Error(), "declare it in a folder of the supervisor's user")
	}
}
