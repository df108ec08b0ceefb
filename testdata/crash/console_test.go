package crash

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"supervisor/testdata/crash/lines"
	"supervisor/testdata/lab"
)

// console is a supervisor in the foreground, whose standard output has the lines of its
// workers and is the only log of them, as in a container.
type console struct {
	s     *site
	cmd   *exec.Cmd
	check lines.Check
	said  bytes.Buffer  // on standard error
	came  chan struct{} // has a token when a line has come since
	done  chan struct{}
}

// foreground starts one and waits for a line.
func (s *site) foreground() *console {
	s.t.Helper()
	c := &console{s: s, check: lines.Check{Other: own.Match}, came: make(chan struct{}, 1), done: make(chan struct{})}
	c.cmd = s.Command("start", "--no-daemon")
	c.cmd.Stderr = &c.said
	stdout, err := c.cmd.StdoutPipe()
	if err == nil {
		err = c.cmd.Start()
	}
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { c.cmd.Process.Kill() }) // of a test that fails
	go c.read(stdout)                            // ends with the supervisor
	c.next()
	return c
}

func (c *console) read(stdout io.Reader) {
	defer close(c.done)
	for in := bufio.NewScanner(stdout); in.Scan(); {
		if _, text, ok := bytes.Cut(in.Bytes(), []byte(" | ")); ok {
			c.check.Line("", func() string { return "stdout" }, text)
		}
		select {
		case c.came <- struct{}{}:
		default:
		}
	}
}

// next waits for a line that comes from now on.
func (c *console) next() {
	c.s.t.Helper()
	select {
	case <-c.came:
	default:
	}
	select {
	case <-c.came:
	case <-time.After(guard):
		c.s.t.Fatal("no line comes")
	}
}

// end stops everything and checks that each line came once.
func (c *console) end() {
	c.s.t.Helper()
	c.s.Must("kill")
	<-c.done
	c.cmd.Wait()
	if err := c.check.Counted(c.s.counts); err != nil {
		c.s.t.Error(err)
	}
	slow := uint64(0) // were we, on a busy machine
	for line := range strings.Lines(c.said.String()) {
		var n uint64
		fmt.Sscanf(line, "supervisor: %d lines were not shown", &n)
		slow += n
	}
	c.s.t.Logf("%v, %d not shown", &c.check, slow)
	if faults := c.check.Faults(); len(faults) > 0 && c.check.Lost != slow || c.check.Doubled > 0 || c.check.Foreign > 0 {
		c.s.t.Errorf("%v, though it says that %d were not shown\n%s", &c.check, slow, strings.Join(faults, "\n"))
	}
}

// inContainer is web with nothing but standard output for its lines.
func inContainer(t *testing.T, rate string) *app {
	t.Helper()
	a := web(t)
	a.rate, a.keys = rate, "out_file: /dev/null\nerror_file: /dev/null"
	return a
}

// What a worker prints while no supervisor runs is shown by the next.
func TestStandardOutputAfterAGap(t *testing.T) {
	s := newSite(t)
	order, printed := filepath.Join(s.Dir, "order"), filepath.Join(s.Dir, "printed")
	if err := unix.Mkfifo(order, 0o600); err != nil {
		t.Fatal(err)
	}
	const script = "exec 3<>order\nwhile read -r line <&3; do echo \"$line\"; echo \"$line\" >printed; done\n"
	const ecosystem = "apps:\n  - {name: echo, script: echo.sh, out_file: /dev/null, error_file: /dev/null, min_uptime: 0}\n"
	for name, text := range map[string]string{"echo.sh": script, "ecosystem.yaml": ecosystem} {
		if err := os.WriteFile(filepath.Join(s.Dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	orders, err := os.OpenFile(order, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer orders.Close()
	print := func(line string) {
		t.Helper()
		watch := lab.NewWatch(t, s.Dir)
		fmt.Fprintln(orders, line)
		if !watch.Until(func() bool {
			text, _ := os.ReadFile(printed)
			return string(text) == line+"\n"
		}) {
			t.Fatalf("%q is not printed", line)
		}
	}
	cmd := s.Command("start", "--no-daemon")
	stdout, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })                 // of a test that fails
	stdout.(*os.File).SetReadDeadline(time.Now().Add(guard)) // a pipe's end (os/exec)
	keeper, shown := lab.Hold(t, cmd.Process.Pid), bufio.NewScanner(stdout)
	want := func(line string) {
		t.Helper()
		if !shown.Scan() || shown.Text() != "echo:0 | "+line {
			t.Fatalf("%q, want %q", shown.Text(), line)
		}
	}
	print("before")
	want("before")
	for i := range 10 {
		daemon, line := s.daemon(), fmt.Sprint("gap ", i)
		keeper.Signal(unix.SIGSTOP)
		daemon.Kill()
		print(line)
		keeper.Signal(unix.SIGCONT)
		want(line)
	}
	s.Must("kill")
	if shown.Scan() {
		t.Errorf("more: %q", shown.Text())
	}
	cmd.Wait()
}

// A supervisor that is replaced shows what it has read.
func TestStandardOutputOverUpgrades(t *testing.T) {
	s := newSite(t, inContainer(t, "20/5ms"))
	s.lossy = true
	c := s.foreground()
	before := s.steady()
	for range 5 {
		old := s.daemon()
		s.Must("upgrade")
		s.upgraded(old)
		c.next()
		s.same("an upgrade", before, s.steady())
	}
	c.end()
}
