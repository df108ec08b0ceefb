package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"supervisor/supervisor/state"
	"supervisor/testdata/load"
)

// editable is a supervisor with Go apps of two workers, whose file a test edits.
type editable struct {
	*supervisor
	keys map[string]string // by app
}

func newEditable(t *testing.T, ports map[string]int, more string) *editable {
	t.Helper()
	e := &editable{newSupervisor(t), map[string]string{}}
	for app, port := range ports {
		e.keys[app] = fmt.Sprintf("name: %s\nscript: %s\ninstances: 2\nwait_ready: true\nenv: {PORT: %d, COLOUR: red}\n%s", app, goServer(t), port, more)
	}
	e.save()
	e.Must("start", "ecosystem.yaml")
	return e
}

func (e *editable) save() {
	var apps []string
	for _, app := range []string{"web", "side", "late"} {
		if keys := e.keys[app]; keys != "" {
			apps = append(apps, keys)
		}
	}
	e.ecosystem(apps...)
}

// edit replaces a text in an app's keys and writes the file.
func (e *editable) edit(app, old, new string) {
	e.t.Helper()
	if !strings.Contains(e.keys[app], old) {
		e.t.Fatalf("%q is not in\n%s", old, e.keys[app])
	}
	e.keys[app] = strings.Replace(e.keys[app], old, new, 1)
	e.save()
}

// environ is a worker's environment.
func (s *supervisor) environ(pid int) map[string]string {
	s.t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if err != nil {
		s.t.Fatal(err)
	}
	env := map[string]string{}
	for _, e := range strings.Split(string(data), "\x00") {
		name, value, _ := strings.Cut(e, "=")
		env[name] = value
	}
	return env
}

// replaced runs a command and says which of an app's pids it has changed.
func (s *supervisor) replaced(app string, args ...string) (changed bool) {
	s.t.Helper()
	before := s.Pids(app)
	s.Must(args...)
	after := s.Pids(app)
	same := 0
	for _, pid := range after {
		if slices.Contains(before, pid) {
			same++
		}
	}
	if same != 0 && same != len(after) {
		s.t.Errorf("%v: some of %s's workers were replaced: %v, now %v", args, app, before, after)
	}
	return same == 0
}

func refused(port int) bool {
	conn, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err == nil {
		conn.Close()
	}
	return err != nil
}

// Every change of the file is applied by start FILE, and only where there is one.
func TestEveryChangedKeyIsApplied(t *testing.T) {
	t.Parallel()
	web, side, moved := freePort(t), freePort(t), freePort(t)
	e := newEditable(t, map[string]int{"web": web, "side": side}, "")
	const start = "start"
	apply := func(what string) {
		t.Helper()
		others := e.Pids("side")
		if !e.replaced("web", start, "ecosystem.yaml") {
			t.Errorf("%s: web was not replaced", what)
		}
		if now := e.Pids("side"); !slices.Equal(now, others) {
			t.Errorf("%s: side was replaced: %v, now %v", what, others, now)
		}
	}
	under(t, on(side), func(*load.Load) {
		under(t, on(web), func(*load.Load) {
			if e.replaced("web", start, "ecosystem.yaml") {
				t.Error("the unchanged was replaced")
			}
			e.edit("web", "COLOUR: red", "COLOUR: blue")
			apply("env")
			for _, pid := range e.Pids("web") {
				if got := e.environ(pid)["COLOUR"]; got != "blue" {
					t.Errorf("COLOUR is %q after the change", got)
				}
			}
			e.edit("web", ", COLOUR: blue", "")
			apply("env removed")
			for _, pid := range e.Pids("web") {
				if got, ok := e.environ(pid)["COLOUR"]; ok {
					t.Errorf("COLOUR is %q after it was removed", got)
				}
			}

			before := e.Pids("web")
			e.edit("web", "instances: 2", "instances: 3")
			e.Must(start, "ecosystem.yaml")
			if now := e.Pids("web"); len(now) != 3 || !slices.Equal(now[:2], before) {
				t.Errorf("instances 2 -> 3: %v, now %v", before, now)
			}
			e.edit("web", "instances: 3", "instances: 2")
			e.Must(start, "ecosystem.yaml")
			if now := e.Pids("web"); !slices.Equal(now, before) {
				t.Errorf("instances 3 -> 2: %v, now %v", before, now)
			}

			copied := filepath.Join(e.Dir, "bin", "server2")
			e.write("bin/server2", e.read(goServer(t)))
			if err := os.Chmod(copied, 0o755); err != nil {
				t.Fatal(err)
			}
			e.edit("web", "script: "+goServer(t), "script: bin/server2")
			apply("script")
			if exe, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", e.Pids("web")[0])); exe != copied {
				t.Errorf("web runs %s, not the new script", exe)
			}
			e.edit("web", "script: bin/server2", "script: ./server2\ncwd: bin")
			apply("cwd")
			if cwd, _ := os.Readlink(fmt.Sprintf("/proc/%d/cwd", e.Pids("web")[0])); cwd != filepath.Join(e.Dir, "bin") {
				t.Errorf("web runs in %s", cwd)
			}
			e.edit("web", "script: ./server2", "script: ./wrapped")
			e.write("bin/wrapped", "exec ./server2 \"$@\"\n")
			e.edit("web", "cwd: bin", "cwd: bin\ninterpreter: sh")
			apply("interpreter")
			e.edit("web", "cwd: bin", "cwd: bin\nargs: -linger 2s")
			apply("args")
			if cmd := e.read(fmt.Sprintf("/proc/%d/cmdline", e.Pids("web")[0])); !strings.Contains(cmd, "-linger\x002s") {
				t.Errorf("web runs %q", cmd)
			}
			e.edit("web", "cwd: bin", "cwd: bin\nkill_timeout: 9s")
			apply("kill_timeout")
		})
		e.edit("web", fmt.Sprint(web), fmt.Sprint(moved))
		apply("PORT")
		under(t, on(moved), func(*load.Load) {
			if !refused(web) {
				t.Errorf("the old port %d still accepts", web)
			}
		})
		e.edit("web", "wait_ready: true", fmt.Sprintf("wait_ready: true\nlisten: ['tcp://127.0.0.1:%d']", web))
		e.edit("web", "-linger 2s", "-linger 2s -mode listenfds")
		apply("listen")
		under(t, on(web), func(*load.Load) {
			if !refused(moved) {
				t.Errorf("the old port %d still accepts", moved)
			}
			e.edit("web", "-linger 2s", "-linger 3s")
			apply("args of a server on LISTEN_FDS")
		})
	})
}

func names(s state.Snapshot) (all []string) {
	for _, a := range s.Apps {
		all = append(all, a.Name)
	}
	slices.Sort(all)
	return all
}

// Apps that come and go, plans, and the choice of apps.
func TestAppsComeAndGo(t *testing.T) {
	t.Parallel()
	web, side, late := freePort(t), freePort(t), freePort(t)
	e := newEditable(t, map[string]int{"web": web, "side": side}, "")
	under(t, on(web), func(*load.Load) {
		kept := e.Pids("web")
		e.keys["late"] = strings.ReplaceAll(strings.ReplaceAll(e.keys["side"], "side", "late"), fmt.Sprint(side), fmt.Sprint(late))
		gone := e.keys["side"]
		e.keys["side"] = ""
		e.save()

		// The plan says what would be done, and nothing is.
		plan := e.Must("start", "ecosystem.yaml", "--dry-run").Stdout
		for _, says := range []string{"web: unchanged", "late: start (new)", "side: delete (not in the file any more)"} {
			contains(t, plan, says)
		}
		plan = e.Must("reload", "ecosystem.yaml", "--dry-run").Stdout
		contains(t, plan, "web: replace")
		if got := names(e.List()); !slices.Equal(got, []string{"side", "web"}) || !slices.Equal(e.Pids("web"), kept) {
			t.Errorf("--dry-run changed something: %v, web %v, was %v", got, e.Pids("web"), kept)
		}

		e.Must("start", "ecosystem.yaml")
		if got := names(e.List()); !slices.Equal(got, []string{"late", "web"}) || !slices.Equal(e.Pids("web"), kept) {
			t.Errorf("the apps are %v, web %v, was %v", got, e.Pids("web"), kept)
		}
		if !refused(side) || refused(late) {
			t.Errorf("side refuses: %v, late refuses: %v", refused(side), refused(late))
		}

		// The other way round by reload, which replaces the unchanged too.
		e.keys["side"], e.keys["late"] = gone, ""
		e.save()
		if !e.replaced("web", "reload", "ecosystem.yaml") {
			t.Error("reload FILE left the unchanged alone")
		}
		if got := names(e.List()); !slices.Equal(got, []string{"side", "web"}) {
			t.Errorf("the apps are %v", got)
		}

		// --only leaves the others alone.
		kept = e.Pids("web")
		e.edit("web", "COLOUR: red", "COLOUR: blue")
		if !e.replaced("side", "reload", "ecosystem.yaml", "--only", "side") {
			t.Error("side was not replaced")
		}
		if now := e.Pids("web"); !slices.Equal(now, kept) {
			t.Errorf("--only side replaced web: %v, now %v", kept, now)
		}
		e.Fails(2, []string{"sdie"}, "reload", "ecosystem.yaml", "--only", "sdie")
		e.Fails(1, []string{"wbe"}, "reload", "wbe")
	})
}

// --env NAME is kept over reloads until another is asked for.
func TestEnvNameIsKept(t *testing.T) {
	t.Parallel()
	s := newSupervisor(t)
	port := freePort(t)
	s.ecosystem(fmt.Sprintf("name: web\nscript: %s\nwait_ready: true\nenv: {PORT: %d, COLOUR: red}\nenv_blue: {COLOUR: blue, ONLY: b}\nenv_green: {COLOUR: green}", goServer(t), port))
	colour := func(want, only string) {
		t.Helper()
		env := s.environ(s.Pids("web")[0])
		if env["COLOUR"] != want || env["ONLY"] != only {
			t.Errorf("COLOUR is %q, ONLY %q, want %q and %q", env["COLOUR"], env["ONLY"], want, only)
		}
	}
	s.Must("start", "ecosystem.yaml", "--env", "blue")
	colour("blue", "b")
	s.complete("web")
	colour("blue", "b")
	s.Must("reload", "ecosystem.yaml")
	colour("blue", "b")
	s.complete("web", "--env", "green")
	colour("green", "")
	s.Must("reload")
	colour("green", "")
	s.Fails(2, []string{"grene"}, "reload", "web", "--env", "grene")
	colour("green", "")
}

// scale, stop, start, restart and delete, and what a count that was scaled by hand
// outlives.
func TestScaleStopStartRestartDelete(t *testing.T) {
	t.Parallel()
	web, side := freePort(t), freePort(t)
	e := newEditable(t, map[string]int{"web": web, "side": side}, "")
	count := func(want int, args ...string) {
		t.Helper()
		before := e.Pids("web")
		e.Must(args...)
		now := e.Pids("web")
		if len(now) != want {
			t.Errorf("%v: %d workers, want %d", args, len(now), want)
		}
		if n := min(len(before), len(now)); !slices.Equal(before[:n], now[:n]) {
			t.Errorf("%v replaced workers: %v, now %v", args, before, now)
		}
	}
	under(t, on(web), func(*load.Load) {
		count(4, "scale", "web", "4")
		count(5, "scale", "web", "+1")
		count(3, "scale", "web", "-2")
		e.complete("web")
		if n := len(e.Pids("web")); n != 3 {
			t.Errorf("%d workers after a reload of 3", n)
		}
		count(1, "scale", "web", "1")
		e.Fails(2, []string{"web", "between 1 and"}, "scale", "web", "-1")
		e.Must("scale", "web", "max")
		e.edit("web", "instances: 2", "instances: 1")
		e.Must("start", "ecosystem.yaml")
		if n := len(e.Pids("web")); n != 1 {
			t.Errorf("%d workers after the file said 1", n)
		}
		e.Must("scale", "web", "2")
	})

	before := e.Pids("web")
	e.Must("stop", "web")
	if app := e.App("web"); app.Status != "stopped" || !refused(web) || refused(side) || len(alive(before)) > 0 {
		t.Errorf("after stop web is %s, refuses: %v, alive: %v; side refuses: %v", app.Status, refused(web), alive(before), refused(side))
	}
	e.Must("stop", "web") // it already was
	out := e.Must("reload", "web")
	contains(t, out.All(), "stopped")
	if app := e.App("web"); app.Status != "stopped" {
		t.Errorf("a stopped app is %s after a reload", app.Status)
	}
	e.Must("start", "web")
	under(t, on(web), func(*load.Load) {
		if n := len(e.Pids("web")); n != 2 {
			t.Errorf("%d workers after start, want the 2 of before", n)
		}
		now := e.Pids("web")
		e.Must("start", "web") // it already runs
		if !slices.Equal(e.Pids("web"), now) {
			t.Error("start replaced what runs")
		}
		if !e.replaced("web", "restart", "web") { // slot by slot, with the sockets held
			t.Error("restart left workers alone")
		}
	})
	e.Must("delete", "web")
	if got := names(e.List()); !slices.Equal(got, []string{"side"}) || !refused(web) {
		t.Errorf("after delete the apps are %v, web refuses: %v", got, refused(web))
	}
	e.Fails(1, []string{"web"}, "reload", "web")
	e.Must("start", "ecosystem.yaml")
	if n := len(e.Pids("web")); n != 1 {
		t.Errorf("%d workers after delete and start, want the file's 1", n)
	}
	e.Must("delete")
	if got := names(e.List()); len(got) > 0 || !refused(web) || !refused(side) {
		t.Errorf("after delete of all: %v", got)
	}
}
