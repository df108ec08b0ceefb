package listener

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// settleTime is how long after a worker has begun to listen it is looked
// whether it still does, and how long a copy of a candidate is kept where
// there has to be one.
const settleTime = time.Second

// errClosed is what a closed table says.
var errClosed = errors.New("the table of sockets is closed")

// Table holds the sockets of all apps. Its methods may be called from any
// goroutine but the one that Facts is called from.
type Table struct {
	store     Store
	holder    func() int
	facts     func(Fact)
	somaxconn int
	hands     *Hands
	beacon    beacon
	takeFD    func(pidfd, fd int) (int, error) // pidfd_getfd, replaced by tests
	refused   func(path string) error          // tests: what of /proc can't be seen, and why

	ops    chan func()
	closed chan struct{}
	done   chan struct{}
	scans  sync.WaitGroup // goroutines that look through /proc for the table

	// Owned by run from here on.
	sockets    map[key]*socket
	inodes     map[uint64]*share
	owners     map[uint64]*owner
	candidates map[uint64]*candidate // by inode
	members    map[uint64]*member
	pumps      map[*pump]struct{}
	warned     map[string]map[string]bool // app, reason
	seq        uint64
	keeping    bool // Keep: what apps leave is nobody's, and stays
	quiet      bool // Quiesce: nothing is begun any more
	still      bool // and nothing is under way
	watch      *watch
	settle     *time.Timer
	armed      bool // settle runs
	settling   bool // what it began is under way
	counter    *counter
	uncounted  bool // there is no counter, or it was made
	calm       *time.Timer
	calming    bool          // calm runs
	changed    chan struct{} // closed with the next change, nil if nobody waits
	journal
	succession
}

// New starts a table without sockets. Close ends it.
func New(cfg Config) *Table {
	t := &Table{
		store:      cfg.Store,
		holder:     cfg.Holder,
		facts:      cfg.Facts,
		hands:      cfg.Hands,
		beacon:     light(),
		journal:    journal{record: cfg.Record},
		somaxconn:  readSomaxconn(),
		takeFD:     func(pidfd, fd int) (int, error) { return unix.PidfdGetfd(pidfd, fd, 0) },
		ops:        make(chan func()),
		closed:     make(chan struct{}),
		done:       make(chan struct{}),
		sockets:    map[key]*socket{},
		inodes:     map[uint64]*share{},
		owners:     map[uint64]*owner{},
		candidates: map[uint64]*candidate{},
		members:    map[uint64]*member{},
		pumps:      map[*pump]struct{}{},
		warned:     map[string]map[string]bool{},
		settle:     time.NewTimer(settleTime),
		calm:       time.NewTimer(calmTime),
	}
	t.settle.Stop()
	t.calm.Stop()
	if t.facts == nil {
		t.facts = func(Fact) {}
	}
	if t.holder == nil {
		t.holder = func() int { return 0 }
	}
	go t.run() // ends with Close
	return t
}

// run owns the table.
func (t *Table) run() {
	defer close(t.done)
	for {
		select {
		case op := <-t.ops:
			op()
		case <-t.settle.C:
			t.startSettling()
			t.commit()
		case <-t.calm.C:
			t.calmDown()
			t.commit()
		case <-t.closed:
			return
		}
	}
}

// do executes f in the table's goroutine, gives what it changed to be recorded, and
// waits for both; false: it is closed.
func (t *Table) do(f func()) bool {
	done := make(chan struct{})
	select {
	case t.ops <- func() { defer close(done); f(); t.commit() }:
		<-done
		return true
	case <-t.closed:
		return false
	}
}

func readSomaxconn() int {
	const byDefault = 4096 // of the kernel since 5.4
	b, err := os.ReadFile("/proc/sys/net/core/somaxconn")
	if err != nil {
		return byDefault
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return byDefault
	}
	return n
}

// Detach says that a worker is gone, or that its calls are none of ours any
// more: its reader ends, its notify descriptor is closed. What it listened on
// stays held; its shares are free for the next even worker. Connections that
// wait in a share of one that was withdrawn are reset settleTime later, if
// nobody has taken it by then, none boots that would, and others are there to be
// tried again.
func (t *Table) Detach(worker uint64) {
	t.do(func() {
		if m := t.members[worker]; m != nil {
			delete(t.members, worker)
			for _, c := range slices.Clone(m.candidates) {
				t.forget(c)
			}
			m.pump.stop()
		}
		t.dismiss(worker)
	})
}

// Files gives the sockets that a worker's own generation declares, in its order,
// for that worker: if it is even, shares of its own, which are reserved until
// Detach, whether it is ever attached or not. All of them, or an error: their
// places have a meaning.
func (t *Table) Files(w Worker, list []Declared) (files []File, err error) {
	wanted, err := resolveAll(list)
	if err != nil {
		return nil, err
	}
	missing := ""
	t.doOnRecord(func() {
		for _, d := range wanted {
			if t.heldAt(w.App, d.shown) == nil {
				missing = d.Address
				return
			}
		}
		o := t.ownerOf(w)
		for _, d := range wanted {
			s := t.heldAt(w.App, d.shown)
			h := t.provide(s, o)
			t.own(h, o)
			files = append(files, File{FD: h.fd, Name: d.Name, Addr: s.addr})
		}
	})
	if missing != "" || len(files) != len(wanted) {
		return nil, fmt.Errorf("cannot pass the declared sockets: %s is not held", missing)
	}
	return files, nil
}

// heldAt finds an app's socket by its shown address.
func (t *Table) heldAt(app, shown string) *socket {
	for _, s := range t.sockets {
		if s.app == app && s.at(shown) {
			return s
		}
	}
	return nil
}

// Sockets describes the sockets held for an app, in the order of their coming.
func (t *Table) Sockets(app string) (all []Socket) {
	t.do(func() {
		for _, s := range t.of(func(s *socket) bool { return s.app == app }) {
			all = append(all, s.describe())
		}
	})
	return all
}

// of gives the sockets that match, oldest first.
func (t *Table) of(match func(*socket) bool) (all []*socket) {
	for _, s := range t.sockets {
		if match(s) {
			all = append(all, s)
		}
	}
	slices.SortFunc(all, func(a, b *socket) int { return cmp.Compare(a.seq, b.seq) })
	return all
}

// Retain is called after a complete reload: it closes the app's sockets that
// are neither declared now nor listened on by one of the workers, so that an
// address that is not served any more refuses.
func (t *Table) Retain(app string, declared []Declared, workers []uint64) {
	keep := map[string]bool{}
	for _, d := range declared {
		if a, err := d.resolve(); err == nil {
			keep[a.shown] = true
		}
	}
	t.do(func() {
		for _, s := range t.of(func(s *socket) bool { return s.app == app }) {
			if s.declared && !keep[s.addr] && !keep[s.as] {
				s.declared, t.dirty = false, true
			}
			served := slices.ContainsFunc(workers, s.serves)
			if !s.declared && !served {
				t.leave(s, false)
			}
		}
	})
}

// Release closes all sockets of an app that was stopped, deleted or has
// errored, and removes the files of its unix sockets. What was given to the table
// (Give) is nobody's again, as is all of it after Keep.
func (t *Table) Release(app string) {
	t.do(func() {
		for _, s := range t.of(func(s *socket) bool { return s.app == app }) {
			t.leave(s, true)
		}
		delete(t.warned, app)
	})
}
