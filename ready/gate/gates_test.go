package gate

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestChildEnv(t *testing.T) {
	r := open(t, Config{FD: true, Notify: true, Node: true})
	env := r.child.Env(5)
	if len(r.child.Files) != 2 || len(env) != 4 || !slices.Contains(env, "READY_FD=5") ||
		!slices.Contains(env, "NODE_CHANNEL_FD=6") || !slices.Contains(env, "NODE_CHANNEL_SERIALIZATION_MODE=json") {
		t.Fatalf("%v for %d files", env, len(r.child.Files))
	}
	for _, fd := range r.child.Files {
		if flags, _ := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); flags&unix.FD_CLOEXEC == 0 {
			t.Errorf("descriptor %d is not close-on-exec", fd)
		}
	}
	if fl, _ := unix.FcntlInt(uintptr(r.child.Files[0]), unix.F_GETFL, 0); fl&unix.O_NONBLOCK != 0 {
		t.Error("the worker's end of READY_FD is non-blocking")
	}
}

func TestNoChannels(t *testing.T) {
	r := open(t, Config{})
	r.CloseChild()
	r.Start()
	if err := r.Send(t.Context(), "shutdown"); !errors.Is(err, ErrNoChannel) {
		t.Fatal(err)
	}
	if err := r.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestNotifyNeedsAllow(t *testing.T) {
	if _, _, err := Open(Config{FD: true, Notify: true}, nil); err == nil {
		t.Fatal("opened a socket that nobody checks")
	}
}

func TestReadyFDLine(t *testing.T) {
	r := open(t, Config{FD: true})
	w := r.hold(0)
	r.CloseChild()
	r.Start()
	w.WriteString("rea")
	w.WriteString("dy")
	r.silent()
	w.WriteString("\n")
	r.want(Ready{7, ReadyFD})
	w.WriteString("ready\nready\n") // not twice
	w.Close()
	if err := r.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.silent()
}

func TestReadyFDEndWithoutLine(t *testing.T) {
	r := open(t, Config{FD: true})
	w := r.hold(0)
	r.CloseChild()
	r.Start()
	w.WriteString("ready") // no newline: never ready
	w.Close()
	if err := r.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.silent()
}

func TestReadyFDFlood(t *testing.T) {
	r := open(t, Config{FD: true})
	w := r.hold(0)
	r.CloseChild()
	r.Start()
	// A page of the pipe, the two windows after it, and some: the writer is slowed, not stopped.
	if _, err := w.Write(bytes.Repeat([]byte("x"), 40_000)); err != nil {
		t.Fatal(err)
	}
	r.want(Bad{7, ReadyFD, "a line of more than 4096 bytes, which is not a ready message"})
	w.WriteString("\n")
	r.silent()
	w.WriteString("ready\n")
	r.want(Ready{7, ReadyFD})
	if _, err := w.Write(bytes.Repeat([]byte("x\n"), 20_000)); err != nil {
		t.Fatal(err)
	}
}

func TestCloseUnderFlood(t *testing.T) {
	r := open(t, Config{FD: true, Node: true})
	ends := []*os.File{r.hold(0), r.hold(1)}
	r.CloseChild()
	r.Start()
	done := make(chan error, len(ends))
	for _, f := range ends {
		go func() { // ends when our end is closed
			for {
				if _, err := f.Write(bytes.Repeat([]byte("x"), 1000)); err != nil {
					done <- err
					return
				}
			}
		}()
	}
	r.next()
	r.next() // both have been read
	r.Close()
	for range ends {
		if err := <-done; !errors.Is(err, unix.EPIPE) && !errors.Is(err, unix.ECONNRESET) {
			t.Error(err)
		}
	}
	r.Close() // twice is harmless
}

func TestOneReadyInAll(t *testing.T) {
	r := open(t, Config{FD: true, Node: true})
	fd, node := r.hold(0), r.hold(1)
	r.CloseChild()
	r.Start()
	node.WriteString("\"ready\"\n")
	r.want(Ready{7, NodeIPC})
	fd.WriteString("\n")
	fd.Close()
	node.Close()
	if err := r.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.silent()
}

func TestQuiesce(t *testing.T) {
	r := open(t, Config{FD: true, Notify: true, Node: true})
	fd, node := r.hold(0), r.hold(1)
	sock := dial(t, r)
	r.CloseChild()
	r.Start()
	for range 20 {
		r.Quiesce()
		node.WriteString("1\n")
		sock.Write([]byte("WATCHDOG=1"))
		r.silent() // nothing reads any more
		r.Resume()
		got := []Fact{r.next(), r.next()}
		if _, ok := got[0].(Message); !ok {
			slices.Reverse(got)
		}
		if m, ok := got[0].(Message); !ok || string(m.JSON) != "1" || got[1] != (Watchdog{Worker: 7}) {
			t.Fatalf("got %v", got)
		}
	}
	r.Quiesce()
	r.Quiesce()
	fd.WriteString("\n")
	fd.Close()
	node.Close()
	r.silent()
	r.Resume()
	r.want(Ready{7, ReadyFD})
	if err := r.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.Quiesce() // of channels that have ended
	r.Resume()
}

// TestQuiesceUnderTraffic: whenever it comes, nothing is lost, doubled or out of order.
func TestQuiesceUnderTraffic(t *testing.T) {
	r := open(t, Config{Node: true})
	w := r.hold(0)
	r.CloseChild()
	r.Start()
	const messages = MaxMessages // all within one second's allowance
	var group sync.WaitGroup
	group.Go(func() { // the worker speaks
		for i := range messages {
			fmt.Fprintln(w, i)
		}
	})
	group.Go(func() { // we speak
		for i := range messages {
			if err := r.Send(t.Context(), i); err != nil {
				t.Error(err)
				return
			}
		}
	})
	group.Go(func() { // the worker listens
		lines := bufio.NewScanner(w)
		for i := 0; i < messages && lines.Scan(); i++ {
			if lines.Text() != strconv.Itoa(i) {
				t.Errorf("line %d is %q", i, lines.Text())
				return
			}
		}
	})
	// A turn after each message, which has to have come: a reader that is halted whenever it
	// begins reads nothing, and a machine may be slow enough for that.
	for i := range messages {
		r.want(message(strconv.Itoa(i)))
		r.Quiesce()
		r.Resume()
	}
	group.Wait()
}

// A worker may end at the moment at which the supervisor is replaced, or takes that back.
func TestAnEndWhileWeAreReplaced(t *testing.T) {
	for i := range 200 {
		r := open(t, Config{FD: true, Node: true})
		fd, node := r.hold(0), r.hold(1)
		r.CloseChild()
		r.Start()
		fd.WriteString("ready\n")
		fd.Close()
		node.WriteString("1\n")
		node.Close()
		begin := make(chan struct{})
		var group sync.WaitGroup
		group.Go(func() {
			<-begin
			r.Quiesce()
			r.Resume()
		})
		group.Go(func() {
			<-begin
			if err := r.Drain(t.Context()); err != nil {
				t.Error(err)
			}
			r.Close()
		})
		close(begin)
		group.Wait()
		said := []Fact{r.next(), r.next()} // nothing is lost by it
		if _, ok := said[0].(Message); !ok {
			slices.Reverse(said)
		}
		if m, ok := said[0].(Message); !ok || string(m.JSON) != "1" || said[1] != (Ready{7, ReadyFD}) {
			t.Fatalf("turn %d: %v", i, said)
		}
		r.silent()
	}
}

func TestOutOfDescriptors(t *testing.T) {
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	defer unix.Setrlimit(unix.RLIMIT_NOFILE, &was)
	open(t, Config{Node: true}).Close() // Go's poller has its descriptors
	free, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(free)
	before := fds(t)
	for spare := range 100 {
		unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(free + spare), Max: was.Max})
		g, _, err := Open(Config{FD: true, Notify: true, Node: true, Allow: func(int32, uint32) bool { return true }}, func(Fact) {})
		unix.Setrlimit(unix.RLIMIT_NOFILE, &was)
		if err == nil {
			g.Close()
		} else if !errors.Is(err, unix.EMFILE) {
			t.Errorf("%d to spare: %v", spare, err)
		}
		if after := fds(t); after != before {
			t.Fatalf("%d to spare: descriptors before:\n%s\nafter:\n%s", spare, before, after)
		}
		if err == nil {
			return
		}
	}
	t.Error("never opened")
}

func TestDrainIsBounded(t *testing.T) {
	r := open(t, Config{FD: true, Notify: true})
	r.hold(0) // a process left behind holds the end
	sock := dial(t, r)
	r.CloseChild()
	r.Start()
	r.Quiesce()
	sock.Write([]byte("STATUS=last words"))
	r.Resume()
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := r.Drain(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	r.want(Status{7, "last words"})
}

// A worker ends, and leaves a process that holds its channels, while it is handed over and
// taken back: nothing of it is read any more, whoever comes last.
func TestDrainWhileItIsQuiesced(t *testing.T) {
	for range 200 {
		g, _, err := Open(Config{FD: true, Node: true, Notify: true, Allow: func(int32, uint32) bool { return true }}, func(Fact) {})
		if err != nil {
			t.Fatal(err)
		}
		g.Start()
		over, cancel := context.WithCancel(t.Context())
		cancel()
		var handing sync.WaitGroup
		handing.Go(func() {
			for range 3 {
				g.Quiesce()
				g.Resume()
			}
		})
		g.Drain(over)
		handing.Wait()
		for _, r := range g.readers {
			if r.stop != nil {
				t.Error("a channel is read after its worker's end")
			}
		}
		g.Close()
	}
}

func TestBudget(t *testing.T) {
	b := budget{limit: 10}
	t0 := time.Now()
	if d := b.spend(9, t0); d != 0 {
		t.Errorf("pause %v within the budget", d)
	}
	if d := b.spend(5, t0.Add(window/4)); d != window*3/4 {
		t.Errorf("pause %v, want the rest of the window", d)
	}
	if d := b.spend(9, t0.Add(window)); d != 0 {
		t.Errorf("pause %v in the next window", d)
	}
	if d := b.spend(1<<40, t0.Add(5*window)); d != window {
		t.Errorf("pause %v after one that was too large", d)
	}
}

func FuzzReadyLine(f *testing.F) {
	f.Add([]byte("ready\n"), uint8(3))
	f.Add([]byte("xxxxxxxxxx\nok\n"), uint8(1))
	f.Add([]byte("\n"), uint8(1))
	f.Add([]byte("12345678\n"), uint8(8))
	f.Fuzz(func(t *testing.T, p []byte, chunk uint8) {
		const limit = 8
		want, tooLong := false, 0
		for line := range strings.SplitAfterSeq(string(p), "\n") {
			text, ended := strings.CutSuffix(line, "\n")
			if len(text) > limit {
				tooLong++
			} else if ended {
				want = true
				break
			}
		}
		l := readyLine{max: limit}
		opened, long := 0, 0
		for c := range slices.Chunk(p, int(chunk)+1) {
			o, g := l.feed(c)
			if o {
				opened++
			}
			if g {
				long++
			}
		}
		if want != (opened == 1) || opened > 1 || long > tooLong || (long > 0) != (tooLong > 0) {
			t.Fatalf("%q by %d: opened %d (want %v), long %d of %d", p, int(chunk)+1, opened, want, long, tooLong)
		}
	})
}
