package crash

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"supervisor/supervisor/state"
	"supervisor/testdata/lab"
)

// quick lets a worker drain at once: nobody asks it.
const quick = "LINGER: 20ms"

// Every command, several at once, does over upgrades exactly what it does without: the same
// workers, exit code and answer, each worker once, each signal once.
func TestEveryCommandOverAnUpgrade(t *testing.T) { newBoard(t, false).rounds(8) }

// And over a death either that, or it says that it was cut short.
func TestEveryCommandOverADeath(t *testing.T) { newBoard(t, true).rounds(4) }

// board is a site with orders at random.
type board struct {
	*site
	deadly        bool // the daemon dies, too
	random        *rand.Rand
	logs, state   *lab.Watch
	spawned, told map[*app]int // workers, and SIGUSR1s, since the begin
	changes       int          // of the file
	now           view
	took          map[string]time.Duration // by what kind of order
}

// newBoard starts three apps of a file that depend on each other; a fourth has none.
func newBoard(t *testing.T, deadly bool) *board {
	t.Helper()
	seed := uint64(number(t, "CRASH_SEED", int(time.Now().UnixNano()%1e6)))
	t.Logf("CRASH_SEED=%d", seed)
	var apps []*app
	for _, keys := range [][2]string{{"base", ""}, {"api", "depends_on: [base]"}, {"lone", "depends_on: [api]"}, {"script", ""}} {
		a := web(t)
		a.name, a.rate, a.env, a.keys = keys[0], "", quick, "env_other: {}\n"+keys[1]
		apps = append(apps, a)
	}
	script := apps[3]
	script.alone, script.absent, script.instances = true, true, 1
	b := &board{
		site: newSite(t, apps...), deadly: deadly, random: rand.New(rand.NewPCG(seed, seed)),
		spawned: map[*app]int{}, told: map[*app]int{}, took: map[string]time.Duration{},
	}
	path := filepath.Join(b.Dir, "script.sh")
	text := fmt.Sprintf("#!/bin/sh\nPORT=%d HOST=127.0.0.1 LINGER=20ms exec %s\n", script.port, script.script)
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	script.script = path
	b.Must("start")
	b.logs, b.state = lab.NewWatch(t, filepath.Join(b.Home, "logs")), lab.NewWatch(t, filepath.Join(b.Home, "state"))
	b.now = b.steady()
	for _, a := range apps[:3] {
		b.spawned[a] = a.instances
	}
	return b
}

// rounds does so many rounds, or CRASH_ROUNDS.
func (b *board) rounds(otherwise int) {
	b.t.Helper()
	for n := range number(b.t, "CRASH_ROUNDS", otherwise) {
		var names []string
		orders := b.draw()
		for _, o := range orders {
			names = append(names, fmt.Sprint(o.args))
		}
		begun := time.Now()
		b.round(orders)
		b.t.Logf("round %d: %s: %v", n, strings.Join(names, ", "), time.Since(begun))
		if b.t.Failed() {
			b.t.Fatal(b.Run("history", "-n", "8", "--json").Stdout)
		}
	}
}

// round gives the orders, and replaces the supervisor, or lets it die, while they are obeyed
// or after.
func (b *board) round(orders []order) {
	b.t.Helper()
	b.ecosystem()
	bound := 100 * time.Millisecond
	var all []*running
	for _, o := range orders {
		bound = max(bound, min(b.took[o.name], 2*time.Second))
		all = append(all, b.begin(act{name: o.name, args: o.args, begin: o.begin}, b.now))
	}
	begun := time.Now()
	b.pause(bound)
	for range 1 + b.random.IntN(5)/4 {
		b.strike()
	}
	loose := map[*app]bool{} // what they are, and how often they were spawned, is as it is found
	for i, r := range all {
		<-r.done
		b.took[orders[i].name] = time.Since(begun)
		b.judge(orders[i], outcome{act: r.act, out: r.out, died: b.deadly}, loose)
	}
	for _, o := range orders {
		if o.after != nil {
			o.after()
		}
	}
	b.ecosystem()
	if b.t.Failed() {
		return
	}
	b.find(loose)
	b.counted()
	before := b.now
	b.now = b.steady()
	for _, o := range orders {
		for _, a := range o.all {
			if !loose[a] {
				b.replaced(o.name, a.name, before, b.now)
			}
		}
	}
}

// pause waits for less than bound. This very time is what is tried.
func (b *board) pause(bound time.Duration) {
	<-time.After(time.Duration(b.random.Int64N(int64(bound))))
}

// strike upgrades, or kills one of the two daemons that there are then, or does both.
func (b *board) strike() {
	b.t.Helper()
	text, _ := os.ReadFile(filepath.Join(b.Home, "supervisor.pid"))
	pid := 0
	if fmt.Sscan(string(text), &pid); pid == 0 {
		return // it was told to end
	}
	old := lab.Hold(b.t, pid)
	if old == nil {
		return
	}
	if !b.deadly || b.random.IntN(2) == 0 {
		old.Signal(unix.SIGUSR2)
	}
	b.pause(30 * time.Millisecond)
	if !b.deadly {
		return
	}
	if next := b.other(old); next != nil && b.random.IntN(2) == 0 {
		next.Kill()
	} else {
		old.Kill()
	}
}

// judge holds an order against what it came to.
func (b *board) judge(o order, came outcome, loose map[*app]bool) {
	b.t.Helper()
	if b.deadly && (o.begin != nil || o.code != 0 || slices.Contains(o.args, "reload") || o.name == "start changed" ||
		came.out.Code != 0 && b.excused(came)) {
		for _, a := range o.about {
			loose[a] = true
		}
	} else if came.out.Code != o.code {
		b.t.Errorf("want exit %d: %v", o.code, came)
	}
	if came.out.Code == 0 {
		for _, line := range o.says {
			if !slices.Contains(strings.Split(came.out.Stdout, "\n"), line) {
				b.t.Errorf("it does not say %q: %v", line, came)
			}
		}
	}
	if o.mean != nil {
		o.mean()
	}
	for a, n := range o.spawn {
		b.spawned[a] += n
	}
	for a, n := range o.tells {
		b.told[a] += n
	}
}

// find takes what is loose as it is, once nothing is under way any more.
func (b *board) find(loose map[*app]bool) {
	b.t.Helper()
	if len(loose) == 0 {
		return
	}
	idle := b.state.Until(func() bool {
		data, _ := os.ReadFile(filepath.Join(b.Home, "state", "daemon.json"))
		return !strings.Contains(string(data), `"own":`)
	})
	if !idle {
		b.t.Fatal("what nobody waits for does not end")
	}
	found := b.settled(func(snapshot state.Snapshot) string {
		for a := range loose {
			a.absent, a.stopped = true, false
		}
		for _, f := range snapshot.Apps {
			if a := b.app(f.Name); loose[a] {
				a.absent, a.instances, a.stopped = false, f.Instances, f.Status == state.AppStopped
			}
		}
		return b.as(snapshot)
	})
	for a := range loose {
		for at, pid := range found.of(a.name) {
			if !b.logs.Until(func() bool { return b.printed(a, fmt.Sprintf("pid %d\n", pid)) > 0 }) {
				b.t.Errorf("%v, pid %d, has printed nothing", at, pid)
			}
		}
		b.spawned[a], b.told[a] = b.printed(a, "pid "), b.printed(a, "SIGUSR1")
	}
}

// printed counts the lines of an app's workers that begin with a text.
func (b *board) printed(a *app, text string) (n int) {
	logs, _ := filepath.Glob(filepath.Join(b.Home, "logs", a.name+"-out*.log"))
	for _, log := range logs {
		data, _ := os.ReadFile(log)
		n += strings.Count("\n"+string(data), "\n"+text)
	}
	return n
}

// counted checks how many workers were spawned, and told, once they are that many.
func (b *board) counted() {
	b.t.Helper()
	var less, more []string
	b.logs.Until(func() bool {
		less, more = nil, nil
		for _, a := range b.apps {
			for text, want := range map[string]int{"pid ": b.spawned[a], "SIGUSR1": b.told[a]} {
				is := b.printed(a, text)
				line := fmt.Sprintf("%s printed %q %d times, want %d", a.name, text, is, want)
				switch {
				case is < want:
					less = append(less, line)
				case is > want:
					more = append(more, line)
				}
			}
		}
		return less == nil || more != nil
	})
	if wrong := append(less, more...); len(wrong) > 0 {
		b.t.Error(strings.Join(wrong, "\n"))
	}
}
