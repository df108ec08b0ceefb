package handover

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"supervisor/supervisor/notify"
)

const (
	// maxTurn is how many messages are taken at once, so that a flood from somebody who
	// may not even speak can't keep the keeper from its children.
	maxTurn = 4096

	// stored is the name of what comes without one (sd_notify(3), FDNAME=).
	stored = "stored"
)

// receive takes what is in the socket; what comes after KEEPER_REEXEC is for the next
// program, and so is a BARRIER that waits for it, unless these are last words.
func (k *keeper) receive(last bool) {
	for n := 0; n < maxTurn && (last || !k.reexec); n++ {
		p, ok := k.socket.next()
		if !ok {
			return
		}
		k.obey(p)
		for _, fd := range p.fds {
			unix.Close(fd)
		}
		if k.messages++; k.messages%trimMessages == 0 {
			k.trimmer.Touched()
		}
	}
}

// obey does what one message says. What it leaves in p.fds is closed; for a BARRIER,
// which anybody may set up, that is all.
func (k *keeper) obey(p *packet) {
	if k.main == nil || p.pid != k.main.pid {
		return // not the daemon: a former one, or a stranger
	}
	m, err := notify.Parse(p.text)
	if err != nil || p.cut {
		k.say("does not understand a message of the daemon (pid %d): %v", p.pid, cmp.Or(err, errCut))
		return
	}
	if i := slices.Index(m.Other, notify.Var{Name: passOn, Value: "1"}); i >= 0 {
		m.Other = slices.Delete(m.Other, i, i+1)
		k.pass(m)
		return
	}
	if m.FDStoreRemove && !slices.Contains(m.Other, notify.Var{Name: replacing, Value: "1"}) {
		k.store.remove(m.FDName)
	}
	if m.FDStore {
		k.keep(cmp.Or(m.FDName, stored), p)
	}
	if m.Ready {
		k.isReady()
	}
	for _, v := range m.Other {
		switch v.Name {
		case "X_END":
			if n, err := strconv.ParseUint(v.Value, 10, 8); err == nil {
				code := int(n)
				k.end = &code
			}
		case "KEEPER_REEXEC":
			k.reexec = true
		}
	}
	if m.MainPID > 0 && m.MainPID != k.main.pid {
		k.follow(m.MainPID)
	}
}

// passTimeout is how long whoever runs us may keep us from our daemon.
const passTimeout = 200 * time.Millisecond

var errDeaf = fmt.Errorf("it has not taken a message for %v", passTimeout)

// pass says to whoever runs us what the daemon says of the service. It may leave once it has
// heard that all is ready, as crun does; that it never heard anything is said.
func (k *keeper) pass(m notify.Message) {
	if k.up == nil {
		return
	}
	ctx, cancel := context.WithTimeoutCause(context.Background(), passTimeout, errDeaf)
	defer cancel()
	err := k.up.Send(ctx, m)
	if err != nil && !k.heard {
		k.say("%v", err)
	}
	k.heard = k.heard || err == nil
}

// keep stores the first descriptor of a message.
func (k *keeper) keep(name string, p *packet) {
	var err error
	switch {
	case len(p.fds) == 0:
		err = errLost
	case !validName(name):
		err = fmt.Errorf("not a name")
	case k.store.fd(name) < 0 && k.store.names+len(name)+1 > maxNames:
		err = fmt.Errorf("the names exceed %d bytes", maxNames)
	}
	if err != nil {
		k.say("cannot store %q: %v", name, err)
		return
	}
	k.store.put(name, p.fds[0])
	p.fds = p.fds[1:]
}

var (
	errCut  = fmt.Errorf("longer than %d bytes", notify.MaxDatagram)
	errLost = fmt.Errorf("no descriptor has come with it: there are too many (RLIMIT_NOFILE)")
)

// fdStore is what the keeper holds: of one name one descriptor, in the order in which
// the names came.
type fdStore struct {
	held  map[string]heldFD
	last  uint64
	names int // bytes of all names, with a colon each
}

type heldFD struct {
	fd  int
	seq uint64
}

// namedFD is a descriptor of the store.
type namedFD struct {
	Name string `json:"name"`
	FD   int    `json:"fd"`
}

func newFDStore() fdStore { return fdStore{held: map[string]heldFD{}} }

// put stores fd, which it takes over, in the place of what had the name.
func (s *fdStore) put(name string, fd int) {
	s.remove(name)
	s.last++
	s.held[name] = heldFD{fd, s.last}
	s.names += len(name) + 1
}

func (s *fdStore) remove(name string) {
	if h, ok := s.held[name]; ok {
		unix.Close(h.fd)
		delete(s.held, name)
		s.names -= len(name) + 1
	}
}

// fd is what is stored under name, -1 if nothing is.
func (s *fdStore) fd(name string) int {
	if h, ok := s.held[name]; ok {
		return h.fd
	}
	return -1
}

// all lists the store in its order.
func (s *fdStore) all() []namedFD {
	names := slices.SortedFunc(maps.Keys(s.held), func(a, b string) int { return cmp.Compare(s.held[a].seq, s.held[b].seq) })
	list := make([]namedFD, len(names))
	for i, name := range names {
		list[i] = namedFD{name, s.held[name].fd}
	}
	return list
}
