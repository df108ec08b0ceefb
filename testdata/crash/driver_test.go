package crash

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"supervisor/supervisor/state"
	"supervisor/testdata/lab"
)

// act is something that is done to a site: a command, or the death of a worker. It says
// what the site is to be then, whatever happens to the daemon meanwhile.
type act struct {
	name  string // for the log
	app   *app   // that it is about; nil: none
	args  []string
	begin func() // instead of a command, or nil
	ready func() // what has to be there before, or nil
	judge func(s *site, o outcome)
}

// outcome is what an act came to.
type outcome struct {
	act           act
	out           lab.Output
	before, after view
	died          bool // the daemon did meanwhile
}

func (o outcome) String() string {
	return fmt.Sprintf("%s: exit %d\n%s", o.act.name, o.out.Code, o.out.All())
}

// running is an act under way.
type running struct {
	s      *site
	act    act
	before view
	out    lab.Output
	done   chan struct{}
}

// begin begins an act on a settled site.
func (s *site) begin(a act, before view) *running {
	s.t.Helper()
	if a.ready != nil {
		a.ready()
	}
	r := &running{s: s, act: a, before: before, done: make(chan struct{})}
	if a.begin != nil {
		a.begin()
		close(r.done)
		return r
	}
	cmd := s.Command(a.args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	hangs := time.AfterFunc(2*guard, func() { cmd.Process.Signal(unix.SIGABRT) })
	go func() { // ends with the command
		defer close(r.done)
		cmd.Wait()
		hangs.Stop()
		r.out = lab.Output{Stdout: stdout.String(), Stderr: stderr.String(), Code: cmd.ProcessState.ExitCode()}
	}()
	return r
}

// end waits for the end of the act and until the site is settled, and judges.
func (r *running) end(died bool) view {
	s := r.s
	s.t.Helper()
	<-r.done
	o := outcome{act: r.act, out: r.out, before: r.before, died: died}
	if o.out.Code < 0 || strings.Contains(o.out.Stderr, "goroutine 1") {
		s.t.Fatalf("it hangs, or died: %v", o)
	}
	settled := false
	defer func() {
		if !settled {
			s.t.Logf("after %v", o)
		}
	}()
	o.after = s.settled(func(snapshot state.Snapshot) string { return s.meant(o, snapshot) })
	settled = true
	if r.act.app == nil {
		s.same(o.String(), o.before, o.after)
	} else {
		s.same(o.String(), o.before, o.after, r.act.app.name)
	}
	if r.act.judge != nil {
		r.act.judge(s, o)
	}
	if s.t.Failed() {
		s.t.Logf("after %v", o)
	}
	return o.after
}

// meant says that the apps are as the test means them to be. What a command that was
// cut short did to its own app is not known; the test goes by what it finds.
func (s *site) meant(o outcome, snapshot state.Snapshot) string {
	if a := o.act.app; a != nil && o.died && o.out.Code != 0 {
		for _, found := range snapshot.Apps {
			if found.Name == a.name {
				a.instances, a.stopped = found.Instances, found.Status == state.AppStopped
			}
		}
	}
	return s.as(snapshot)
}

// perform does an act with nobody dying.
func (s *site) perform(a act, before view) view {
	s.t.Helper()
	return s.begin(a, before).end(false)
}

// excused reports whether the command failed, which it may only if a death has cut it
// short, and it says so.
func (s *site) excused(o outcome) bool {
	s.t.Helper()
	if o.out.Code == 0 {
		return false
	}
	if !o.died {
		s.t.Errorf("it failed: %v", o)
	} else if !strings.Contains(o.out.All(), "interrupted") && !strings.Contains(o.out.All(), "died") {
		s.t.Errorf("it failed and does not say that it was interrupted: %v", o)
	}
	return true
}

// reload replaces the workers of an app by a good release.
func reload(a *app) act {
	return act{name: "reload " + a.name, app: a, args: []string{"reload", a.name, "--json"}, judge: func(s *site, o outcome) {
		s.t.Helper()
		receipt := s.receipt(o)
		if s.excused(o) {
			return
		}
		if receipt.Result != state.Complete {
			s.t.Errorf("exit 0, and the reload is %s: %v", receipt.Result, o)
		}
		s.replaced(o.String(), a.name, o.before, o.after)
	}}
}

// receipt is what a reload of one app printed.
func (s *site) receipt(o outcome) state.Receipt {
	s.t.Helper()
	var answer struct{ Apps []state.Receipt }
	if err := json.Unmarshal([]byte(o.out.Stdout), &answer); err != nil || len(answer.Apps) != 1 {
		s.t.Errorf("no receipt (%v): %v", err, o)
		return state.Receipt{}
	}
	return answer.Apps[0]
}

// bad reloads to a release that is bad in a way of the Go server: nothing may change,
// and the command may not say that all is well.
func (s *site) bad(a *app, mode string) act {
	return act{
		name: "reload " + a.name + " that is " + mode, app: a, args: []string{"reload", a.name, "--json"},
		ready: func() {
			a.mode = mode
			s.ecosystem()
		},
		judge: func(s *site, o outcome) {
			s.t.Helper()
			a.mode = ""
			s.ecosystem()
			s.same("a bad release", o.before, o.after)
			receipt := s.receipt(o)
			if o.out.Code == 0 || receipt.Result == state.Complete {
				s.t.Errorf("a bad release is %s: %v", receipt.Result, o)
			}
		},
	}
}

// scale changes how many workers an app has.
func scale(a *app, n int) act {
	return act{
		name: fmt.Sprintf("scale %s from %d to %d", a.name, a.instances, n), app: a, args: []string{"scale", a.name, fmt.Sprint(n)},
		ready: func() { a.instances = n },
		judge: func(s *site, o outcome) {
			s.t.Helper()
			s.excused(o)
			for at, pid := range o.after.of(a.name) {
				if was := o.before[at]; was != 0 && was != pid {
					s.t.Errorf("%v: pid %d became %d: %v", at, was, pid, o)
				}
			}
		},
	}
}

// restart stops and starts the workers of an app, one by one.
func restart(a *app) act {
	return act{name: "restart " + a.name, app: a, args: []string{"restart", a.name}, judge: func(s *site, o outcome) {
		s.t.Helper()
		if !s.excused(o) {
			s.replaced(o.String(), a.name, o.before, o.after)
		}
	}}
}

// toggle stops an app that runs, and starts one that does not.
func toggle(a *app) act {
	verb, stopped := "stop", !a.stopped
	if a.stopped {
		verb = "start"
	}
	return act{
		name: verb + " " + a.name, app: a, args: []string{verb, a.name},
		ready: func() { a.stopped = stopped },
		judge: func(s *site, o outcome) {
			s.t.Helper()
			s.excused(o)
		},
	}
}

// again starts what runs already: nothing changes.
func again() act {
	return act{name: "start", args: []string{"start"}, judge: func(s *site, o outcome) {
		s.t.Helper()
		s.excused(o)
	}}
}

// crash kills a worker of an app that nobody asks; another takes its seat.
func (s *site) crash(a *app, slot int, before view) act {
	victim := before[seat{a.name, slot}]
	return act{
		name: fmt.Sprintf("SIGKILL of %s:%d, pid %d", a.name, slot, victim), app: a,
		begin: func() {
			if h := lab.Hold(s.t, victim); h != nil {
				h.Kill()
			}
		},
		judge: func(s *site, o outcome) {
			s.t.Helper()
			for at, pid := range o.after.of(a.name) {
				if (at.slot == slot) == (pid == o.before[at]) {
					s.t.Errorf("%s: %v had pid %d and has %d", o.act.name, at, o.before[at], pid)
				}
			}
		},
	}
}

// plain is an act that changes no app: what begin does, or a command.
func plain(name string, begin func(), args ...string) act {
	return act{name: name, begin: begin, args: args}
}
