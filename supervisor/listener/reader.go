package listener

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"supervisor/supervisor/fault"
)

// reader answers the notifications of one worker, one at a time. Its goroutine
// does whatever may take long.
type reader struct {
	t    *Table
	m    *member
	fd   int // of the filter; the pump's
	hand hand

	begun   bool     // it has looked what a predecessor had in hand
	again   bool     // somebody may have begun with what is in hand
	pending bool     // that is counted in the table's inHand
	unnamed []uint64 // of an adopted worker: inodes of sockets it bound to port 0, oldest first
}

// maxTries limits how often a bind is tried anew because what was in its way
// has changed.
const maxTries = 8

func (r *reader) run() { r.m.pump.run(r.poll, r.handle) }

// poll takes a notification into the hand. RECV knows no O_NONBLOCK, so the
// descriptor is polled first; with one reader it doesn't block then.
func (r *reader) poll(fd int) readiness {
	if r.again = !r.begun || r.hand.full(); r.again {
		return something // a predecessor's, or what was left in hand by Quiesce
	}
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for {
		_, err := unix.Poll(fds, 0)
		if err == unix.EINTR {
			continue
		}
		r.m.pump.sawHangup(fds[0].Revents)
		if fds[0].Revents&unix.POLLIN == 0 {
			if err != nil || fds[0].Revents != 0 {
				return ended // POLLHUP: no process has the filter any more
			}
			return nothing
		}
		switch err := r.hand.receive(fd); err {
		case nil:
			fault.Point("notify.received")
			return something
		case unix.ENOENT: // withdrawn
		default:
			return ended
		}
	}
}

// handle answers the notification in hand, unless it was answered already.
func (r *reader) handle() {
	if !r.begun {
		r.begun = true
		if r.m.adopted {
			r.t.do(func() { r.t.tellAgain(r.m) })
		}
	}
	if r.again && !r.valid() {
		r.hand.clear()
	} else {
		r.answer()
	}
	if r.pending && !r.hand.full() {
		r.pending = false
		r.t.do(r.t.settled)
	}
}

// answer carries the call in hand out and says so, or leaves it there.
func (r *reader) answer() {
	n := r.hand.notification()
	g := r.t.target(int(n.PID))
	a := proceed
	switch {
	case n.NR == unix.SYS_BIND:
		a = r.bind(g, n)
	case n.NR == unix.SYS_LISTEN:
		a = r.listen(g, n)
	case isUnlink(n.NR):
		a = r.unlink(g, n)
	}
	if !a.later {
		r.hand.send(r.fd, a)
	}
}

func (r *reader) valid() bool { return r.hand.valid(r.fd) }

// bind: int fd, const struct sockaddr *, socklen_t.
func (r *reader) bind(g target, n *notification) answer {
	length := int32(n.Args[2])
	if length < 2 || length > unix.SizeofSockaddrAny {
		return proceed // the kernel's EINVAL
	}
	raw, err := g.memory(n.Args[1], make([]byte, length))
	if err != nil {
		return r.blind("the worker's memory", err)
	}
	k, path, ok := parseSockaddr(raw)
	if len(raw) != int(length) || !r.valid() {
		return proceed
	}
	fd := int(int32(n.Args[0]))
	if !ok {
		r.noteUnnamed(g, fd, k)
		return proceed
	}
	if r.again && r.bound(g, fd) {
		return answer{}
	}
	w, ok := r.take(g, fd, k.family)
	if !ok {
		return proceed
	}
	defer func() { unix.Close(w.sock) }()
	if k.family == unix.AF_UNIX {
		return r.bindPath(g, w, k, path)
	}
	if k.netns, err = g.netns(); err != nil {
		return r.blind("the worker's network namespace", err)
	}
	if k.family == unix.AF_INET6 {
		k.v6only = r.v6only(w, k)
	}
	w.key, w.addr, w.raw = k, k.String(), raw
	if w.own && !r.substitute(g, w) {
		return proceed
	}
	if r.m.Even && w.mptcp {
		r.plain(w)
	}
	return r.settle(g, w, r.t.bind)
}

// bindPath is a bind of a unix socket to a path.
func (r *reader) bindPath(g target, w *wish, k key, path string) answer {
	p, err := g.locate(unix.AT_FDCWD, path)
	if err != nil {
		return r.blind("the worker's folder", err) // it is missing: the kernel says so
	}
	w.key = p.key()
	w.path, w.addr = p.path, "unix:"+p.path
	w.dev, w.ino = fileOf(p.path)
	return r.settle(g, w, r.t.bindUnix)
}

// listen: int fd, int backlog.
func (r *reader) listen(g target, n *notification) answer {
	w, ok := r.take(g, int(int32(n.Args[0])), unix.AF_UNSPEC)
	if !ok {
		return proceed
	}
	defer func() { unix.Close(w.sock) }()
	w.listens = true
	if w.backlog = int(int32(n.Args[1])); w.backlog < 0 {
		w.backlog = r.t.somaxconn // what the kernel makes of it
	}
	if sa, err := unix.Getsockname(w.sock); err == nil && !w.own {
		if sa, ok := sa.(*unix.SockaddrUnix); ok {
			if p, err := g.locate(unix.AT_FDCWD, sa.Name); err == nil {
				w.dev, w.ino = fileOf(p.path)
			}
		}
	}
	return r.settle(g, w, r.t.listen)
}

// settle asks the table until there is an answer.
func (r *reader) settle(g target, w *wish, decide func(*wish) verdict) answer {
	for tries := 0; tries < maxTries; tries++ {
		var v verdict
		recorded, ok := r.t.decide(func() { v = decide(w) })
		if !ok {
			return proceed
		}
		switch {
		case v.proceed:
			return proceed
		case v.later:
			return answer{later: true}
		case v.strange:
			r.recognise(g, w)
		case v.look != nil:
			r.t.look(v.look, w.tgid)
			w.looked = v.look
			w.looks++
		case v.wait != nil:
			r.wait(w, v.wait)
			tries-- // it is time that limits these
			if !r.valid() {
				return answer{errno: unix.EINTR} // killed meanwhile; nobody reads it
			}
		case v.sibling != nil:
			if a, done := r.share(g, w, v.sibling); done {
				return a
			}
		case v.errno != 0:
			if v.refused != "" {
				r.refuse(g, w, v)
			}
			return answer{errno: v.errno}
		default:
			r.onRecord(recorded)
			fault.Point("notify.recorded")
			return r.carryOut(g, w, v)
		}
	}
	return answer{errno: unix.EADDRINUSE}
}

// carryOut does in the worker what was decided and is on record.
func (r *reader) carryOut(g target, w *wish, v verdict) answer {
	switch {
	case v.give != nil:
		return r.put(g, w, v)
	case (w.own || w.made) && !w.listens: // ours is bound, the worker's not yet
		*r.hand.note() = w.inode
		return r.over(g, w, w.sock)
	}
	return answer{}
}

// put carries a grant out.
func (r *reader) put(g target, w *wish, v verdict) answer {
	defer unix.Close(v.copy)
	if v.adorn {
		r.adorn(g, v.give.of)
	}
	a := r.over(g, w, v.copy)
	ok := a == answer{}
	recorded, _ := r.t.decide(func() {
		r.t.granted(v, r.m, ok)
		if ok && w.listens {
			_ = r.t.listenAgain(v.give, w.backlog)
			r.t.listens(v.give, r.m, w.tgid)
		}
	})
	r.onRecord(recorded)
	return a
}

// over puts a descriptor of ours over the worker's, close-on-exec as that was.
func (r *reader) over(g target, w *wish, ours int) answer {
	flags, err := g.flags(w.fd)
	if err != nil {
		r.blind("the flags of the worker's descriptor", err)
		flags = unix.O_CLOEXEC
	}
	err = r.hand.put(r.fd, ours, w.fd, flags&unix.O_CLOEXEC != 0)
	switch {
	case err == nil:
		fault.Point("notify.added")
		return answer{}
	case errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH):
		return answer{errno: unix.EINTR} // the thread is gone; nobody reads it
	case errors.Is(err, unix.EBADF):
		return answer{errno: unix.EBADF}
	}
	r.unavailable("NOTIF_ADDFD is refused: "+err.Error(), remedyListen)
	return proceed
}

// share gives the worker what another process of its app has bound and does
// not listen on yet. done is false if the question must be asked anew.
func (r *reader) share(g target, w *wish, c *candidate) (a answer, done bool) {
	fd := -1
	if pidfd, err := unix.PidfdOpen(c.tgid, 0); err == nil {
		fd, err = r.t.takeFD(pidfd, c.fd)
		unix.Close(pidfd)
		if err == unix.EPERM || err == unix.ENOSYS {
			// It is not known to be closed; the kernel knows.
			return r.blind("the socket of another worker", err), true
		}
	}
	if fd >= 0 {
		defer unix.Close(fd)
	}
	inode, err := inodeOf(fd)
	if err != nil || inode != c.inode {
		// It is closed: what it was in the way of may be tried again.
		r.t.do(func() { r.t.forget(c) })
		return answer{}, false
	}
	if !unconnected(fd) {
		// An outgoing connection from this port is no listener.
		r.refuse(g, w, inUse(w.addr, "app "+r.m.App))
		return answer{errno: unix.EADDRINUSE}, true
	}
	if w.nonblock {
		setNonblock(fd)
	}
	return r.over(g, w, fd), true
}

// refuse reports an address that could not be had, with its holder.
func (r *reader) refuse(g target, w *wish, v verdict) {
	look := false
	r.t.do(func() { look = v.holder != "" || r.m.looks.take(time.Now()) })
	if !look {
		return
	}
	if v.holder == "" {
		v.holder = findHolder(g.proc, w.key)
	}
	r.t.do(func() {
		r.t.tell(r.m, Refused{Worker: r.m.ID, App: r.m.App, Addr: v.refused, Holder: v.holder, Err: v.errno})
	})
}

// What to do where interception is not to be had.
const (
	remedyListen = "declare the socket with `listen:` and take it from LISTEN_FDS"
	remedyPtrace = "give the supervisor CAP_SYS_PTRACE, or " + remedyListen
)

func (r *reader) unavailable(reason, remedy string) {
	r.t.do(func() { r.t.unavailable(r.m.ID, r.m.App, reason, remedy) })
}

// blind answers a call of which something can't be seen, and says so if we are not
// allowed to see it (Yama, ptrace(2)); else the worker is gone, or has given what
// the kernel will refuse.
func (r *reader) blind(what string, err error) answer {
	if denied(err) {
		r.unavailable(what+" can't be seen: "+err.Error(), remedyPtrace)
	}
	return proceed
}

// denied tells if an error is that of somebody who may not.
func denied(err error) bool {
	return errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSYS)
}
