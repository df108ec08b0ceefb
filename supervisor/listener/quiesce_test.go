package listener_test

import (
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"supervisor/supervisor/listener"
)

// slowRecorder is on record when the test says so.
type slowRecorder struct {
	mu    sync.Mutex
	count int
	asked chan struct{} // one for each change
	done  chan struct{}
}

func newSlowRecorder() *slowRecorder {
	return &slowRecorder{asked: make(chan struct{}, 1000), done: make(chan struct{})}
}

func (s *slowRecorder) record([]listener.Record) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count++
	s.asked <- struct{}{}
	return s.done
}

func (s *slowRecorder) changes() int { s.mu.Lock(); defer s.mu.Unlock(); return s.count }

// notYet fails if something happens that has to wait. That it would have happened within
// this time is likely, not sure.
func notYet(t *testing.T, what <-chan struct{}, complaint string) {
	t.Helper()
	select {
	case <-what:
		t.Fatal(complaint)
	case <-time.After(50 * time.Millisecond):
	}
}

// A worker is answered only when what it has got is on record. Quiesce waits for
// that, and after it nothing is recorded until Resume.
func TestQuiesceWaitsForTheRecord(t *testing.T) {
	s := newSlowRecorder()
	r := newRigWith(t, listener.Config{Record: s.record})
	addr := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	w := r.start(goServer(addr))
	r.listening(w) // told before it is recorded
	<-s.asked
	still := make(chan struct{})
	go func() { r.Quiesce(); close(still) }() // ends with the record
	notYet(t, still, "quiesced, and the call is not answered")
	close(s.done)
	<-still
	before := s.changes()
	if _, err := get("tcp", addr); err != nil { // it was answered
		t.Error(err)
	}
	w.stop(syscall.SIGINT) // and detached
	if n := s.changes(); n != before {
		t.Errorf("%d records while it stood still", n-before)
	}
	r.Resume()
	if n := s.changes(); n != before+1 {
		t.Errorf("%d records after it stood still", n-before)
	}
}

// What was changed last is on record, too, when Quiesce returns: a successor reads it.
func TestQuiesceIsOnRecord(t *testing.T) {
	s := newSlowRecorder()
	r := newRigWith(t, listener.Config{Record: s.record})
	list := []listener.Declared{tcp("127.0.0.1:%d", freePort(t))}
	go func() { r.Open("web", list) }() // ends with the record
	<-s.asked
	still := make(chan struct{})
	go func() { r.Quiesce(); close(still) }() // ends with the record
	notYet(t, still, "quiesced, and what is held is not on record")
	close(s.done)
	<-still
}

// A call that waits for a sibling is left in hand, and is answered after Resume.
func TestQuiesceLeavesWhatWaits(t *testing.T) {
	parallel(t)
	h := newHands(t, -1)
	r := newRigWith(t, listener.Config{Hands: h})
	for range 20 {
		port := strconv.Itoa(freePort(t))
		one := r.start(spec{app: "web", role: "late-listen", env: []string{"PORT=" + port}, hand: -1})
		one.says("bound")
		one.cmd.Process.Signal(syscall.SIGUSR1)
		r.listening(one)
		slot := h.Take()
		two := r.start(spec{app: "web", role: "serve", env: []string{"ADDR=0.0.0.0:" + port, "RAW=any"}, hand: slot})
		await(t, "its call to be in hand", func() bool { return *h.HandMemory(slot) != [128]byte{} })
		r.Quiesce()
		left := *h.HandMemory(slot) != [128]byte{}
		r.Resume()
		two.says("address already in use")
		two.wait()
		await(t, "the slot to be empty", func() bool { return *h.HandMemory(slot) == [128]byte{} })
		one.stop(syscall.SIGKILL)
		r.Release("web")
		if left {
			return
		}
	}
	t.Error("nothing was left in hand")
}

// witness counts what a table does outside itself.
type witness struct{ pushed, removed, recorded atomic.Int64 }

func (w *witness) Push(string, int) error { w.pushed.Add(1); return nil }
func (w *witness) Remove(string) error    { w.removed.Add(1); return nil }

func (w *witness) record([]listener.Record) <-chan struct{} { w.recorded.Add(1); return nil }

// A successor that was quiesced before it adopts touches nothing before Resume, and
// answers then what came in the meantime.
func TestSuccessorTouchesNothing(t *testing.T) {
	parallel(t)
	k := newKeeper(t)
	addr := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	s := goServer(addr)
	s.even = true
	for range 2 {
		w := k.serving(s)
		k.admit(w)
	}
	k.Quiesce()
	third := k.start(s) // its bind waits
	fd, err := unix.FcntlInt(uintptr(k.hands.FD()), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	hands := newHands(t, fd)
	var seen witness
	next := newRigWith(t, listener.Config{Hands: hands, Store: &seen, Record: seen.record})
	next.Quiesce()
	if lost, err := next.Adopt(k.records, k.take); err != nil || len(lost) > 0 {
		t.Fatalf("lost %+v: %v", lost, err)
	}
	for id, w := range k.workers {
		fd, err := unix.FcntlInt(uintptr(w.notify), unix.F_DUPFD_CLOEXEC, 0)
		if err := errors.Join(err, hands.Use(w.Hand), next.Attach(w.Worker, fd)); err != nil {
			t.Fatal(err)
		}
		if w.admitted {
			next.Admit(id)
		}
	}
	next.Sweep()
	if seen.pushed.Load()+seen.removed.Load()+seen.recorded.Load() > 0 || len(next.all()) > 0 {
		t.Errorf("%+v, told %+v", &seen, next.all())
	}
	next.Resume()
	next.listening(third)
	if _, err := get("tcp", addr); err != nil {
		t.Error(err)
	}
	if held := next.Sockets("web"); len(held) != 1 || len(held[0].Shares) != 3 || len(held[0].Workers) != 3 {
		t.Errorf("%+v", held)
	}
	if seen.pushed.Load() != 1 || seen.recorded.Load() == 0 {
		t.Errorf("%+v", &seen)
	}
}

// What was brought before Quiesce is judged after Resume.
func TestResumeSettles(t *testing.T) {
	parallel(t)
	r := newRig(t)
	addr := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	w := r.start(spec{app: "web", role: "let-go", env: []string{"ADDR=" + addr}})
	r.listening(w)
	r.Quiesce()
	r.Resume()
	w.says("closed")
	want(r, func(f listener.Closed) bool { return f.Addr == "tcp://"+addr })
	w.stop(syscall.SIGINT)
}
