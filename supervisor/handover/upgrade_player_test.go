package handover

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// What a player is told by its environment.
const (
	playerDir     = "UPGRADE_TEST_DIR"     // makes a test binary a player; its lock, socket and journal
	playerNew     = "UPGRADE_TEST_NEW"     // STEP:ACT, what a new process does wrong
	playerAlien   = "UPGRADE_TEST_ALIEN"   // under systemd: stay one, or die in TakeMain
	playerSchemas = "UPGRADE_TEST_SCHEMAS" // JSON, what it reads
)

// order is one line to a player, and answer its answer.
type order struct {
	Verb string // ping, upgrade, hold, write, read, look

	// upgrade
	Binary  string
	Env     []string
	Old     string // STEP:ACT, what the old process does wrong
	Limits  [3]time.Duration
	OffWhen string // STEP at which the context ends

	Name string // of a descriptor
	N    int
	Text string
}

type answer struct {
	PID   int
	Error string
	Words []string
	Text  string
	Names []string
	N     int
}

// TestUpgradePlayer is no test: it is the supervisor of the others, old and new.
func TestUpgradePlayer(t *testing.T) {
	if dir := os.Getenv(playerDir); dir != "" {
		os.Exit((&player{dir: dir}).main())
	}
}

// player is a supervisor that holds a lock, a control listener and descriptors.
type player struct {
	dir        string
	lock       *os.File
	control    *net.UnixListener
	held       map[string]int
	generation int

	accepting sync.WaitGroup

	closing sync.Mutex // a connection is closed and counted out in one, for look
	conns   int
}

// note appends an event to the journal, a FIFO.
func (p *player) note(format string, args ...any) {
	journal, err := os.OpenFile(filepath.Join(p.dir, "journal"), os.O_WRONLY, 0)
	if err == nil {
		fmt.Fprintf(journal, format+"\n", args...)
		journal.Close()
	}
}

func (p *player) main() int {
	if strings.HasPrefix(os.Getenv(playerNew), "start:") {
		p.note("new %d", os.Getpid())
	}
	p.act("start", os.Getenv(playerNew), nil)
	schemas := []int{1, 2}
	if text := os.Getenv(playerSchemas); text != "" {
		json.Unmarshal([]byte(text), &schemas)
	}
	s, err := Succeed("test", schemas...)
	if err != nil {
		p.note("failed %d %v", os.Getpid(), err)
		return ExitRefused
	}
	if s == nil {
		if err := p.found(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	} else if err := p.succeed(s); err != nil {
		p.note("refused %d %v", os.Getpid(), err)
		return s.Refuse(err)
	}
	if err := p.name(s); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	p.note("serving %d", os.Getpid())
	p.accept()
	term := make(chan os.Signal, 1)
	signal.Notify(term, unix.SIGTERM)
	<-term
	<-time.After(slowStop) // workers that take their time
	return 0
}

// slowStop is how long a player takes to end on SIGTERM.
const slowStop = 700 * time.Millisecond

// found begins with nothing.
func (p *player) found() (err error) {
	if p.lock, err = os.Create(filepath.Join(p.dir, "lock")); err != nil {
		return err
	}
	if err := flock(p.lock); err != nil {
		return err
	}
	p.held = map[string]int{}
	p.control, err = net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(p.dir, "sock"), Net: "unix"})
	return err
}

func flock(f *os.File) error {
	return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
}

// succeed goes the steps of a new process, and does what it was told to do wrong.
func (p *player) succeed(s *Successor) error {
	p.note("new %d", os.Getpid())
	wrong := os.Getenv(playerNew)
	if err := p.act("given", wrong, s); err != nil {
		return err
	}
	var state struct{ Generation int }
	if err := json.Unmarshal(s.State, &state); err != nil {
		return err
	}
	p.generation, p.lock, p.control, p.held = state.Generation+1, s.Lock, s.Control, s.Held
	if p.lock == nil || p.control == nil {
		return errors.New("no lock or no control listener")
	}
	if err := s.Adopted(); err != nil {
		return err
	}
	if err := p.act("adopted", wrong, s); err != nil {
		return err
	}
	final, err := s.Final(context.Background())
	if err != nil {
		return err
	}
	if string(final) != "the end" {
		return fmt.Errorf("final is %q", final)
	}
	if err := p.act("final", wrong, s); err != nil {
		return err
	}
	for _, fd := range s.Gone {
		unix.Close(fd)
	}
	if err := s.Ready(); err != nil {
		return err
	}
	if err := p.act("ready", wrong, s); err != nil {
		return err
	}
	return s.Committed(context.Background())
}

// act does what wrong, STEP:ACT, asks for at this step.
func (p *player) act(step, wrong string, s *Successor) error {
	at, what, _ := strings.Cut(wrong, ":")
	if at != step {
		return nil
	}
	switch what {
	case "exit":
		fmt.Println("bye")
		os.Exit(7)
	case "kill":
		unix.Kill(os.Getpid(), unix.SIGKILL)
	case "panic":
		panic("at the disco")
	case "hang":
		select {}
	case "refuse":
		return errors.New("I would rather not")
	case "babble":
		s.wire.send(message{Kind: msgHello})
		select {}
	case "garble":
		s.wire.send(message{Kind: "poetry"})
		select {}
	case "early":
		s.flip.Ready()
		select {}
	}
	panic("no act " + what)
}

// accept serves until its deadline.
func (p *player) accept() {
	p.control.SetDeadline(time.Time{})
	p.accepting.Go(func() {
		for {
			conn, err := p.control.Accept()
			if err != nil {
				return
			}
			p.accepting.Add(1)
			go func() {
				upgrading := p.serve(conn)
				if !upgrading {
					p.accepting.Done()
				}
			}()
		}
	})
}

// serve answers one order, and tells whether it was the upgrade, which can't wait
// for its own end.
func (p *player) serve(conn net.Conn) (upgrading bool) {
	p.closing.Lock()
	p.conns++
	p.closing.Unlock()
	defer func() {
		p.closing.Lock()
		conn.Close()
		p.conns--
		p.closing.Unlock()
	}()
	line, err := bufio.NewReader(conn).ReadBytes('\n')
	var o order
	if err != nil || json.Unmarshal(line, &o) != nil {
		return false
	}
	reply := func(a answer) {
		a.PID = os.Getpid()
		json.NewEncoder(conn).Encode(a)
	}
	if o.Verb == "upgrade" {
		p.accepting.Done()
		p.upgrade(o, reply)
		return true
	}
	reply(p.obey(o))
	return false
}

func (p *player) obey(o order) (a answer) {
	switch o.Verb {
	case "hold": // N pipes; the read end does not block, the write end does
		for i := range o.N {
			var pipe [2]int
			if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
				return answer{Error: err.Error()}
			}
			unix.SetNonblock(pipe[0], true)
			p.held[fmt.Sprintf("w%d.o", i)], p.held[fmt.Sprintf("w%d.i", i)] = pipe[0], pipe[1]
		}
	case "write", "read":
		var err error
		if fd, ok := p.held[o.Name]; !ok {
			err = errors.New("not held")
		} else if o.Verb == "write" {
			_, err = unix.Write(fd, []byte(o.Text))
		} else {
			buf := make([]byte, 1000)
			var n int
			n, err = unix.Read(fd, buf)
			a.Text = string(buf[:max(n, 0)])
		}
		if err != nil {
			a.Error = err.Error()
		}
	case "look":
		a = p.look()
	}
	a.N += p.generation * 1_000_000
	return a
}

// look tells how many descriptors there are beside the connections, and what is wrong with this process.
func (p *player) look() (a answer) {
	// What tableflip has left to the collector, which closes files on a goroutine of
	// its own, one after another.
	for range 2 {
		collected := make(chan struct{})
		runtime.SetFinalizer(new([64]byte), func(*[64]byte) { close(collected) })
		runtime.GC()
		<-collected
	}
	p.closing.Lock()
	a.Names = openFiles()
	a.N = len(a.Names) - p.conns
	p.closing.Unlock()
	wrong := func(format string, args ...any) { a.Error += fmt.Sprintf(format+"\n", args...) }
	for name, fd := range p.held {
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		if err != nil || flags&unix.FD_CLOEXEC == 0 {
			wrong("%s: not close-on-exec (%v)", name, err)
		}
		mode, _ := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
		if nonblock := mode&unix.O_NONBLOCK != 0; nonblock != strings.HasSuffix(name, ".o") {
			wrong("%s: non-blocking is %v", name, nonblock)
		}
	}
	for fd := 3; fd < 5; fd++ {
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil && flags&unix.FD_CLOEXEC == 0 {
			wrong("%d: not close-on-exec", fd)
		}
	}
	if other, err := os.Open(filepath.Join(p.dir, "lock")); err != nil || flock(other) == nil {
		wrong("the lock is not held (%v)", err)
	} else {
		other.Close()
	}
	if s := os.Getenv(flipSentinel) + os.Getenv("LISTEN_FDS") + os.Getenv("WATCHDOG_PID"); s != "" && p.generation > 0 {
		wrong("environment: %q", s)
	}
	if len(os.Args) != 2 || os.Args[0] != playerBinary() || os.Stdout.Name() != "/dev/stdout" || os.Stderr.Name() != "/dev/stderr" {
		wrong("os.Args %q, stdout %s, stderr %s", os.Args, os.Stdout.Name(), os.Stderr.Name())
	}
	out, _ := os.Readlink("/proc/self/fd/1")
	if want := filepath.Join(p.dir, "log"); out != want {
		wrong("stdout is %s", out)
	}
	a.Text = os.Getenv("UPGRADE_TEST_TOKEN")
	return a
}

func playerBinary() string {
	path, _ := filepath.Abs(os.Args[0])
	return path
}
