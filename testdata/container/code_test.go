package container

import (
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// app is one of an ecosystem file, with more keys each on a line of its own.
func app(name, args string, keys ...string) string {
	text := "  - name: " + name + "\n    script: /worker\n    args: " + args + "\n"
	for _, key := range keys {
		text += "    " + key + "\n"
	}
	return text
}

// file is an ecosystem file of apps.
func file(apps ...string) string { return "apps:\n" + strings.Join(apps, "") }

const once = "autorestart: false"

func TestItEndsWithTheCodeOfWhatItRan(t *testing.T) {
	for _, c := range []struct {
		name string
		apps string
		code int
	}{
		{"well", file(app("job", "exit 0", once)), 0},
		{"with a failure", file(app("job", "exit 7", once)), 7},
		{"with a code that a keeper knows", file(app("job", "exit 75", once)), 75},
		{"by a signal", file(app("job", "die 15", once)), 128 + 15},
		{"the first failure in the order of the file", file(
			app("z", "exit 0", once), app("y", "exit 8", once, "instances: 2"), app("x", "exit 9", once),
			app("idle", "hang", "autostart: false")), 8},
		{"too slow to be ready", file(app("job", "hang", once, "wait_ready: true", "listen_timeout: 50ms")), 1},
		{"one waits for it in vain", file(app("job", "exit 0", once, "wait_ready: true"), app("web", "hang", "depends_on: job")), 1},
		{"one that is left by its code", file(app("job", "exit 3", "stop_exit_codes: 3")), 3},
		{"one that may not be started", file(app("job", "exit 0", once, "user: 0")), 1},
		{"a broken file", "apps: [{nme: job}]\n", 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			run(t, bare(t, c.apps), nil).ends(c.code)
		})
	}
}

func TestWhatAnAppSaidLastIsShown(t *testing.T) {
	t.Parallel()
	c := run(t, bare(t, file(app("job", "finish 4", once))), nil)
	c.kill(c.pid("job"), syscall.SIGUSR1)
	c.ends(4)
	if said := c.out.String(); !strings.Contains(said, "job:0 | job is pid") {
		t.Errorf("stdout: %s", said)
	}
	if said := c.err.String(); !strings.Contains(said, "exit code 4") {
		t.Errorf("stderr: %s", said)
	}
}

func TestAContainerOfWhatGoesOnDoesNotEnd(t *testing.T) {
	t.Parallel()
	i := bare(t, file(app("job", "exit 5", once), app("web", "hang")))
	c := run(t, i, nil)
	c.pid("job")
	c.pid("web")
	c.exec(i, "stop", "web") // whoever stops it may start it again
	if list := c.exec(i, "start", "web"); !strings.Contains(list, "online") {
		t.Errorf("list:\n%s", list)
	}
	c.signal(syscall.SIGTERM)
	c.ends(0)
}

func TestStopSignals(t *testing.T) {
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(s.String(), func(t *testing.T) {
			t.Parallel()
			c := run(t, bare(t, file(app("web", "hang"), app("job", "exit 3", once))), nil)
			c.pid("web")
			c.pid("job")
			c.signal(s)
			c.ends(0)
		})
	}
}

func TestAppsStopInReverse(t *testing.T) {
	t.Parallel()
	quick := "min_uptime: 20ms"
	c := run(t, bare(t, file(
		app("web", "finish 0", quick, "depends_on: api"), app("api", "finish 0", quick, "depends_on: db"), app("db", "finish 0", quick),
	)), nil)
	pids := map[string]int{}
	for _, name := range []string{"db", "api", "web"} {
		pids[name] = c.pid(name)
	}
	c.signal(syscall.SIGTERM)
	for i, name := range []string{"web", "api", "db"} {
		c.await(c.out, name+" stopping")
		if n := strings.Count(c.out.String(), " stopping\n"); n != i+1 {
			t.Fatalf("%d are told to stop when it is %s's turn:\n%s", n, name, c.all())
		}
		c.signal(syscall.SIGTERM) // again: no harm
		c.signal(syscall.SIGINT)
		c.kill(pids[name], syscall.SIGUSR1)
	}
	c.ends(0)
}

func TestTheGraceEnds(t *testing.T) {
	t.Parallel()
	c := run(t, bare(t, file(app("mule", "stubborn", "kill_timeout: 100ms"))), nil)
	c.pid("mule")
	c.signal(syscall.SIGTERM)
	c.ends(0)
}

func TestOrphansAreReaped(t *testing.T) {
	t.Parallel()
	c := run(t, bare(t, file(app("tree", "orphan"))), nil)
	pid := 0
	fscan(t, c.await(c.err, "orphan is pid "), &pid)
	c.await(c.out, "tree is pid") // the child is left by now, or soon
	orphan := c.process(pid)
	if err := unix.PidfdSendSignal(orphan, unix.SIGTERM, nil, 0); err != nil {
		t.Fatal(err)
	}
	c.reaped(orphan)
	c.signal(syscall.SIGTERM)
	c.ends(0)
}

func TestADeadSupervisorIsReplaced(t *testing.T) {
	t.Parallel()
	i := bare(t, file(app("job", "finish 6", once)))
	c := run(t, i, nil)
	job, daemon := c.pid("job"), 0
	fscan(t, strings.TrimSuffix(strings.Fields(c.await(c.err, ", pid "))[0], ","), &daemon)
	c.kill(daemon, syscall.SIGKILL)
	c.await(c.err, "was killed by SIGKILL; started again as pid ")
	if list := c.exec(i, "list"); !strings.Contains(list, " "+text(job)+" ") {
		t.Errorf("pid %d is not in the list:\n%s", job, list)
	}
	c.kill(job, syscall.SIGUSR1)
	c.ends(6)
}

// A container that died with all of its processes is started again, with the same
// folder and another file.
func TestALifeBeforeDoesNotCount(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	keep := func(w *world) { w.Tmpfs, w.Binds = nil, map[string]string{home: "/home"} }
	open(t, home)
	chown(t, home, 12345)
	c := run(t, bare(t, file(app("old", "hang"))), keep)
	c.pid("old")
	c.cmd.Process.Kill()
	c.ends(128 + 9)
	c = run(t, bare(t, file(app("new", "exit 3", once))), keep)
	c.pid("new")
	c.ends(3)
	if said := c.all(); strings.Contains(said, "old") {
		t.Errorf("of the life before:\n%s", said)
	}
}
