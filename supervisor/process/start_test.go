package process

import (
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

func shell(script string) Spec {
	return Spec{Path: "/bin/sh", Argv: []string{"sh", "-c", script}, Env: os.Environ(), Stdin: -1, Stdout: -1, Stderr: 2}
}

func asRoot(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
}

func TestExitStatus(t *testing.T) {
	for _, c := range []struct {
		args []string
		want Status
		text string
	}{
		{[]string{"exit", "0"}, Status{}, "exit code 0"},
		{[]string{"exit", "3"}, Status{Code: 3}, "exit code 3"},
		{[]string{"exit", "137"}, Status{Code: 137}, "exit code 137"},
		{[]string{"die", "9"}, Status{Signal: 9}, "killed by SIGKILL"},
		{[]string{"die", "15"}, Status{Signal: 15}, "killed by SIGTERM"},
	} {
		w := start(t, spec(c.args...))
		e := w.awaitExit()
		if e.Status != c.want || e.Status.String() != c.text || e.Left != 0 {
			t.Errorf("%v: %v, %d left; want %s", c.args, e.Status, e.Left, c.text)
		}
		w.awaitGone()
	}
	w := start(t, shell("kill -SEGV $$"))
	if s := w.awaitExit().Status; s.Signal != int(unix.SIGSEGV) || !strings.HasPrefix(s.String(), "killed by SIGSEGV") {
		t.Errorf("crash: %v", s)
	}
}

func TestStageErrors(t *testing.T) {
	dir := t.TempDir()
	script := filepath.Join(dir, "script")
	os.WriteFile(script, []byte("#!/no/such/interpreter\n"), 0o755)
	junk := filepath.Join(dir, "junk")
	os.WriteFile(junk, []byte("\x00\x01\x02"), 0o755)
	plain := filepath.Join(dir, "plain")
	os.WriteFile(plain, []byte("#!/bin/sh\n"), 0o644)
	for name, c := range map[string]struct {
		change func(*Spec)
		stage  Stage
		errno  unix.Errno
		text   string
	}{
		"no such file": {func(s *Spec) { s.Path = "/no/such/file" }, StageExec, unix.ENOENT,
			"cannot exec /no/such/file: no such file or directory"},
		"no interpreter": {func(s *Spec) { s.Path = script }, StageExec, unix.ENOENT,
			"cannot exec " + script + ": no such file or directory (the file is there, the interpreter that it names is not)"},
		"no program":     {func(s *Spec) { s.Path = junk }, StageExec, unix.ENOEXEC, "neither a program nor"},
		"not executable": {func(s *Spec) { s.Path = plain }, StageExec, unix.EACCES, "(it is not executable)"},
		"a folder":       {func(s *Spec) { s.Path = dir }, StageExec, unix.EACCES, "(it is a folder)"},
		"no directory":   {func(s *Spec) { s.Dir = "/no/such dir" }, StageChdir, unix.ENOENT, "cannot chdir to /no/such dir: no such file"},
		"a bad limit":    {func(s *Spec) { s.Limits = []Limit{{Resource: unix.RLIMIT_CORE, Soft: 2, Hard: 1}} }, StageRlimit, unix.EINVAL, "cannot set the limit core: invalid argument"},
		"a bad late limit": {func(s *Spec) { s.Limits = []Limit{{Resource: unix.RLIMIT_NOFILE, Soft: 2, Hard: 1}} }, StageRlimit, unix.EINVAL,
			"cannot set the limit nofile: invalid argument"},
		"a bad descriptor":  {func(s *Spec) { s.Files = []int{9999} }, StageFork, unix.EBADF, "cannot start the exec shim: bad file descriptor"},
		"a NUL in the path": {func(s *Spec) { s.Path = "a\x00b" }, StageFork, unix.EINVAL, "invalid argument"},
	} {
		t.Run(name, func(t *testing.T) {
			s := spec("wait")
			c.change(&s)
			child, err := Start(s)
			if err == nil {
				err = child.Go()
			}
			var e *StageError
			if !errors.As(err, &e) || e.Stage != c.stage || e.Errno() != c.errno || !strings.Contains(err.Error(), c.text) {
				t.Errorf("got %q (%v), want stage %s, %v", err, e, c.stage, c.errno)
			}
		})
	}
}

func TestWithoutPrivilege(t *testing.T) {
	asRoot(t)
	// The limit of the nice value is 20-nice: with none, 19 is all there is;
	// root's CAP_SYS_NICE is above it, so the worker is another user's shim.
	out, err := exec.Command("setpriv", "--reuid=65534", "--clear-groups", os.Args[0], "-test.run=^TestAsNobody$", "-test.v").CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, unix.EACCES) {
		t.Skip(err)
	}
	if err != nil || !strings.Contains(string(out), "PASS: TestAsNobody") {
		t.Errorf("%v\n%s", err, out)
	}
}

// The half of TestWithoutPrivilege and others that runs without privilege.
func TestAsNobody(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("run by TestWithoutPrivilege")
	}
	nice := -5
	s := shell("exit 0")
	s.Nice = &nice
	if _, err := Start(s); stage(err) != StageNice || err.Error() != "cannot set the nice value -5: permission denied" {
		t.Errorf("nice: %v", err)
	}
	for want, cred := range map[Stage]*Credential{
		StageSetuid:    {UID: 1, GID: -1},
		StageSetgid:    {UID: -1, GID: 1},
		StageSetgroups: {UID: 1, GID: 1, Groups: []int{}},
	} {
		s := shell("exit 0")
		s.Credential = cred
		c, err := Start(s)
		if err == nil {
			err = c.Go()
		}
		if stage(err) != want || !errors.Is(err, unix.EPERM) {
			t.Errorf("%v, want EPERM at %s", err, want)
		}
	}
	s = shell("id -u; grep NoNewPrivs /proc/self/status")
	s.Filter = FilterListen
	s.Credential = &Credential{UID: os.Geteuid(), GID: os.Getegid(), Groups: []int{1}}
	w := start(t, s)
	if fd := w.TakeNotifyFD(); fd >= 0 {
		unix.Close(fd)
	} else {
		t.Errorf("no filter without privilege: %v", w.FilterErr())
	}
	if got := strings.Join(w.rest(), " "); got != "65534 NoNewPrivs:\t1" {
		t.Errorf("as its own user the worker is %q", got)
	}
}

// A shell's & leaves SIGINT ignored, nohup SIGHUP; children inherit both, and
// the mask.
func TestSignalsAreReset(t *testing.T) {
	ignored := []os.Signal{unix.SIGINT, unix.SIGHUP, unix.SIGTSTP, unix.SIGPIPE, unix.Signal(40)}
	signal.Ignore(ignored...)
	defer signal.Reset(ignored...)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	block, old := uint64(1)<<(unix.SIGUSR1-1), uint64(0)
	unix.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_BLOCK, uintptr(unsafe.Pointer(&block)), uintptr(unsafe.Pointer(&old)), 8, 0, 0)
	defer unix.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&old)), 0, 8, 0, 0)

	bare, err := exec.Command("/bin/cat", "/proc/self/status").Output()
	if err != nil || !strings.Contains(string(bare), "SigBlk:\t0000000000000200") || strings.Contains(string(bare), "SigIgn:\t0000000000000000") {
		t.Fatalf("without the shim the signals are inherited? %v\n%s", err, bare)
	}
	w := start(t, Spec{Path: "/bin/cat", Argv: []string{"cat", "/proc/self/status"}, Stdin: -1, Stderr: 2})
	seen := 0
	for _, line := range w.rest() {
		switch name, value, _ := strings.Cut(line, ":\t"); name {
		case "SigBlk", "SigIgn", "SigCgt":
			seen++
			if value != "0000000000000000" {
				t.Errorf("the worker has %s %s", name, value)
			}
		}
	}
	if seen != 3 {
		t.Errorf("%d of 3 lines seen", seen)
	}
}

func TestListenPID(t *testing.T) {
	for _, given := range []string{"", "LISTEN_PID=1"} {
		s := spec("pid")
		s.ListenPID = true
		if given != "" {
			s.Env = append(s.Env, given)
		}
		w := start(t, s)
		pid := strconv.Itoa(w.PID())
		if got := w.line(); got != pid+" "+pid {
			t.Errorf("pid and LISTEN_PID are %q, want %s", got, pid)
		}
	}
}

// What Go's runtime reads reaches the worker, and not the shim.
func TestEnvironmentArrivesUnchanged(t *testing.T) {
	want := []string{
		"GODEBUG=inittrace=1", "GOMAXPROCS=3", "GOGC=17", "_GOGC=x", "__GODEBUG=y", "GOMEMLIMIT=1GiB",
		"GOTRACEBACK=crash", "EMPTY=", "LINES=a\nb", "=odd", "NOEQUALS", "_=/bin/x", "GOGCX=1", "UTF=\xff\xfe",
		"LARGE=" + strings.Repeat("x", 100_000),
	}
	w := start(t, Spec{Path: "/bin/cat", Argv: []string{"cat", "/proc/self/environ"}, Env: want, Stdin: -1, Stderr: 2})
	w.lines.Buffer(nil, 1<<20)
	got := strings.Join(w.rest(), "\n")
	if got != strings.Join(want, "\x00")+"\x00" {
		t.Errorf("environment:\n%q\nwant\n%q", got, want)
	}
}

func TestArgumentsAndDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a b %s \n c")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	s := shell(`printf '%s|' "$0" "$@"; pwd`)
	s.Argv = append(s.Argv, "zero", "", "one two", "-x")
	s.Dir = dir
	w := start(t, s)
	if got := strings.Join(w.rest(), "\n"); got != "zero||one two|-x|"+dir {
		t.Errorf("got %q", got)
	}
}

// A worker has its own descriptors and no others, whatever the shim opened.
func TestDescriptors(t *testing.T) {
	r, wr, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer wr.Close()
	s := Spec{Path: "/bin/ls", Argv: []string{"ls", "-l", "/proc/self/fd"}, Stdin: -1, Stderr: 2, Filter: FilterListen}
	var before bool
	raw, _ := r.SyscallConn()
	raw.Control(func(fd uintptr) {
		s.Files = []int{int(fd), int(fd)}
		before = nonblocking(fd)
	})
	w := start(t, s)
	defer unix.Close(w.TakeNotifyFD())
	var seen []string
	for _, line := range w.rest() {
		if _, link, ok := strings.Cut(line, " -> "); ok {
			words := strings.Fields(line)
			seen = append(seen, words[len(words)-3])
			if words[len(words)-3] == "0" && link != "/dev/null" {
				t.Errorf("stdin is %s", link)
			}
		}
	}
	// 5 is the folder that ls reads.
	if strings.Join(seen, " ") != "0 1 2 3 4 5" {
		t.Errorf("the worker has the descriptors %v", seen)
	}
	raw.Control(func(fd uintptr) {
		if after := nonblocking(fd); after != before || !after {
			t.Errorf("O_NONBLOCK of a file that was passed: before %v, after %v", before, after)
		}
	})
}

func TestUmaskNiceLimits(t *testing.T) {
	umask, nice := 0o027, 5
	s := shell("umask; nice; ulimit -Sn; ulimit -Hn; ulimit -Sc; ulimit -Sv")
	s.Umask, s.Nice = &umask, &nice
	s.Limits = []Limit{{Resource: unix.RLIMIT_NOFILE, Soft: 77, Hard: 88}, {Resource: unix.RLIMIT_CORE, Soft: 0, Hard: 0}, {Resource: unix.RLIMIT_AS, Soft: 1 << 30, Hard: 1 << 30}}
	w := start(t, s)
	if got := strings.Join(w.rest(), " "); got != "0027 5 77 88 0 1048576" {
		t.Errorf("umask, nice and limits are %q", got)
	}
}

// Go raises the soft limit of descriptors for itself; a worker gets the one
// that the supervisor was given.
func TestDescriptorLimitIsTheOriginal(t *testing.T) {
	bare, err := exec.Command("/bin/sh", "-c", "ulimit -Sn").Output()
	if err != nil {
		t.Fatal(err)
	}
	w := start(t, shell("ulimit -Sn"))
	if got := w.line(); got != strings.TrimSpace(string(bare)) {
		t.Errorf("the soft limit is %s, a plain child's is %s", got, bare)
	}
}

func TestCredential(t *testing.T) {
	asRoot(t)
	s := shell("id -u; id -g; id -G; grep CapEff /proc/self/status; touch /etc/x 2>/dev/null || echo refused")
	s.Credential = &Credential{UID: 65534, GID: 65533, Groups: []int{7, 8}}
	s.Filter = FilterListen
	w := start(t, s)
	defer unix.Close(w.TakeNotifyFD())
	if got := strings.Join(w.rest(), " "); got != "65534 65533 65533 7 8 CapEff:\t0000000000000000 refused" {
		t.Errorf("the worker is %q", got)
	}
	s = shell("id -u; id -g; id -G")
	s.Credential = &Credential{UID: -1, GID: 99, Groups: []int{}}
	w = start(t, s)
	if got := strings.Join(w.rest(), " "); got != "0 99 99" {
		t.Errorf("with a group alone the worker is %q", got)
	}
}

// The directory is entered as the user, not as root.
func TestDirectoryIsEnteredAsTheUser(t *testing.T) {
	asRoot(t)
	dir := t.TempDir()
	os.Chmod(dir, 0o700)
	s := shell("pwd")
	s.Dir, s.Credential = dir, &Credential{UID: 65534, GID: 65534, Groups: []int{}}
	c, err := Start(s)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Go(); stage(err) != StageChdir || !errors.Is(err, unix.EACCES) {
		t.Errorf("got %v, want EACCES at chdir", err)
	}
}

func TestAbort(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ran")
	s := shell("touch " + file)
	s.Filter = FilterListen
	c, err := Start(s)
	if err != nil {
		t.Fatal(err)
	}
	if p, err := readStat(c.PID()); err != nil || p.PGID != c.PID() || p.StartTime != c.StartTime() {
		t.Errorf("the shim is %+v, %v; want it to lead its group", p, err)
	}
	c.Abort()
	if alive(c.PID()) {
		t.Error("the shim lives")
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("the program ran")
	}
}

// A supervisor that is killed between Start and Go leaves nothing: the shim
// reads EOF.
func TestShimExitsWithTheSocket(t *testing.T) {
	c, err := Start(shell("exit 3"))
	if err != nil {
		t.Fatal(err)
	}
	c.sock.Close()
	if !c.awaitEnd(guard) {
		t.Fatal("the shim lives")
	}
	if s, err := waitExit(c.pidfd, false); err != nil || s.Code != ShimExit {
		t.Errorf("the shim ended with %v, %v; want %d", s, err, ShimExit)
	}
	c.reap()
}

func TestShimIsKilledBeforeGo(t *testing.T) {
	c, err := Start(shell("exit 3"))
	if err != nil {
		t.Fatal(err)
	}
	unix.PidfdSendSignal(c.PidFD(), unix.SIGKILL, nil, 0)
	if !c.awaitEnd(guard) {
		t.Fatal("the shim lives")
	}
	if err := c.Go(); stage(err) != StageHello {
		t.Errorf("Go gives %v, want the stage hello", err)
	}
}

func TestNotifyDescriptor(t *testing.T) {
	s := spec("exit", "0")
	s.Filter = FilterUnlink
	c, err := Start(s)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Abort()
	fd := c.TakeNotifyFD()
	if c.FilterErr() != nil || fd < 0 {
		t.Skipf("no filter here: %v", c.FilterErr())
	}
	defer unix.Close(fd)
	if link, _ := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd)); link != "anon_inode:seccomp notify" {
		t.Errorf("the notify descriptor is %s", link)
	}
	if flags, _ := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); flags&unix.FD_CLOEXEC == 0 {
		t.Error("the notify descriptor is not close-on-exec")
	}
	if c.TakeNotifyFD() != -1 {
		t.Error("it is given twice")
	}
}

// A supervisor under a supervisor: the second filter can't be had, and the
// worker starts all the same.
func TestFilterErrIsNoFailure(t *testing.T) {
	var filterErr, err error
	_, done := filtered(t, false, func() {
		s := shell("exit 0")
		s.Filter = FilterListen
		var c *Child
		if c, err = Start(s); err != nil {
			return
		}
		filterErr = c.FilterErr()
		if err = c.Go(); err == nil {
			<-c.Gone()
		}
	})
	<-done
	if err != nil || !errors.Is(filterErr, unix.EBUSY) {
		t.Errorf("started: %v; filter: %v, want EBUSY", err, filterErr)
	}
}
