package gate

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// playDaemon makes the test binary a daemon that adopts the channels of these names, on the
// descriptors from 3 up, and dies by SIGKILL when it is told Ready.
const playDaemon = "GATE_ADOPT"

func daemonProgram(names string) int {
	held := map[string]int{}
	for i, name := range strings.Split(names, ",") {
		held[name] = 3 + i
	}
	over := make(chan Fact)
	g, err := Adopt(Config{Worker: 7, Allow: anybody}, held, false, func(f Fact) {
		if _, ok := f.(Ready); ok {
			unix.Kill(os.Getpid(), unix.SIGKILL)
			select {}
		}
		over <- f
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	g.Start()
	fmt.Fprintf(os.Stderr, "%#v\n", <-over)
	return 2
}

func anybody(int32, uint32) bool { return true }

// kept is a copy of what is held, as a store has it.
func kept(t *testing.T, g *Gates) map[string]int {
	t.Helper()
	held := g.Held()
	for suffix, fd := range held {
		dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		held[suffix] = dup
	}
	return held
}

// succeed replaces the rig's Gates, which are as dead as their process would be, by ones that
// adopt their channels.
func (r *rig) succeed(isReady bool) {
	r.t.Helper()
	held := kept(r.t, r.Gates)
	r.Gates.Close()
	g, err := Adopt(Config{Worker: 7, Allow: anybody}, held, isReady, func(f Fact) { r.said <- f })
	if err != nil {
		r.t.Fatal(err)
	}
	r.Gates = g
	if got := slices.Sorted(maps.Keys(g.Held())); !slices.Equal(got, slices.Sorted(maps.Keys(held))) {
		r.t.Errorf("it holds %q of %v", got, held)
	}
}

var channels = []struct {
	name    string
	config  Config
	message string
	via     Channel
}{
	{"READY_FD", Config{FD: true}, "up\n", ReadyFD},
	{"NOTIFY_SOCKET", Config{Notify: true, Allow: anybody}, "READY=1", NotifySocket},
	{"node", Config{Node: true}, "\"ready\"\n", NodeIPC},
	{"tableflip", Config{Tableflip: &Tableflip{}}, "*", TableflipPipe},
}

// speaker is the worker's end of its only channel.
func (r *rig) speaker() io.WriteCloser {
	r.t.Helper()
	if len(r.child.Files) == 0 {
		return dial(r.t, r)
	}
	return r.hold(0)
}

// A daemon that dies when it is told, before that is on record, leaves the message to the next.
func TestReadyIsToldAgainAfterACrash(t *testing.T) {
	for _, c := range channels {
		t.Run(c.name, func(t *testing.T) {
			r := open(t, c.config)
			w := r.speaker()
			io.WriteString(w, c.message)
			held := kept(t, r.Gates)
			cmd := exec.Command(os.Args[0])
			var names []string
			for suffix, fd := range held {
				names = append(names, suffix)
				cmd.ExtraFiles = append(cmd.ExtraFiles, os.NewFile(uintptr(fd), suffix))
			}
			cmd.Env = append(os.Environ(), playDaemon+"="+strings.Join(names, ","))
			var said bytes.Buffer
			cmd.Stderr = &said
			err := cmd.Run()
			for _, f := range cmd.ExtraFiles {
				f.Close()
			}
			if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != -1 {
				t.Fatalf("%v: %s", err, &said)
			}
			r.succeed(false)
			r.Start()
			r.want(Ready{7, c.via})
			r.Quiesce()
			r.succeed(true) // it was on record, and is taken
			r.Start()
			io.WriteString(w, c.message)
			w.Close()
			if err := r.Drain(t.Context()); err != nil {
				t.Error(err)
			}
			r.silent()
		})
	}
}

// A message that was recorded and not taken is not told again.
func TestReadyOnRecordIsNotToldAgain(t *testing.T) {
	for _, c := range channels {
		t.Run(c.name, func(t *testing.T) {
			r := open(t, c.config)
			w := r.speaker()
			io.WriteString(w, c.message)
			w.Close()
			r.succeed(true)
			r.Start()
			if err := r.Drain(t.Context()); err != nil {
				t.Error(err)
			}
			r.silent()
		})
	}
}

// TestPeekUntilTold: the message is still in the kernel while it is being told, and not after.
func TestPeekUntilTold(t *testing.T) {
	for _, c := range channels {
		t.Run(c.name, func(t *testing.T) {
			var fd int
			unread := func() (n int) {
				n, _ = unix.IoctlGetInt(fd, unix.TIOCINQ)
				return n
			}
			during := make(chan int, 1)
			g, child, err := Open(c.config, func(Fact) { during <- unread() })
			if err != nil {
				t.Fatal(err)
			}
			defer g.Close()
			r := &rig{Gates: g, t: t, child: child, said: make(chan Fact)}
			for suffix, n := range g.Held() {
				if suffix != SuffixFlipNames {
					fd = n
				}
			}
			w := r.speaker()
			io.WriteString(w, c.message)
			r.Start()
			if n := <-during; n != len(c.message) {
				t.Errorf("%d bytes of %d while it is told", n, len(c.message))
			}
			r.Quiesce()
			if n := unread(); n != 0 {
				t.Errorf("%d bytes are left", n)
			}
			w.Close()
		})
	}
}

// An adopted worker goes on as if nothing had been, over as many daemons as you like.
func TestAdoptedGoesOn(t *testing.T) {
	r := open(t, Config{FD: true, Notify: true, Node: true, Allow: anybody})
	fd, node, sock := r.hold(0), r.hold(1), dial(t, r)
	r.CloseChild()
	r.Start()
	fd.WriteString("rea") // read, by one that dies
	r.Quiesce()
	lines := bufio.NewScanner(node)
	for i := range 5 {
		fmt.Fprintln(node, i)
		sock.Write([]byte("STATUS=" + strconv.Itoa(i)))
		r.succeed(false)
		r.silent() // nothing is read before Start
		r.Start()
		got := []Fact{r.next(), r.next()}
		if _, ok := got[0].(Message); !ok {
			slices.Reverse(got)
		}
		if m, ok := got[0].(Message); !ok || string(m.JSON) != strconv.Itoa(i) || got[1] != (Status{7, strconv.Itoa(i)}) {
			t.Fatalf("got %v", got)
		}
		if err := r.Send(t.Context(), i); err != nil {
			t.Fatal(err)
		}
		if !lines.Scan() || lines.Text() != strconv.Itoa(i) {
			t.Fatalf("the worker got %q, %v", lines.Text(), lines.Err())
		}
		r.Quiesce()
		r.Resume()
		r.Quiesce()
	}
	fd.WriteString("dy\n")
	r.Resume()
	r.want(Ready{7, ReadyFD})
	fd.Close()
	node.Close()
	if err := r.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// What a dead daemon has begun to read is no misuse of the worker's.
func TestAdoptedInTheMiddleOfALine(t *testing.T) {
	r := open(t, Config{Node: true})
	w := r.hold(0)
	r.CloseChild()
	r.Start()
	w.WriteString("1\n{\"a\":")
	r.want(message("1"))
	for r.pending() > 0 { // the part is read in a step of its own
		r.Quiesce()
		r.Resume()
		runtime.Gosched() // to the reader, for whom one processor has no other moment
	}
	r.Quiesce()
	r.succeed(false)
	w.WriteString("1}\n\"ready\"\n{\n")
	r.Start()
	r.want(Ready{7, NodeIPC}, Bad{7, NodeIPC, "not a JSON line"})
}

// pending is how many bytes of the Node channel nobody has taken.
func (r *rig) pending() int {
	n, err := unix.IoctlGetInt(r.Held()[SuffixNode], unix.TIOCINQ)
	if err != nil {
		r.t.Fatal(err)
	}
	return n
}

// A program of Node's that was answered by one daemon, and goes on with the next.
func TestNodeOverACrash(t *testing.T) {
	r := open(t, Config{Node: true})
	r.spawn(nil, "node", "-e", `
		process.on('message', (m) => process.send(m, () => { if (m === 'end') process.disconnect() }))
		process.on('disconnect', () => process.exit(5))
		process.send('first')`)
	r.want(message(`"first"`))
	for i := range 10 {
		if err := r.Send(t.Context(), i); err != nil {
			t.Fatal(err)
		}
		r.Quiesce()
		r.succeed(true)
		r.Start()
		for got := r.next(); ; got = r.next() { // perhaps twice
			if m, ok := got.(Message); ok && string(m.JSON) == strconv.Itoa(i) {
				break
			}
		}
	}
	if err := r.Send(t.Context(), "end"); err != nil {
		t.Fatal(err)
	}
	if ws := r.wait(); ws.ExitStatus() != 5 {
		t.Errorf("exit %v", ws)
	}
}

// An answer to a handle that waits when we are replaced is sent before.
func TestAnswersAreSentBeforeWeAreReplaced(t *testing.T) {
	r := open(t, Config{Node: true})
	w := r.hold(0)
	r.CloseChild()
	r.out.ack()
	r.Quiesce()
	r.succeed(false)
	if line, err := bufio.NewReader(w).ReadString('\n'); err != nil || line != ackLine {
		t.Errorf("%q, %v", line, err)
	}
}

func TestAdoptedIsAlone(t *testing.T) {
	r := open(t, Config{Tableflip: &Tableflip{}})
	names := r.hold(1)
	r.CloseChild()
	r.succeed(false)
	if _, ok := r.Held()[SuffixFlipNames]; !ok {
		t.Fatal("the names pipe is not held")
	}
	r.Alone()
	if _, ok := r.Held()[SuffixFlipNames]; ok {
		t.Error("the names pipe is held, and closed")
	}
	var all bytes.Buffer
	if _, err := all.ReadFrom(names); err != nil { // its end
		t.Error(err)
	}
}

func TestAdoptNothing(t *testing.T) {
	r := open(t, Config{})
	r.succeed(false)
	r.Start()
	if err := r.Send(t.Context(), "x"); !errors.Is(err, ErrNoChannel) {
		t.Error(err)
	}
	if err := r.Drain(t.Context()); err != nil {
		t.Error(err)
	}
}

// What can't be adopted is closed, all of it.
func TestAdoptRefuses(t *testing.T) {
	before := fds(t)
	r, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	null := func() int {
		fd, err := unix.FcntlInt(r.Fd(), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		return fd
	}
	for _, held := range []map[string]int{
		{SuffixNotify: null()},
		{SuffixNotify: null(), SuffixFlipNames: null()},
	} {
		if g, err := Adopt(Config{Worker: 7, Allow: anybody}, held, false, nil); err == nil {
			g.Close()
			t.Errorf("adopted %v", held)
		}
	}
	g, c, err := Open(Config{Notify: true, Allow: anybody}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Adopt(Config{}, kept(t, g), false, nil); !errors.Is(err, errUnchecked) {
		t.Errorf("a socket that nobody checks: %v, %v", err, c)
	}
	g.Close()
	r.Close()
	if after := fds(t); after != before {
		t.Errorf("descriptors before:\n%s\nafter:\n%s", before, after)
	}
}

// A line of the length that the package's doc names goes whole or not at all, into a socket of
// any fill.
func TestLinesGoWhole(t *testing.T) {
	p, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(p[0])
	defer unix.Close(p[1])
	size, err := unix.GetsockoptInt(p[0], unix.SOL_SOCKET, unix.SO_SNDBUF)
	if err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 32<<10)
	for fill := 1; fill < size; fill = fill*3 + 1 {
		unix.SendmsgN(p[0], line[:min(fill, len(line))], nil, nil, unix.MSG_DONTWAIT)
		for {
			n, err := unix.SendmsgN(p[0], line, nil, nil, unix.MSG_DONTWAIT)
			if err == unix.EAGAIN {
				break
			}
			if err != nil || n != len(line) {
				t.Fatalf("%d of %d bytes, %v", n, len(line), err)
			}
		}
		for {
			if n, err := unix.Read(p[1], make([]byte, size)); n <= 0 || err != nil {
				break
			}
		}
	}
}
