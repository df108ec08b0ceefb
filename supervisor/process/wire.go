package process

import (
	"encoding/binary"
	"errors"
	"strconv"
	"strings"
	"syscall"
)

// shimName is argv[0] of the exec shim, what IsShim knows it by.
const shimName = "supervisor-exec-shim"

// Messages between daemon and shim over their SEQPACKET socket, one per
// packet. The shim says hello (with the notify descriptor, if there is one),
// the daemon go; a failure may come in place of hello and after go.
const (
	messageHello   = 'h'
	messageGo      = 'g'
	messageFailure = 'f'
	// maxMessage is more than any of them takes.
	maxMessage = 64
)

// What a hello says about the filter.
const (
	filterNotAsked = iota
	filterInstalled
	filterFailed     // with the errno
	filterPrivileged // ErrNoNewPrivs
)

// order is what the daemon tells the shim beside the worker's argument vector
// and environment, which are the shim's own. It travels as one argument.
type order struct {
	sock       int // the shim's end of the socket
	filter     FilterMode
	listenPID  bool
	umask      int // -1 none
	nice       int
	setNice    bool
	credential *Credential
	limits     []Limit
	dir        string
}

// encode gives the order as words with the directory last, which may have
// any byte in it.
func (o *order) encode() string {
	b := make([]byte, 0, 64+len(o.dir))
	word := func(n int) { b = append(strconv.AppendInt(b, int64(n), 10), ' ') }
	flag := func(set bool) {
		if set {
			word(1)
		} else {
			word(0)
		}
	}
	word(o.sock)
	word(int(o.filter))
	flag(o.listenPID)
	word(o.umask)
	flag(o.setNice)
	word(o.nice)
	flag(o.credential != nil)
	if c := o.credential; c != nil {
		word(c.UID)
		word(c.GID)
		flag(c.Groups != nil)
		word(len(c.Groups))
		for _, g := range c.Groups {
			word(g)
		}
	}
	word(len(o.limits))
	for _, l := range o.limits {
		word(l.Resource)
		b = append(strconv.AppendUint(b, l.Soft, 10), ' ')
		b = append(strconv.AppendUint(b, l.Hard, 10), ' ')
	}
	return string(append(b, o.dir...))
}

var errBadOrder = errors.New("the exec shim's order is malformed")

// maxList bounds the lists of an order: NGROUPS_MAX is 65536, and an argument
// can't be longer than 128 KiB anyway.
const maxList = 1 << 16

func decodeOrder(s string) (order, error) {
	bad := false
	unsigned := func() uint64 {
		word, rest, ok := strings.Cut(s, " ")
		n, err := strconv.ParseUint(word, 10, 64)
		bad, s = bad || !ok || err != nil, rest
		return n
	}
	word := func() int {
		word, rest, ok := strings.Cut(s, " ")
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
	o := order{sock: word(), filter: FilterMode(word()), listenPID: word() == 1, umask: word()}
	o.setNice, o.nice = word() == 1, word()
	if word() == 1 {
		c := &Credential{UID: word(), GID: word()}
		if word() == 1 {
			c.Groups = []int{}
		}
		for n := length(); n > 0 && !bad; n-- {
			c.Groups = append(c.Groups, word())
		}
		o.credential = c
	}
	for n := length(); n > 0 && !bad; n-- {
		o.limits = append(o.limits, Limit{Resource: word(), Soft: unsigned(), Hard: unsigned()})
	}
	o.dir = s
	if bad {
		return order{}, errBadOrder
	}
	return o, nil
}

// hello is the shim's first word.
type hello struct {
	filter uint8 // filterNotAsked, ...
	errno  syscall.Errno
}

func (h hello) encode() []byte {
	return binary.LittleEndian.AppendUint32([]byte{messageHello, h.filter}, uint32(h.errno))
}

// failure is a stage of the shim that went wrong; extra is the number of the
// limit or the nice value.
type failure struct {
	stage Stage
	errno syscall.Errno
	extra int
}

func (f failure) encode() []byte {
	b := binary.LittleEndian.AppendUint32([]byte{messageFailure}, uint32(f.errno))
	b = binary.LittleEndian.AppendUint32(b, uint32(int32(f.extra)))
	return append(b, f.stage...)
}

// decodeMessage reads what the shim sent: a hello or a failure.
func decodeMessage(b []byte) (*hello, *failure) {
	switch {
	case len(b) == 6 && b[0] == messageHello:
		return &hello{filter: b[1], errno: syscall.Errno(binary.LittleEndian.Uint32(b[2:]))}, nil
	case len(b) > 9 && b[0] == messageFailure:
		return nil, &failure{
			errno: syscall.Errno(binary.LittleEndian.Uint32(b[1:])),
			extra: int(int32(binary.LittleEndian.Uint32(b[5:]))),
			stage: Stage(b[9:]),
		}
	}
	return nil, nil
}

// The variables that Go's runtime reads when the shim starts. The worker's go
// by under a name of their own, so that a GODEBUG meant for the worker neither
// slows the shim down nor makes it write to the worker's log, and arrive
// unchanged.
var runtimeVariables = [...]string{"GODEBUG=", "GOGC=", "GOMAXPROCS=", "GOMEMLIMIT=", "GOTRACEBACK=", "GOCOVERDIR=", "GORACE="}

// shimVariables are the shim's own, and come first in its environment. It
// lives for a millisecond: no collector, one processor (which also spares the
// runtime a look at the cgroup).
var shimVariables = [...]string{"GOGC=off", "GOMAXPROCS=1"}

const veil = "_"

// isRuntimeVariable tells whether an entry, less any veils, is one of the runtime's.
func isRuntimeVariable(entry string) bool {
	entry = strings.TrimLeft(entry, veil)
	if !strings.HasPrefix(entry, "GO") {
		return false
	}
	for _, name := range runtimeVariables {
		if strings.HasPrefix(entry, name) {
			return true
		}
	}
	return false
}

// veilEnv makes the shim's environment of the worker's.
func veilEnv(env []string) []string {
	out := make([]string, 0, len(shimVariables)+len(env))
	out = append(out, shimVariables[:]...)
	for _, entry := range env {
		if isRuntimeVariable(entry) {
			entry = veil + entry
		}
		out = append(out, entry)
	}
	return out
}

// unveilEnv is veilEnv's inverse; it works in place.
func unveilEnv(env []string) []string {
	env = env[min(len(shimVariables), len(env)):]
	for i, entry := range env {
		if strings.HasPrefix(entry, veil) && isRuntimeVariable(entry) {
			env[i] = entry[len(veil):]
		}
	}
	return env
}
