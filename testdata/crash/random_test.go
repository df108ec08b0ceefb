package crash

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"supervisor/testdata/lab"
	"supervisor/testdata/load"
)

// most is a bound of the time from the begin of an act to the death of the daemon, until
// it is known how long such an act takes.
const most = 300 * time.Millisecond

// An idle daemon, or one that works for a command, is killed at any instant.
func TestSIGKILLAtRandomMoments(t *testing.T) {
	kills := kills(t, 100)
	c := newChaos(t, web(t), stamped(t), objects(t), merged(t), node(t), job(t))
	s := c.site
	loaded := []*app{s.app("web"), s.app("stamped"), s.app("objects"), s.app("merged"), s.app("node")}
	lab.Under(t, func([]*load.Load) {
		followers := s.followed("node", "objects")
		for c.kills < kills && !t.Failed() {
			c.round(c.choose())
		}
		followers.end()
	}, s.loads(loaded...)...)
	t.Logf("%d kills of %d acts", c.kills, c.rounds)
}

// Reloads of apps whose logs go through spools follow one upon the other as fast as they
// can, none is left alone, and somebody follows each log.
func TestSIGKILLInEveryReload(t *testing.T) {
	kills := kills(t, 60)
	c := newChaos(t, stamped(t), objects(t), merged(t))
	followers := c.followed("stamped", "objects", "merged")
	for c.kills < kills && !t.Failed() {
		c.round(reload(c.apps[c.rounds%len(c.apps)]))
	}
	followers.end()
}

// Upgrades come at any instant of other acts, and most of them meet a death: of the old
// daemon, of the new one, or of the keeper.
func TestSIGKILLInEveryUpgrade(t *testing.T) {
	kills := kills(t, 6)
	c := newChaos(t, web(t), stamped(t), objects(t), merged(t), job(t))
	lab.Under(t, func([]*load.Load) {
		followers := c.followed("web", "objects", "merged")
		for c.kills < kills && !t.Failed() {
			c.upgrade(c.choose())
		}
		followers.end()
	}, c.loads(c.apps[:4]...)...)
	t.Logf("%d kills of %d upgrades", c.kills, c.rounds)
}

// kills is how often the daemon is killed.
func kills(t *testing.T, otherwise int) int {
	t.Helper()
	if testing.Short() {
		otherwise /= 5
	}
	return number(t, "CRASH_KILLS", otherwise)
}

// chaos is acts and deaths at random.
type chaos struct {
	*site
	random        *rand.Rand
	took          map[string]time.Duration // by what kind of act
	now           view
	rounds, kills int
}

// newChaos starts the apps.
func newChaos(t *testing.T, apps ...*app) *chaos {
	t.Helper()
	seed := uint64(number(t, "CRASH_SEED", int(time.Now().UnixNano()%1e6)))
	t.Logf("CRASH_SEED=%d", seed)
	c := &chaos{site: newSite(t, apps...), random: rand.New(rand.NewPCG(seed, seed)), took: make(map[string]time.Duration)}
	c.Must("start")
	c.now = c.steady()
	return c
}

// round does one act, and kills the daemon once or twice while it goes on, or after.
func (c *chaos) round(a act) {
	c.t.Helper()
	moments := []time.Duration{c.moment(a)}
	if c.random.IntN(4) == 0 {
		moments = append(moments, time.Duration(c.random.Int64N(int64(20*time.Millisecond))))
	}
	c.rounds++
	begun := time.Now()
	r := c.begin(a, c.now)
	for _, moment := range moments {
		<-time.After(moment) // this very time is what is tried
		c.daemon().Kill()
		c.kills++
	}
	c.now = r.end(len(moments) > 0)
	c.took[a.name] = time.Since(begun)
	if c.t.Failed() {
		c.t.Errorf("act %d, %s: kills after %v", c.rounds, a.name, moments)
	}
}

// upgrade does one act, upgrades while it goes on, or after, and may kill one of the two
// daemons, or the keeper.
func (c *chaos) upgrade(a act) {
	c.t.Helper()
	c.rounds++
	begin, end := c.moment(a), time.Duration(c.random.Int64N(int64(60*time.Millisecond)))
	victim := []string{"old", "new", "keeper", "nobody"}[c.random.IntN(4)]
	begun := time.Now()
	r := c.begin(a, c.now)
	<-time.After(begin) // this very time is what is tried
	old, keeper := c.daemon(), c.keeper()
	var said bytes.Buffer
	cmd := c.Command("upgrade")
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	<-time.After(end)
	c.kills++
	switch next := c.other(old); {
	case victim == "nobody":
		c.kills--
	case victim == "keeper":
		keeper.Kill()
	case victim == "new" && next != nil:
		next.Kill()
	default:
		old.Kill()
	}
	if err := cmd.Wait(); err != nil && (victim == "nobody" || cmd.ProcessState.ExitCode() != 1) {
		c.t.Errorf("upgrade: %v\n%s", err, said.String())
	}
	if left := c.other(c.daemon()); left != nil {
		left.Wait()
	}
	c.now = r.end(victim != "nobody")
	c.took[a.name] = time.Since(begun)
	if c.t.Failed() {
		c.t.Errorf("act %d, %s: upgrade after %v, end of %s after %v more: %s", c.rounds, a.name, begin, victim, end, said.String())
	}
}

// other holds a daemon that is not the one given; nil if there is none. A fork of a daemon
// that is about to execute a shim or a keeper looks like one, but has its parent's memory;
// when it has that no more, it does not look like one any more.
func (s *site) other(than *lab.Handle) *lab.Handle {
	isOther := func(p lab.Process) bool { return p.Role == lab.Daemon && p.PID != than.PID }
	for _, p := range s.Scan() {
		if isOther(p) && !sharesMemory(p.PID, than.PID) &&
			slices.ContainsFunc(s.Scan(), func(again lab.Process) bool { return again.PID == p.PID && isOther(again) }) {
			return lab.Hold(s.t, p.PID)
		}
	}
	return nil
}

// sharesMemory asks kcmp(2); a process that is gone shares nothing.
func sharesMemory(one, two int) bool {
	const vm = 1 // KCMP_VM of linux/kcmp.h
	same, _, errno := unix.Syscall6(unix.SYS_KCMP, uintptr(one), uintptr(two), vm, 0, 0, 0)
	return errno == 0 && same == 0
}

// moment is a time within which an act may be over, or not.
func (c *chaos) moment(a act) time.Duration {
	bound := c.took[a.name]
	if bound == 0 || bound > 2*time.Second {
		bound = most
	}
	return time.Duration(c.random.Int64N(int64(bound)))
}

// choose draws an act that the site can take now.
func (c *chaos) choose() act {
	job := c.app("job")
	if job.stopped {
		return toggle(job)
	}
	any := c.apps[c.random.IntN(len(c.apps))]
	server := c.apps[c.random.IntN(4)] // web, stamped, objects or merged
	switch c.random.IntN(12) {
	case 0, 1, 2, 3:
		return reload(any)
	case 4:
		return c.bad(server, []string{"crash", "crash", "never"}[c.random.IntN(3)])
	case 5, 6:
		n := 1 + c.random.IntN(3)
		if n == server.instances {
			n++
		}
		return scale(server, n)
	case 7:
		return restart(job)
	case 8:
		return toggle(job)
	case 9:
		return again()
	case 10:
		return plain("nothing", func() {})
	}
	return c.crash(job, c.random.IntN(job.instances), c.now)
}
