package listener

import (
	"slices"

	"golang.org/x/sys/unix"
)

// steering is how the kernel chooses among the shares of an address.
//
// The kernel numbers the sockets of a SO_REUSEPORT group in the order of their
// listen(2) and asks the group's program (SO_ATTACH_REUSEPORT_CBPF) for a
// number at each SYN; a number that no socket has falls back to a hash over
// all. Only new connections are steered, never those that exist. What the
// program does in every change:
//
//   - the first share is given a program that always says 0 before it listens
//     (prepare): a socket that listens takes none if it has never been in a
//     group. SO_REUSEPORT itself is off again until a second share comes, so
//     that no other program of the user can join an address unnoticed;
//   - a newcomer gets the next number at its listen. The program names numbers
//     one by one and never that one, so it gets nothing, from the first moment
//     on. That it may get something is said by a new program afterwards. The one
//     exception is a first share that is an MPTCP socket of a worker that was not
//     even: it takes no program, and until that of the second is attached, some
//     microseconds after its listen, the hash may choose the second;
//   - a program is replaced as a whole (RCU): there is no moment without one;
//   - no share is ever closed alone, so no number changes its meaning, except by
//     shutdown(2) (listenOnceMore): until the next program is attached, the
//     number of the one that was shut down means the last one.
//
// An MPTCP socket is numbered like others, and steered to by the program that
// was attached by way of a TCP socket of the group. Those that we make are TCP.
type steering struct {
	spread   bool     // SO_REUSEPORT is set on all
	choice   []*share // those that may get connections, in order
	attached []int    // the numbers that the program names
	busy     bool     // connections come too fast to be counted
	arrived  bucket   // how many are counted
}

// prepare gives a socket that is bound and does not listen yet a program.
func prepare(fd int) {
	before := reusePort(fd, true)
	_ = attach(fd, []int{0})
	reusePort(fd, before)
}

// reusePort sets SO_REUSEPORT and tells what it was.
func reusePort(fd int, on bool) (before bool) {
	n, _ := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT)
	if before = n != 0; before != on {
		set := 0
		if on {
			set = 1
		}
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, set)
	}
	return before
}

// spread lets others join the shares of an address.
func (t *Table) spread(s *socket) {
	if s.spread {
		return
	}
	s.spread = true
	for _, h := range s.shares {
		reusePort(h.fd, true)
	}
}

// steer says anew which shares of an address get new connections.
func (t *Table) steer(s *socket) {
	if len(s.shares) < 2 {
		s.choice, s.attached = s.shares, nil
		return
	}
	if t.still || t.adopting {
		return // the kernel chooses as it was told last; goOn says anew
	}
	if choice := s.choose(); !slices.Equal(choice, s.choice) {
		s.choice = choice
		for _, h := range choice {
			h.count = 0
		}
	}
	t.expect(s)
	numbers := s.numbers()
	if slices.Equal(numbers, s.attached) {
		return
	}
	var err error
	for _, h := range s.shares {
		if h.mptcp || !h.listening {
			continue
		}
		if err = attach(h.fd, numbers); err == nil {
			s.attached = numbers
			return
		}
	}
	if err != nil {
		t.unavailable(0, s.app, "cannot steer "+s.addr+": "+err.Error(), "connections are spread by the kernel's hash")
	}
}

// choose gives the shares that may get connections: those of active workers;
// if there is none, those of workers that boot, where connections wait for who
// is first; else those of workers that leave, since they may still accept; else
// the one that the next worker will get. It is never empty.
func (s *socket) choose() []*share {
	var active, starting, leaving []*share
	for _, h := range s.shares {
		if !h.listening {
			continue // listening again has failed
		}
		switch h.best() {
		case admitted:
			active = append(active, h)
		case booting:
			starting = append(starting, h)
		case withdrawn:
			leaving = append(leaving, h)
		}
	}
	for _, choice := range [...][]*share{active, starting, leaving} {
		if len(choice) > 0 {
			return choice
		}
	}
	if h := s.nextFree(); h != nil {
		return []*share{h}
	}
	return s.shares
}

// best is the best standing of a share's owners.
func (h *share) best() standing {
	best := lost
	for _, o := range h.owners {
		switch {
		case o.active():
			return admitted
		case o.standing < best || best == admitted:
			best = o.standing
		}
	}
	return best
}

// chosen tells if the share may get connections.
func (h *share) chosen() bool { return slices.Contains(h.of.choice, h) }

// numbers are those that the program names: of the shares that may get
// connections, those that got the fewest.
func (s *socket) numbers() (numbers []int) {
	least := s.choice[0].count
	for _, h := range s.choice {
		least = min(least, h.count)
	}
	for i, h := range s.shares {
		if h.chosen() && (s.busy || h.count == least) {
			numbers = append(numbers, i)
		}
	}
	return numbers
}

// attach makes the group of a socket choose at random among these numbers
// (classic BPF: linux/filter.h, SKF_AD_RANDOM).
func attach(fd int, numbers []int) error {
	const random = 1<<32 - 0x1000 + 56 // SKF_AD_OFF + SKF_AD_RANDOM
	var code []unix.SockFilter
	if m := len(numbers); m > 1 {
		code = append(code,
			unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: random},
			unix.SockFilter{Code: unix.BPF_ALU | unix.BPF_MOD | unix.BPF_K, K: uint32(m)})
		for k, number := range numbers[1:] {
			code = append(code,
				unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: uint32(k + 1)},
				unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: uint32(number)})
		}
	}
	code = append(code, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: uint32(numbers[0])})
	program := unix.SockFprog{Len: uint16(len(code)), Filter: &code[0]}
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_REUSEPORT_CBPF, &program)
}
