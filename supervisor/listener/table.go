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
	facts     func(Fact)
	somaxconn int
	takeFD    func(pidfd, fd int) (int, error) // pidfd_getfd, replaced by tests

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
	warned     map[[2]string]bool // app, reason
	seq        uint64
	quiet      bool
	watch      *watch
	settle     *time.Timer
	armed      bool // settle runs
	settling   bool // what it began is under way
	counter    *counter
	uncounted  bool // there is no counter, or it was made
	calm       *time.Timer
	calming    bool          // calm runs
	changed    chan struct{} // closed with the next change, nil if nobody waits
}

// New starts a table without sockets. Close ends it.
func New(cfg Config) *Table {
	t := &Table{
		store:      cfg.Store,
		facts:      cfg.Facts,
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
		warned:     map[[2]string]bool{},
		settle:     time.NewTimer(settleTime),
		calm:       time.NewTimer(calmTime),
	}
	t.settle.Stop()
	t.calm.Stop()
	if t.facts == nil {
		t.facts = func(Fact) {}
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
		case <-t.calm.C:
			t.calmDown()
		case <-t.closed:
			return
		}
	}
}

// do executes f in the table's goroutine and waits for it; false: it is closed.
func (t *Table) do(f func()) bool {
	done := make(chan struct{})
	select {
	case t.ops <- func() { defer close(done); f() }:
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

// Attach begins to answer the notifications of a worker. It owns notifyFD
// from now on, and closes it when the worker is detached or has no process
// left. The worker's calls wait until then.
func (t *Table) Attach(w Worker, notifyFD int) error {
	p, err := newPump(notifyFD, "seccomp")
	if err != nil {
		return err
	}
	m := &member{
		pump:  p,
		facts: newBucket(maxFacts, factsPerSecond),
		heard: newBucket(maxSockets, factsPerSecond),
		looks: newBucket(maxLooks, looksPerSecond),
	}
	ok := t.do(func() {
		m.owner = t.ownerOf(w)
		t.members[w.ID] = m
		t.startPump(p, (&reader{t: t, m: m, fd: notifyFD, hand: newHand()}).run)
	})
	if !ok {
		p.file.Close()
		return errClosed
	}
	return nil
}

// startPump starts a pump's goroutine; it ends with p.
func (t *Table) startPump(p *pump, run func()) {
	t.pumps[p] = struct{}{}
	if t.quiet {
		p.pause()
	}
	go func() {
		run()
		t.do(func() { delete(t.pumps, p) })
	}()
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
		o := t.owners[worker]
		if o == nil {
			return
		}
		delete(t.owners, worker)
		for _, h := range t.inodes {
			delete(h.listeners, worker)
			t.disown(h, o)
		}
		if o.Even {
			t.armSettle() // what it would have taken is judged now
		}
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
	t.do(func() {
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
		if s.app == app && s.addr == shown {
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
			s.declared = s.declared && keep[s.addr]
			served := slices.ContainsFunc(workers, s.serves)
			if !s.declared && !served {
				t.close(s, false)
			}
		}
	})
}

// Release closes all sockets of an app that was stopped, deleted or has
// errored, and removes the files of its unix sockets.
func (t *Table) Release(app string) {
	t.do(func() {
		for _, s := range t.of(func(s *socket) bool { return s.app == app }) {
			t.close(s, true)
		}
		for k := range t.warned {
			if k[0] == app {
				delete(t.warned, k)
			}
		}
	})
}

// Quiesce returns when nothing is read or watched any more. It closes nothing;
// calls of workers wait for Resume, or for another process that has copies of
// the descriptors. Quiesce and Resume are called by one goroutine.
func (t *Table) Quiesce() {
	phases := map[*pump]*phase{}
	t.do(func() {
		t.quiet, t.armed, t.calming = true, false, false
		t.wake()
		t.settle.Stop()
		t.calm.Stop()
		for p := range t.pumps {
			phases[p] = p.pause()
		}
	})
	for p, ph := range phases {
		select {
		case <-ph.still:
		case <-p.done:
		}
	}
	t.scans.Wait()
}

// Resume ends what Quiesce began.
func (t *Table) Resume() {
	t.do(func() {
		t.quiet = false
		for p := range t.pumps {
			p.goOn()
		}
		t.armSettle()
		t.startCalming()
	})
}

// Close ends all readers and closes every descriptor of the table. Files of
// unix sockets stay; Release removes them.
func (t *Table) Close() {
	var pumps []*pump
	t.do(func() {
		t.settle.Stop()
		t.calm.Stop()
		if t.watch != nil {
			t.watch.pump.stop()
		}
		if t.counter != nil {
			t.counter.pump.stop()
		}
		for _, m := range t.members {
			m.pump.stop()
		}
		t.members = map[uint64]*member{}
		for p := range t.pumps {
			pumps = append(pumps, p)
		}
	})
	for _, p := range pumps {
		<-p.done
	}
	t.scans.Wait()
	t.do(func() {
		for _, c := range t.candidates {
			t.forget(c)
		}
		if t.counter != nil {
			unix.Syscall(unix.SYS_IO_DESTROY, t.counter.ctx, 0, 0) // which ends the polls
		}
		for _, h := range t.inodes {
			unix.Close(h.fd)
		}
		close(t.closed)
	})
	<-t.done
}
