package shim

import (
	"errors"
	"strconv"
	"syscall"
)

// Name is argv[0] of the exec shim, what it knows itself by.
const Name = "supervisor-exec-shim"

// Messages between daemon and shim over their SEQPACKET socket, one per
// packet. The shim says hello (with the notify descriptor, if there is one),
// the daemon go; a failure may come in place of hello and after go.
const (
	messageHello   = 'h'
	messageFailure = 'f'
	// MessageGo is the go byte.
	MessageGo = 'g'
	// MaxMessage is more than any of them takes, in bytes.
	MaxMessage = 64
)

// What a hello says about the filter.
const (
	FilterNotAsked = iota
	FilterInstalled
	FilterFailed     // with the errno
	FilterPrivileged // ErrNoNewPrivs
)

// Order is what the daemon tells the shim beside the worker's argument vector
// and environment, which are the shim's own. It travels as one argument.
type Order struct {
	Sock       int  // the shim's end of the socket
	Filter     bool // install the filter
	Unlink     bool // which reports unlink and unlinkat as well
	ListenPID  bool // set LISTEN_PID
	Umask      int  // -1 leaves it
	SetNice    bool
	Nice       int
	Credential *Credential // nil leaves it
	Limits     []Limit
	Tracer     int    // who may trace the worker; -1 everybody, 0 nobody
	Dir        string // empty leaves it
}

// Credential is process.Credential.
type Credential struct {
	UID, GID int   // -1 leaves it
	Groups   []int // supplementary groups; nil leaves them, empty drops them
}

// Limit is process.Limit.
type Limit struct {
	Resource   int // RLIMIT_* (setrlimit(2))
	Soft, Hard uint64
}

// Encode gives the order as words with the directory last, which may have
// any byte in it.
func (o *Order) Encode() string {
	b := make([]byte, 0, 64+len(o.Dir))
	word := func(n int) { b = append(strconv.AppendInt(b, int64(n), 10), ' ') }
	flag := func(set bool) {
		if set {
			word(1)
		} else {
			word(0)
		}
	}
	word(o.Sock)
	flag(o.Filter)
	flag(o.Unlink)
	flag(o.ListenPID)
	word(o.Umask)
	flag(o.SetNice)
	word(o.Nice)
	flag(o.Credential != nil)
	if c := o.Credential; c != nil {
		word(c.UID)
		word(c.GID)
		flag(c.Groups != nil)
		word(len(c.Groups))
		for _, g := range c.Groups {
			word(g)
		}
	}
	word(len(o.Limits))
	for _, l := range o.Limits {
		word(l.Resource)
		b = append(strconv.AppendUint(b, l.Soft, 10), ' ')
		b = append(strconv.AppendUint(b, l.Hard, 10), ' ')
	}
	word(o.Tracer)
	return string(append(b, o.Dir...))
}

var errBadOrder = errors.New("the exec shim's order is malformed")

// maxList bounds the lists of an order: NGROUPS_MAX is 65536, and an argument
// can't be longer than 128 KiB anyway.
const maxList = 1 << 16

func decodeOrder(s string) (Order, error) {
	bad := false
	unsigned := func() uint64 {
		word, rest, ok := cut(s)
		n, err := strconv.ParseUint(word, 10, 64)
		bad, s = bad || !ok || err != nil, rest
		return n
	}
	word := func() int {
		word, rest, ok := cut(s)
		n, err := strconv.ParseInt(word, 10, 32)
		bad, s = bad || !ok || err != nil, rest
		return int(n)
	}
	length := func() int {
		n := word()
		bad = bad || n < 0 || n > maxList
		if bad {
			return 0
		}
		return n
	}
	o := Order{Sock: word(), Filter: word() == 1, Unlink: word() == 1, ListenPID: word() == 1, Umask: word()}
	o.SetNice, o.Nice = word() == 1, word()
	if word() == 1 {
		c := &Credential{UID: word(), GID: word()}
		if word() == 1 {
			c.Groups = []int{}
		}
		for n := length(); n > 0 && !bad; n-- {
			c.Groups = append(c.Groups, word())
		}
		o.Credential = c
	}
	for n := length(); n > 0 && !bad; n-- {
		o.Limits = append(o.Limits, Limit{Resource: word(), Soft: unsigned(), Hard: unsigned()})
	}
	o.Tracer = word()
	o.Dir = s
	if bad {
		return Order{}, errBadOrder
	}
	return o, nil
}

// cut splits s at its first space (strings.Cut is out of reach here).
func cut(s string) (word, rest string, ok bool) {
	for i := range len(s) {
		if s[i] == ' ' {
			return s[:i], s[i+1:], true
		}
	}
	return s, "", false
}

// Hello is the shim's first word.
type Hello struct {
	Filter uint8 // FilterNotAsked, ...
	Errno  syscall.Errno
}

func (h Hello) encode() []byte { return append32([]byte{messageHello, h.Filter}, uint32(h.Errno)) }

// Stage is process.Stage, those of the shim.
type Stage string

// The shim's stages, in their order.
const (
	StageSignals   Stage = "signals"
	StageSetpgid   Stage = "setpgid"
	StageRlimit    Stage = "rlimit"
	StageNice      Stage = "nice"
	StageSetgroups Stage = "setgroups"
	StageSetgid    Stage = "setgid"
	StageSetuid    Stage = "setuid"
	StageChdir     Stage = "chdir"
	StageExec      Stage = "exec"
)

// Failure is a stage of the shim that went wrong; Extra is the number of the
// limit or the nice value.
type Failure struct {
	Stage Stage
	Errno syscall.Errno
	Extra int
}

func (f Failure) encode() []byte {
	b := append32([]byte{messageFailure}, uint32(f.Errno))
	b = append32(b, uint32(int32(f.Extra)))
	return append(b, f.Stage...)
}

// DecodeMessage reads what the shim sent: a hello or a failure; nil, nil is
// neither.
func DecodeMessage(b []byte) (*Hello, *Failure) {
	switch {
	case len(b) == 6 && b[0] == messageHello:
		return &Hello{Filter: b[1], Errno: syscall.Errno(read32(b[2:]))}, nil
	case len(b) > 9 && b[0] == messageFailure:
		return nil, &Failure{
			Errno: syscall.Errno(read32(b[1:])),
			Extra: int(int32(read32(b[5:]))),
			Stage: Stage(b[9:]),
		}
	}
	return nil, nil
}

// append32 and read32 are little-endian (encoding/binary is out of reach here).
func append32(b []byte, n uint32) []byte {
	return append(b, byte(n), byte(n>>8), byte(n>>16), byte(n>>24))
}

func read32(b []byte) uint32 {
	return uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24
}
