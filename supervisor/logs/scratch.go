package logs

import "golang.org/x/sys/unix"

// scratch is what a move needs: a pipe to tee into and memory to look at its bytes.
type scratch struct {
	r, w int
	buf  []byte
	out  []byte // formatted lines
	bad  bool   // something is left in the pipe that does not belong there
}

func newScratch() (*scratch, error) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return nil, err
	}
	return &scratch{r: p[0], w: p[1], buf: make([]byte, chunkSize)}, nil
}

func (sc *scratch) close() {
	if sc != nil {
		unix.Close(sc.r)
		unix.Close(sc.w)
	}
}

// look copies the next chunk of the pipe fd into buf and leaves it in the pipe.
func (sc *scratch) look(fd int) (int, outcome) {
	n, err := int64(0), error(unix.EINTR)
	for err == unix.EINTR {
		n, err = unix.Tee(fd, sc.w, chunkSize, unix.SPLICE_F_NONBLOCK)
	}
	switch {
	case err == unix.EAGAIN:
		return 0, stepEmpty
	case err != nil:
		return 0, stepStuck
	case n == 0:
		return 0, stepEOF
	}
	for got := 0; got < int(n); { // it must be empty before the next tee
		m, err := unix.Read(sc.r, sc.buf[got:n])
		if err == unix.EINTR {
			continue
		}
		if err != nil || m == 0 {
			sc.bad = true
			return 0, stepStuck
		}
		got += m
	}
	return int(n), stepMore
}

// read takes the next chunk out of the pipe fd.
func (sc *scratch) read(fd int) (int, outcome) {
	for {
		n, err := unix.Read(fd, sc.buf)
		switch {
		case err == unix.EINTR:
		case err == unix.EAGAIN:
			return 0, stepEmpty
		case err != nil:
			return 0, stepStuck
		case n == 0:
			return 0, stepEOF
		default:
			return n, stepMore
		}
	}
}
