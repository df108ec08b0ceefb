package handover

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"supervisor/supervisor/trim"
)

func TestKeeperArguments(t *testing.T) {
	for _, o := range []KeeperOptions{
		{Home: "/h", Daemon: []string{"supervisor", "daemon"}},
		{Home: "/h", Daemon: []string{"supervisor", "start", "--no-daemon", "--", "x"}, ReadyFD: 3, Watch: 77, UpFD: 9},
		{Home: "/h", Daemon: []string{"supervisor", "daemon"}, Upward: "@run/notify --watch"},
	} {
		args := o.Args()
		if !IsKeeper(args) {
			t.Errorf("%q", args)
		}
		if got, err := parseKeeper(args); err != nil || fmt.Sprint(got) != fmt.Sprint(o) {
			t.Errorf("%q: %+v, %v", args, got, err)
		}
	}
	for _, args := range []string{"", "k", "k relative -- d", "k /h", "k /h --", "k /h --watch 1 -- d", "k /h --watch x -- d", "k /h --ready-fd 2 -- d", "k /h --what -- d", "k /h --up-fd -1 -- d"} {
		if _, err := parseKeeper(strings.Fields(args)); err == nil {
			t.Errorf("%q was taken", args)
		}
	}
}

func FuzzParseKeeper(f *testing.F) {
	f.Add("/h", "--watch", "12", "d")
	f.Fuzz(func(t *testing.T, home, a, b, c string) {
		o, err := parseKeeper([]string{KeeperName, home, a, b, "--", c})
		if err == nil && (o.Watch == 1 || o.Watch < 0 || len(o.Daemon) == 0) {
			t.Fatalf("%+v", o)
		}
	})
}

func TestTheNamesFitTheEnvironment(t *testing.T) {
	const notOpen = 1 << 20 // a number that is no descriptor's
	k := newKeeper(KeeperOptions{Home: t.TempDir()})
	for i := 0; k.store.names < maxNames; i++ {
		k.keep(strconv.Itoa(i)+strings.Repeat("x", 200), &packet{fds: []int{notOpen}})
		if i > maxNames {
			t.Fatal("there is no end")
		}
		if k.store.names+210 > maxNames {
			break
		}
	}
	before := len(k.store.held)
	k.keep(strings.Repeat("y", 255), &packet{fds: []int{notOpen}})
	k.keep(strings.Repeat("a:b", 5), &packet{fds: []int{notOpen}})
	k.keep("none", &packet{})
	k.keep("0"+strings.Repeat("x", 200), &packet{fds: []int{notOpen}}) // one that is there is replaced
	if n := k.store.last; n != uint64(before)+1 {
		t.Errorf("%d were stored, want one more than %d", n, before)
	}
	if len(k.store.held) != before {
		t.Error("stored nevertheless")
	}
	for _, kv := range k.environment(k.store.all()) {
		if strings.HasPrefix(kv, "LISTEN_FDNAMES=") && len(kv) >= 128<<10 {
			t.Errorf("%d bytes", len(kv))
		}
	}
}

// A daemon that can't be started is told to whoever waits on the ready pipe.
func TestTheStarterHearsWhyThereIsNoDaemon(t *testing.T) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(p[0])
	long := strings.Repeat("x", 256<<10) // no argument may be as long (MAX_ARG_STRLEN)
	k := newKeeper(KeeperOptions{Home: t.TempDir(), Daemon: []string{actorName, long}, ReadyFD: p[1]})
	k.trimmer = trim.New()
	defer k.trimmer.End()
	if code := k.notBegun(k.start("")); code != exitFailed {
		t.Errorf("exit code %d", code)
	}
	buf := make([]byte, 1<<10)
	if n, err := unix.Read(p[0], buf); !strings.HasPrefix(string(buf[:max(n, 0)]), "error: cannot start the daemon: argument list too long") {
		t.Errorf("%q, %v", buf[:n], err)
	}
}

// What the keeper was told of others is not the daemon's.
func TestTheDaemonsEnvironment(t *testing.T) {
	for _, name := range []string{"LISTEN_PID", "LISTEN_FDS", "NOTIFY_SOCKET", "FDSTORE", KeeperVariable, carriedVariable, flipSentinel} {
		t.Setenv(name, "another's")
	}
	t.Setenv("LISTEN", "theirs")
	env := newKeeper(KeeperOptions{Home: t.TempDir()}).environment(nil)
	for _, kv := range env {
		if strings.HasSuffix(kv, "=another's") {
			t.Error(kv)
		}
	}
	if !slices.Contains(env, "LISTEN=theirs") {
		t.Errorf("%q", env)
	}
}
