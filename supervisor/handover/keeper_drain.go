package handover

import (
	"strings"

	"golang.org/x/sys/unix"
)

const (
	// maxPour is how much one splice(2) moves at most, in bytes: a pipe's largest size
	// for a user (pipe-max-size, pipe(7)).
	maxPour = 1 << 20

	// maxSpool bounds what is put into a spool, which is memory, in bytes. Beyond it the
	// worker waits.
	maxSpool = 64 << 20
)

// flow is one pipe of a worker and where its bytes go while there is no daemon.
type flow struct {
	pipe, to int
	spool    bool
}

// flows finds in the store every log pipe with a spool or else a file: .o with .s or .f,
// .e with .t or .g.
func flows(s *fdStore) []flow {
	var list []flow
	for _, h := range s.all() {
		base, out := strings.CutSuffix(h.Name, ".o")
		spool, file := ".s", ".f"
		if !out {
			var err bool
			if base, err = strings.CutSuffix(h.Name, ".e"); !err {
				continue
			}
			spool, file = ".t", ".g"
		}
		if to := s.fd(base + spool); to >= 0 {
			list = append(list, flow{h.FD, to, true})
		} else if to := s.fd(base + file); to >= 0 {
			list = append(list, flow{h.FD, to, false})
		}
	}
	return list
}

// drain keeps workers from standing still on full pipes while no daemon reads them: it
// moves what they write, open lines included, to where the daemon would have. splice(2)
// moves it in the kernel, so that wherever one of us dies a byte is in the pipe or in the
// file; and the daemon needs to be told nothing, since its offset is the file's size.
type drain struct {
	stop int // an eventfd
	done chan struct{}
}

// startDrain begins; nil when there is nothing to move, or no descriptor to be had.
func startDrain(list []flow) *drain {
	if len(list) == 0 {
		return nil
	}
	stop, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil
	}
	d := &drain{stop: stop, done: make(chan struct{})}
	go d.run(list) // ends by end
	return d
}

// end returns when nothing is moved any more.
func (d *drain) end() {
	if d == nil {
		return
	}
	unix.Write(d.stop, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	<-d.done
	unix.Close(d.stop)
}

func (d *drain) run(list []flow) {
	defer close(d.done)
	// The last is d.stop.
	fds := make([]unix.PollFd, len(list)+1)
	for i, f := range list {
		fds[i] = unix.PollFd{Fd: int32(f.pipe), Events: unix.POLLIN}
	}
	stop := &fds[len(list)]
	*stop = unix.PollFd{Fd: int32(d.stop), Events: unix.POLLIN}
	for {
		_, err := unix.Poll(fds, -1)
		if err != nil && err != unix.EINTR || stop.Revents != 0 {
			return
		}
		for i, f := range list {
			if p := &fds[i]; p.Fd >= 0 && p.Revents != 0 && !(p.Revents&unix.POLLIN != 0 && f.pour()) {
				p.Fd = -1 // its workers are gone, or its file takes nothing: poll(2) ignores it now
			}
		}
	}
}

// pour moves what is there to the end of the file; false when the file does not take it.
// Then the worker waits, as it would if it wrote there itself. A terminal or a socket is
// left to the daemon, since it could hold us.
func (f flow) pour() bool {
	var st unix.Stat_t
	if unix.Fstat(f.to, &st) != nil {
		return false
	}
	var off *int64
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		off = &st.Size
	case unix.S_IFIFO:
	default:
		return false
	}
	if f.spool && st.Size >= maxSpool {
		return false
	}
	n, err := unix.Splice(f.pipe, nil, f.to, off, maxPour, unix.SPLICE_F_MOVE|unix.SPLICE_F_NONBLOCK)
	return n > 0 || err == unix.EINTR
}
