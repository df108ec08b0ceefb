package preload

import (
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// output runs a program to its end and returns all that it printed.
func output(t *testing.T, a app) string {
	t.Helper()
	n := a.start(t)
	var lines []string
	timeout := time.After(guard)
	for {
		select {
		case line, ok := <-n.lines:
			if !ok {
				<-n.ended
				return strings.Join(append(lines, n.state.String()), "\n")
			}
			lines = append(lines, line)
		case <-timeout:
			t.Fatalf("still runs: %s", lines)
		}
	}
}

// Before the signal a program sees nothing of the preload.
func TestNothingIsSeenBefore(t *testing.T) {
	each(t, func(t *testing.T, v string) {
		a := newApp(v, "quiet.cjs")
		with := output(t, a)
		a.bare = true
		without := output(t, a)
		if with != without || !strings.Contains(with, "done\nexit status 0") {
			t.Errorf("with the preload:\n%s\nwithout:\n%s", with, without)
		}
	})
}

// After the program has taken all its handlers away, the drain still comes.
func TestHandlersTakenAway(t *testing.T) {
	each(t, func(t *testing.T, v string) {
		n := newApp(v, "quiet.cjs", "STAY=1").start(t)
		n.next("done")
		n.signal()
		n.wantExit("exit status 0")
	})
}

// What does not listen ends by the signal as ever, even when it is in a busy loop;
// so do the REPL, node -e, and a cluster of the program's own.
func TestInert(t *testing.T) {
	each(t, func(t *testing.T, v string) {
		server := "require('http').createServer().listen(0, () => console.log('listening'))"
		for story, a := range map[string]app{
			"never listened": {script: "never.cjs"},
			"busy":           {script: "never.cjs", env: []string{"BUSY=1"}},
			"closed again":   {script: "never.cjs", env: []string{"PROBE=1"}},
			"node -e":        {argv: []string{"-e", server}},
			"cluster":        {script: "cluster.cjs"},
		} {
			a.version, a.listen, a.ipc = v, -1, -1
			t.Run(story, func(t *testing.T) {
				n := a.start(t).serve()
				n.signal()
				n.wantExit("signal: interrupt")
			})
		}
	})
}

// A program's own handler is heard in a process that never listens, too.
func TestHandlerWithoutServer(t *testing.T) {
	each(t, func(t *testing.T, v string) {
		n := newApp(v, "never.cjs", "HANDLER=1").start(t).serve()
		n.signal()
		n.wantExit("exit status 5")
	})
}

// A cluster worker of the program's own drains like any server.
func TestClusterWorker(t *testing.T) {
	each(t, func(t *testing.T, v string) {
		n := newApp(v, "cluster.cjs", "STAY=1").start(t).serve()
		c := n.dial()
		c.get("/")
		n.next("slow")
		n.next("signalled") // the primary has sent its worker the signal
		closes(t, c.head())
		if got := n.next("worker ended"); got != "0" {
			t.Errorf("the worker ended with %s", got)
		}
	})
}

// Threads load the preload as well.
func TestWorkerThread(t *testing.T) {
	each(t, func(t *testing.T, v string) {
		n := newApp(v, "thread.cjs").start(t).serve()
		n.signal()
		n.wantExit("signal: interrupt")
	})
}

// The REPL, npm and npx are as ever.
func TestTools(t *testing.T) {
	need(t)
	npm, err := exec.LookPath("npm")
	if err != nil {
		t.Fatal(err) // whoever has the versions of Node has it
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "package.json"), []byte(`{"scripts": {"hi": "echo hi from npm"}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	path, err := Install(t.TempDir(), 0o444)
	if err != nil {
		t.Fatal(err)
	}
	run := func(stdin string, argv ...string) string {
		cmd := exec.Command(argv[0], argv[1:]...)
		cmd.Dir, cmd.Stdin = dir, strings.NewReader(stdin)
		cmd.Env = append(os.Environ(), Env(path, "", "SIGINT", false)...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("%v: %v", argv, err)
		}
		return string(out)
	}
	if out := run("", npm, "run", "hi"); !strings.Contains(out, "hi from npm") {
		t.Error(out)
	}
	for _, v := range tested() {
		if out := run("process.listenerCount('SIGINT') + 40\n", binary(v), "-i"); !strings.Contains(out, "40") {
			t.Error(out)
		}
	}
}

// Whatever path the script is at, node finds it.
func TestQuotedPath(t *testing.T) {
	each(t, func(t *testing.T, v string) {
		dir := filepath.Join(t.TempDir(), `a "b" \c 'd'	é`)
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		path, err := Install(dir, 0o444)
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(binary(v), filepath.Join(nodeDir, "apps", "loaded.cjs"))
		cmd.Env = append(os.Environ(), Env(path, `--title "x y"`, "SIGINT", false)...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		var got struct {
			Loaded []string
			Title  string
		}
		if err := json.Unmarshal(out, &got); err != nil || len(got.Loaded) != 1 || got.Loaded[0] != path || got.Title != "x y" {
			t.Errorf("%v: %s", err, out)
		}
	})
}

// channel is a Node IPC channel: our end, and the worker's as a file descriptor.
func channel(t *testing.T) (ours net.Conn, theirs int) {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(pair[1]) })
	f := os.NewFile(uintptr(pair[0]), "channel")
	defer f.Close()
	ours, err = net.FileConn(f)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ours.Close() })
	return ours, pair[1]
}

// The message shutdown begins the drain; a program that listens to messages gets it.
func TestMessage(t *testing.T) {
	for _, handler := range []string{"none", "message"} {
		t.Run(handler, func(t *testing.T) {
			each(t, func(t *testing.T, v string) {
				ours, theirs := channel(t)
				a := newApp(v, "server.cjs", "HANDLER="+handler)
				a.message, a.ipc = true, theirs
				n := a.start(t).serve()
				idle, slow := n.dial(), n.dial()
				slow.get("/?ms=500")
				n.next("slow")
				if _, err := ours.Write([]byte("\"other\"\n\"shutdown\"\n")); err != nil {
					t.Fatal(err)
				}
				n.next("closing")
				idle.get("/stubborn")
				closes(t, idle.head())
				closes(t, slow.head())
				n.wantExit("exit status 0")
			})
		})
	}
}

// With the message in use too, the channel keeps no program alive, messages that
// nobody has asked for yet are kept for whoever does, and the signal is still heard.
func TestMessageIsLeft(t *testing.T) {
	each(t, func(t *testing.T, v string) {
		ours, theirs := channel(t)
		a := newApp(v, "late.cjs")
		a.message, a.ipc = true, theirs
		n := a.start(t).serve()
		for _, message := range []string{"one", "shutdown"} {
			if _, err := ours.Write([]byte(`"` + message + "\"\n")); err != nil {
				t.Fatal(err)
			}
			if got := n.next("message"); got != message {
				t.Errorf("got %q, want %q", got, message)
			}
		}
		n.wantExit("exit status 0")
	})
}
