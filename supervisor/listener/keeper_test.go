package listener_test

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"supervisor/supervisor/listener"
)

// keeper is the test as whoever holds what outlives the daemon. Daemons are
// processes of the test binary, which can be killed, until the test itself adopts.
type keeper struct {
	*rig
	hands *listener.Hands

	mu      sync.Mutex
	stored  map[string]int
	records []listener.Record
	seen    int // messages of daemons
	more    chan struct{}

	workers map[uint64]kept
	daemon  *daemonProcess
	token   string
}

// kept is a worker with our copy of its notify descriptor.
type kept struct {
	listener.Worker
	notify   int
	admitted bool
}

func newKeeper(t *testing.T) *keeper {
	t.Helper()
	k := &keeper{stored: map[string]int{}, more: make(chan struct{}), workers: map[uint64]kept{}, token: filepath.Join(t.TempDir(), "token")}
	leaktight(t)
	hands, err := listener.NewHands(-1)
	if err != nil {
		t.Fatal(err)
	}
	k.hands = hands
	t.Cleanup(hands.Close)
	k.rig = newRigWith(t, listener.Config{Hands: hands, Store: k, Record: func(all []listener.Record) <-chan struct{} {
		k.noteRecords(all)
		done := make(chan struct{})
		close(done)
		return done
	}})
	t.Cleanup(func() {
		if k.daemon != nil {
			k.kill()
		}
		for _, w := range k.workers {
			unix.Close(w.notify)
		}
		for _, fd := range k.stored {
			unix.Close(fd)
		}
	})
	return k
}

func (k *keeper) noteRecords(all []listener.Record) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.records = all
	k.counted()
}

func (k *keeper) counted() {
	k.seen++
	close(k.more)
	k.more = make(chan struct{})
}

// Push and Remove are the Store of the test's own table.
func (k *keeper) Push(name string, fd int) error {
	mine, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err == nil {
		k.keep(name, mine)
	}
	return err
}

func (k *keeper) keep(name string, fd int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if old, ok := k.stored[name]; ok {
		k.t.Errorf("%s is stored twice", name)
		unix.Close(old)
	}
	k.stored[name] = fd
	k.counted()
}

func (k *keeper) Remove(name string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if fd, ok := k.stored[name]; ok {
		unix.Close(fd)
	}
	delete(k.stored, name)
	k.counted()
	return nil
}

// take is what Adopt asks: a copy, as it stays stored.
func (k *keeper) take(name string) (int, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	fd, ok := k.stored[name]
	if !ok {
		return -1, false
	}
	mine, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	return mine, err == nil
}

// after waits until daemons have said n more things.
func (k *keeper) after(n int) {
	k.t.Helper()
	timeout := time.After(patience)
	k.mu.Lock()
	defer k.mu.Unlock()
	for until := k.seen + n; k.seen < until; {
		more := k.more
		k.mu.Unlock()
		select {
		case <-more:
		case <-timeout:
			k.t.Error("the daemon says nothing")
			n = 0
		}
		k.mu.Lock()
		if n == 0 {
			return
		}
	}
}

// daemonProcess is one that can be killed.
type daemonProcess struct {
	cmd  *exec.Cmd
	sock int
	did  chan string   // answers to what it was told
	gone chan struct{} // closed when all that it has said is heard
	out  *output
}

// faulty is the test binary with the build tag faults.
var faulty struct {
	once sync.Once
	dir  string
	err  error
	done chan struct{} // closed when it is built, or can't be
}

func faultyBinary(t testing.TB) string {
	t.Helper()
	buildFaulty()
	<-faulty.done
	if faulty.err != nil {
		t.Fatal(faulty.err)
	}
	return filepath.Join(faulty.dir, "test")
}

// buildFaulty begins to build it, if nobody has begun yet. It leaves nothing that a test
// would count as its own.
func buildFaulty() {
	faulty.once.Do(func() {
		faulty.done = make(chan struct{})
		var out *os.File
		if faulty.dir, faulty.err = os.MkdirTemp("", "listener-faults-"); faulty.err == nil {
			out, faulty.err = os.Create(filepath.Join(faulty.dir, "out"))
		}
		if faulty.err != nil {
			close(faulty.done)
			return
		}
		cmd := exec.Command("go", "test", "-c", "-tags", "faults", "-o", filepath.Join(faulty.dir, "test"), ".")
		cmd.Stdout, cmd.Stderr = out, out // no pipe
		err := cmd.Start()
		go func() { // ends with the build
			defer close(faulty.done)
			defer out.Close()
			if err == nil {
				err = cmd.Wait()
			}
			if err != nil {
				said, _ := os.ReadFile(out.Name())
				faulty.err = fmt.Errorf("%w: %s", err, said)
			}
		}()
	})
}

// launch starts a daemon with what is kept. It dies at the point, once arm was called.
func (k *keeper) launch(point string) {
	k.t.Helper()
	binary := faultyBinary(k.t)
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		k.t.Fatal(err)
	}
	theirs := os.NewFile(uintptr(pair[1]), "daemon")
	d := &daemonProcess{sock: pair[0], did: make(chan string), gone: make(chan struct{}), out: &output{more: make(chan struct{})}}
	d.cmd = exec.Command(binary)
	d.cmd.Env = append(os.Environ(), roleEnv+"=daemon", "SUPERVISOR_FAULT="+point, "SUPERVISOR_FAULT_TOKEN="+k.token)
	d.cmd.ExtraFiles = []*os.File{theirs}
	d.cmd.Stdout, d.cmd.Stderr = d.out, d.out
	if err := d.cmd.Start(); err != nil {
		k.t.Fatal(err)
	}
	theirs.Close()
	k.daemon = d
	go k.listenTo(d) // ends with the daemon
	k.mu.Lock()
	for names := range slices.Chunk(slices.Sorted(maps.Keys(k.stored)), 200) {
		var fds []int
		for _, name := range names {
			fds = append(fds, k.stored[name])
		}
		err = errors.Join(err, say(d.sock, message{Op: "stored", Names: names}, fds...))
	}
	err = errors.Join(err, say(d.sock, message{Op: "adopt", Records: k.records}, k.hands.FD()))
	k.mu.Unlock()
	if err != nil {
		k.t.Fatal(err)
	}
	if !k.done("adopt") {
		k.t.Fatalf("no daemon: %s", d.out)
	}
	for _, id := range slices.Sorted(maps.Keys(k.workers)) {
		k.tell(message{Op: "attach", Worker: k.workers[id].Worker}, k.workers[id].notify)
	}
	k.tell(message{Op: "sweep"})
	for id, w := range k.workers {
		if w.admitted {
			k.tell(message{Op: "admit", Worker: listener.Worker{ID: id}})
		}
	}
}

// listenTo keeps what a daemon wants to be kept.
func (k *keeper) listenTo(d *daemonProcess) {
	defer close(d.gone)
	for {
		m, fds, err := hear(d.sock)
		if err != nil {
			return
		}
		switch m.Op {
		case "push":
			k.keep(m.Names[0], fds[0])
		case "remove":
			k.Remove(m.Names[0])
		case "record":
			k.noteRecords(m.Records)
		case "listening":
			k.record(m.Listening)
		case "did":
			d.did <- m.Err
		}
	}
}

// tell has the daemon do something, which it may not survive.
func (k *keeper) tell(m message, fds ...int) (alive bool) {
	k.t.Helper()
	if err := say(k.daemon.sock, m, fds...); err != nil {
		return false
	}
	return k.done(m.Op)
}

func (k *keeper) done(what string) (alive bool) {
	k.t.Helper()
	select {
	case err := <-k.daemon.did:
		if err != "" {
			k.t.Errorf("%s: %s", what, err)
		}
		return true
	case <-k.daemon.gone:
		return false
	}
}

// arm lets the daemon die at its point.
func (k *keeper) arm() {
	k.t.Helper()
	if err := os.WriteFile(k.token, nil, 0o600); err != nil {
		k.t.Fatal(err)
	}
}

// kill kills the daemon, if it lives, and returns when all it has said is heard.
func (k *keeper) kill() {
	syscall.Kill(k.daemon.cmd.Process.Pid, syscall.SIGKILL)
	k.dead()
}

// dead waits for the daemon's end.
func (k *keeper) dead() {
	k.t.Helper()
	<-k.daemon.gone
	err := k.daemon.cmd.Wait()
	unix.Close(k.daemon.sock)
	if status, ok := k.daemon.cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGKILL {
		k.t.Errorf("the daemon has ended by itself: %v: %s", err, k.daemon.out)
	}
	k.daemon = nil
}

// start starts a worker of the daemon, or of the test's own table.
func (k *keeper) start(s spec) *worker {
	k.t.Helper()
	s.hand = k.hands.Take()
	return k.rig.startWith(s, func(w listener.Worker, fd int) {
		k.workers[w.ID] = kept{Worker: w, notify: fd}
		if k.daemon != nil {
			k.tell(message{Op: "attach", Worker: w}, fd)
		} else {
			k.attach(w.ID)
		}
	})
}

func (k *keeper) attach(id uint64) {
	k.t.Helper()
	fd, err := unix.FcntlInt(uintptr(k.workers[id].notify), unix.F_DUPFD_CLOEXEC, 0)
	if err == nil {
		err = k.Attach(k.workers[id].Worker, fd)
	}
	if err != nil {
		k.t.Fatal(err)
	}
}

// admit says that a worker gets connections, to this daemon and to each later one.
func (k *keeper) admit(w *worker) {
	kept := k.workers[w.id]
	kept.admitted = true
	k.workers[w.id] = kept
	if k.daemon != nil {
		k.tell(message{Op: "admit", Worker: listener.Worker{ID: w.id}})
	} else {
		k.Admit(w.id)
	}
}

// forget is the end of a worker.
func (k *keeper) forget(w *worker) {
	if kept, ok := k.workers[w.id]; ok {
		unix.Close(kept.notify)
		delete(k.workers, w.id)
	}
}

// adopt makes the test's own table the successor.
func (k *keeper) adopt() {
	k.t.Helper()
	k.mu.Lock()
	records := k.records
	k.mu.Unlock()
	lost, err := k.Adopt(records, k.take)
	if err := errors.Join(err, complain(lost)); err != nil {
		k.t.Fatal(err)
	}
	for _, id := range slices.Sorted(maps.Keys(k.workers)) {
		k.attach(id)
	}
	k.Sweep()
	for id, w := range k.workers {
		if w.admitted {
			k.Admit(id)
		}
	}
}

// complain is about lost sockets, except those of the app "bad": it closes many, and
// some of them in the moment of a crash.
func complain(lost []listener.Record) error {
	for _, r := range lost {
		if r.App != "bad" {
			return fmt.Errorf("lost %+v", r)
		}
	}
	return nil
}
