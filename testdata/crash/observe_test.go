package crash

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"supervisor/supervisor/control"
	"supervisor/supervisor/state"
	"supervisor/testdata/lab"
)

// seat is a worker's place.
type seat struct {
	app  string
	slot int
}

// view is who sits where, by pid.
type view map[seat]int

// of is the part of one app.
func (v view) of(app string) view {
	part := make(view)
	for at, pid := range v {
		if at.app == app {
			part[at] = pid
		}
	}
	return part
}

// view reads the workers of a list: one in each seat, ready, all of the app's; the
// reason if the list is not like that.
func (s *site) view(snapshot state.Snapshot) (view, string) {
	v := make(view)
	for _, a := range snapshot.Apps {
		want := a.Instances
		if a.Status == state.AppStopped {
			want = 0
		} else if a.Status != state.AppOnline {
			return nil, fmt.Sprintf("%s is %s", a.Name, a.Status)
		}
		for _, w := range a.Workers {
			at := seat{a.Name, w.Slot}
			switch {
			case w.PID == 0:
				continue
			case v[at] != 0:
				return nil, fmt.Sprintf("%v has two workers", at)
			case !w.Ready:
				return nil, fmt.Sprintf("%v is %s, not ready", at, w.State)
			}
			v[at] = w.PID
		}
		if have := len(v.of(a.Name)); have != want {
			return nil, fmt.Sprintf("%s has %d workers, want %d", a.Name, have, want)
		}
	}
	return v, ""
}

// settled waits until every app is online or stopped as a whole, as is says, which gives
// the reason why not, and the processes are those of the list; it returns the view. It
// looks at each event of the daemon, whichever daemon that is by then.
func (s *site) settled(is func(state.Snapshot) string) view {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), guard)
	defer cancel()
	client := control.Dial(s.Socket())
	for why := "nobody was asked"; ; {
		events := s.Events(ctx)
		for more := true; more; _, more = events.Next() {
			snapshot, err := client.List(ctx)
			if ctx.Err() != nil {
				break // why is what it was
			}
			if err != nil {
				why = err.Error()
				continue
			}
			var v view
			if v, why = s.view(snapshot); why == "" {
				why = is(snapshot)
			}
			if why == "" {
				why = s.whole(v)
			}
			if why == "" {
				return v
			}
		}
		if ctx.Err() != nil {
			list, _ := json.Marshal(s.List())
			s.t.Fatalf("it does not settle: %s\n%s", why, list)
		}
	}
}

// as says that the apps are as the test means them to be.
func (s *site) as(snapshot state.Snapshot) string {
	known := 0
	for _, a := range s.apps {
		if !a.absent {
			known++
		}
	}
	if len(snapshot.Apps) != known {
		return fmt.Sprintf("%d apps, want %d", len(snapshot.Apps), known)
	}
	for _, a := range snapshot.Apps {
		want := s.app(a.Name)
		if want.absent || a.Instances != want.instances || (a.Status == state.AppStopped) != want.stopped {
			return fmt.Sprintf("%s has %d instances and is %s, want %d (stopped: %v)", a.Name, a.Instances, a.Status, want.instances, want.stopped)
		}
	}
	return ""
}

// steady is settled as meant.
func (s *site) steady() view {
	s.t.Helper()
	return s.settled(s.as)
}

// whole says that the processes of the home are one daemon, one keeper and the workers of
// the view, no orphan, no double; or what else there is.
func (s *site) whole(v view) string {
	s.t.Helper()
	var wrong []string
	daemons, keepers, seen := 0, 0, make(map[int]bool)
	pids := slices.Collect(maps.Values(v))
	for _, p := range s.settledProcesses() {
		if p.Role == lab.Worker && slices.Contains(pids, p.Parent) {
			continue // a worker's child
		}
		slot, _ := strconv.Atoi(p.Slot)
		switch at := (seat{p.App, slot}); p.Role {
		case lab.Daemon:
			daemons++
		case lab.Keeper:
			keepers++
		case lab.Worker:
			if seen[p.PID] = true; v[at] != p.PID {
				wrong = append(wrong, fmt.Sprintf("%v (%v; the list has pid %d there)", p, at, v[at]))
			}
		case lab.Foreign:
			wrong = append(wrong, p.String())
		}
	}
	for at, pid := range v {
		if !seen[pid] {
			wrong = append(wrong, fmt.Sprintf("pid %d of %v does not live", pid, at))
		}
	}
	if daemons != 1 || keepers != 1 {
		wrong = append(wrong, fmt.Sprintf("%d daemons and %d keepers", daemons, keepers))
	}
	return strings.Join(wrong, "\n")
}

// settledProcesses are those of the home without shims: one whose daemon has died ends
// by itself, and is waited for.
func (s *site) settledProcesses() (found []lab.Process) {
	s.t.Helper()
	for _, p := range s.Scan() {
		if p.Role != lab.Shim {
			found = append(found, p)
		} else if h := lab.Hold(s.t, p.PID); h != nil {
			h.Wait()
		}
	}
	return found
}

// daemon holds the daemon that runs; if none does, it waits for the next.
func (s *site) daemon() *lab.Handle {
	s.t.Helper()
	var h *lab.Handle
	runs := func() bool {
		text, err := os.ReadFile(filepath.Join(s.Home, "supervisor.pid"))
		pid, aerr := strconv.Atoi(strings.TrimSpace(string(text)))
		if err != nil || aerr != nil {
			return false
		}
		h = lab.Hold(s.t, pid)
		return h != nil && !h.Ended()
	}
	if !runs() && !lab.NewWatch(s.t, s.Home).Until(runs) {
		s.t.Fatal("no daemon comes")
	}
	return h
}

// dies kills the daemon.
func (s *site) dies() {
	s.t.Helper()
	s.daemon().Kill()
}

// keeper holds the keeper of the home, of which there has to be one.
func (s *site) keeper() *lab.Handle {
	s.t.Helper()
	for _, p := range s.Scan() {
		if p.Role == lab.Keeper {
			if h := lab.Hold(s.t, p.PID); h != nil {
				return h
			}
		}
	}
	s.t.Fatal("there is no keeper")
	return nil
}

// same checks that the workers of two views are the same, but for those of the apps.
func (s *site) same(when string, before, after view, but ...string) {
	s.t.Helper()
	other := func(at seat, _ int) bool { return slices.Contains(but, at.app) }
	before, after = maps.Clone(before), maps.Clone(after)
	maps.DeleteFunc(before, other)
	maps.DeleteFunc(after, other)
	if !maps.Equal(before, after) {
		s.t.Errorf("%s: the workers were %v, are %v", when, before, after)
	}
}

// replaced checks that an app has a new worker in each seat.
func (s *site) replaced(when, name string, before, after view) {
	s.t.Helper()
	for at, pid := range after.of(name) {
		if before[at] == pid {
			s.t.Errorf("%s: %v still has pid %d", when, at, pid)
		}
	}
}

// figures is what a process takes at one moment.
type figures struct {
	descriptors    int
	resident, part int // kB; part: what would be free without it (PSS)
}

func (s *site) figures(pid int) (f figures) {
	s.t.Helper()
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		s.t.Fatal(err)
	}
	f.descriptors = len(fds)
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		s.t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		switch words := strings.Fields(line); words[0] {
		case "Rss:":
			f.resident, _ = strconv.Atoi(words[1])
		case "Pss:":
			f.part, _ = strconv.Atoi(words[1])
		}
	}
	return f
}

// mount puts a small disk of its own on the home.
func (s *site) mount(size string) {
	s.t.Helper()
	if os.Geteuid() != 0 {
		lab.Missing(s.t, "only root can mount a small disk")
	}
	if err := os.MkdirAll(s.Home, 0o700); err != nil {
		s.t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", s.Home, "tmpfs", 0, "mode=0700,size="+size); err != nil {
		lab.Missing(s.t, "cannot mount a small disk: %v", err)
	}
}
