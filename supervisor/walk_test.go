package supervisor

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"supervisor/supervisor/state"
)

// A storm is so many clients, each with so many commands.
const (
	clients  = 8
	commands = 8
)

var (
	storms    = flag.Uint64("storms", 100, "random histories of each walk")
	firstSeed = flag.Uint64("seed", 0, "of the first history")
)

// storm is one random history of an app that misbehaves as it likes.
type storm struct {
	*site
	mu   sync.Mutex // of rand: clients and the fake world choose at once
	rand *rand.Rand
	calm bool // every process behaves from now on

	deadly bool       // the supervisor dies, and is replaced, at any instant
	here   chan *Loop // the one that lives, when one does; in a bubble nobody may wait for a Mutex
	lives  int        // that have ended
}

// walk plays random histories, each of a supervisor that lives and of one that dies. No
// two walks have the same numbers.
func walk(t *testing.T, number uint64, play func(*storm)) {
	for _, deadly := range []bool{false, true} {
		t.Run(map[bool]string{false: "alive", true: "deadly"}[deadly], func(t *testing.T) {
			for seed := *firstSeed; seed < *firstSeed+*storms; seed++ {
				t.Run(fmt.Sprint(seed), func(t *testing.T) {
					scene(t, func(site *site) {
						s := newStorm(site, seed, number)
						if s.deadly = deadly; deadly {
							s.rand = rand.New(rand.NewPCG(seed, number+2))
						}
						play(s)
					})
				})
			}
		})
	}
}

func newStorm(site *site, seed, number uint64) *storm {
	s := &storm{site: site, rand: rand.New(rand.NewPCG(seed, number)), here: make(chan *Loop, 1)}
	s.here <- s.loop
	return s
}

// current is the loop that lives now.
func (s *storm) current() *Loop {
	loop := <-s.here
	s.here <- loop
	return loop
}

func (s *storm) pick(n int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rand.IntN(n)
}

// program is any behaviour, of a bad release more often than of a good one.
func (s *storm) program(o SpawnOrder) program {
	p := program{boot: time.Duration(1+s.pick(3000)) * ms, drain: time.Duration(s.pick(9000)) * ms, open: s.pick(5)}
	p.listens = [][]string{{front}, {front, other}, {other, front}}[s.pick(3)]
	if s.calm {
		return p
	}
	bad := len(o.Spec.Args) > 0 && strings.HasPrefix(o.Spec.Args[0], "bad")
	p.lines = []string{"boom"}
	p.leftFor = time.Duration(s.pick(10)-1) * second
	switch n := s.pick(20); {
	case n == 0:
		p.err = errNoExec
	case n == 1 || n < 5 && bad:
		p.lives, p.code, p.left = time.Duration(1+s.pick(5000))*ms, s.pick(2), s.pick(2)
	case n == 6 || n < 8 && bad:
		p.mute = true
	case n == 9:
		p.deaf = true
	case n == 10:
		p.lives, p.signal = time.Duration(10+s.pick(100))*second, 11
	case n == 11:
		p.code = 3
	case n == 12:
		p.proven, p.answer = -1, "said 503"
	}
	return p
}

func (s *storm) prepare(PrepareOrder) Prepared {
	if !s.calm && s.pick(12) == 0 {
		return Prepared{Stage: "build", Err: errors.New("syntax error")}
	}
	return Prepared{Launch: state.Launch{Path: fmt.Sprint("/releases/", s.pick(3))}}
}

// spec is any version of the app's file.
func (s *storm) spec() state.Spec {
	spec := web(1 + s.pick(4))
	spec.Protocol = []state.Protocol{state.ProtocolAuto, state.ProtocolTableflip}[s.pick(2)]
	spec.Args = []string{[]string{"good", "bad"}[s.pick(2)] + fmt.Sprint(s.pick(3))}
	spec.MaxRestarts = 4
	switch s.pick(7) {
	case 0:
		spec.Mode = state.Fork
	case 1:
		spec.Reload.BlueGreen = true
	case 2:
		spec.Reload = state.Reload{MaxUnavailable: state.Amount{N: 1}}
	case 3:
		spec.Reload.MaxSurge = state.Amount{N: 50, Percent: true}
	case 4:
		spec.AutoRestart = false
	case 5:
		spec.WaitReady = false
		spec.Intercept = s.pick(3) > 0
	case 6:
		spec.WaitReady = s.pick(2) == 0
		spec.Ready = &state.Probe{Kind: state.ProbeHTTP, Target: "http://127.0.0.1:3000/health"}
	}
	if spec.Mode == state.Cluster && s.pick(3) == 0 {
		spec.Balance, spec.PreDrain = state.Even, 100*ms
	}
	if s.pick(2) == 0 {
		soak := time.Duration(s.pick(2000)) * ms
		spec.Soak = &soak
	}
	return spec
}

func (s *storm) command() Command {
	switch s.pick(16) {
	case 0:
		return StopApp{"web"}
	case 1:
		return DeleteApp{"web"}
	case 2, 3:
		return StartApp{"web"}
	case 4, 5:
		return RestartApp{"web"}
	case 6:
		return ReloadApp{Name: "web"}
	case 7, 8:
		return ScaleApp{"web", 1 + s.pick(5)}
	case 9:
		return SignalApp{"web", 10}
	case 10:
		return ResetApp{"web"}
	case 11, 12:
		return Put{Spec: s.spec(), Env: [][]string{nil, {"A=1"}, {"A=2"}}[s.pick(3)]}
	}
	return Put{Spec: s.spec(), Replace: true, EnvName: []string{"", "production"}[s.pick(2)]}
}

// client issues commands one after another and may give up waiting for one. One whose
// supervisor has died asks the next, for the same or for how that has ended.
func (s *storm) client() {
	for range commands {
		time.Sleep(time.Duration(s.pick(6000)) * ms)
		patience := 24 * time.Hour
		if s.pick(4) == 0 {
			patience = second
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		for cmd := s.command(); ; {
			out, err := s.current().Do(ctx, cmd)
			if err == nil {
				break
			}
			if !s.deadly || !errors.Is(err, ErrEnded) {
				if patience > second {
					s.t.Errorf("%T was never answered: %v, %+v", cmd, err, out)
				}
				break
			}
			if s.pick(2) == 0 {
				cmd = Await{Name: "web"}
			}
			time.Sleep(10 * ms)
		}
		cancel()
	}
}

// under has many clients give commands to an app that may do anything, and is over with
// them.
func (s *storm) under(beside ...func()) {
	s.script(s.program)
	s.prepares(s.prepare)
	s.slow(time.Duration(s.pick(3)) * second)
	registered := web(1)
	registered.AutoStart = false
	s.good(Put{Spec: registered}, Registered) // who dies has it on record
	s.deaths(func() {
		var done sync.WaitGroup
		for range clients {
			done.Go(s.client)
		}
		for _, do := range beside {
			done.Go(do)
		}
		done.Wait()
	})
}

// aftermath asks for something definite, in order and without waiting, and returns
// the state that it must come to.
func (s *storm) aftermath() (answers []<-chan Outcome, known, up bool, count int, args string) {
	ask := func(cmds ...Command) {
		for _, cmd := range cmds {
			answers = append(answers, s.ask(cmd))
			s.sleep(time.Duration(s.pick(2000)) * ms)
		}
	}
	last := web(2)
	last.Args = []string{"last"}
	n := 1 + s.pick(4)
	ask(Put{Spec: s.spec()})
	switch s.pick(6) {
	case 0:
		ask(Put{Spec: last}, ScaleApp{"web", n})
		return answers, true, true, n, "last"
	case 1:
		ask(Put{Spec: last}, ScaleApp{"web", n}, StopApp{"web"})
		return answers, true, false, 0, ""
	case 2:
		ask(ScaleApp{"web", n}, DeleteApp{"web"})
		return answers, false, false, 0, ""
	case 3:
		ask(StopApp{"web"}, StartApp{"web"}, ScaleApp{"web", n + 1}, ScaleApp{"web", n})
		return answers, true, true, n, ""
	case 4:
		ask(DeleteApp{"web"}, Put{Spec: last, Replace: true})
		return answers, true, true, 2, "last"
	}
	ask(StartApp{"web"}, Put{Spec: last, Replace: true}, ReloadApp{Name: "web"}, ScaleApp{"web", n})
	return answers, true, true, n, "last"
}

// settled checks that the app is in the state that was asked for, and that nothing
// of what was asked is still open.
func (s *storm) settled(known, up bool, count int, args string) {
	s.t.Helper()
	if s.knows("web") != known {
		s.t.Fatalf("known: %v", !known)
	}
	if !known {
		return
	}
	a := s.app("web")
	s.inside(func() {
		app := s.loop.find("web")
		if len(app.ops) > 0 || app.roll != nil || app.starting != nil || len(app.asked) > 0 || app.untidy {
			s.t.Errorf("left open: %d operations, rollout %v, start %v, asked %d, untidy %v", len(app.ops), app.roll != nil, app.starting != nil, len(app.asked), app.untidy)
		}
	})
	if !up {
		if a.Status != state.AppStopped {
			s.t.Errorf("web is %s: %+v", a.Status, a.Workers)
		}
		return
	}
	if a.Status != state.AppOnline || len(a.Workers) != count || a.Instances != count {
		s.t.Errorf("web is %s with %d of %d workers: %+v", a.Status, len(a.Workers), count, a.Workers)
	}
	for slot, w := range a.Workers {
		if w.Slot != slot || w.State != "online" {
			s.t.Errorf("%+v", w)
		}
		if p := s.saw().procs[w.ID]; args != "" && p.order.Spec.Args[0] != args {
			s.t.Errorf("slot %d runs %q, not %q", slot, p.order.Spec.Args, args)
		}
	}
}

func TestRandomCommandsOfManyClients(t *testing.T) {
	walk(t, 1, func(s *storm) {
		s.under()
		set(s.site, &s.calm, true)
		answers, known, up, count, args := s.aftermath()
		for _, answer := range answers {
			<-answer
		}
		s.sleep(time.Hour) // whatever backs off has come up
		s.settled(known, up, count, args)
		if s.deadly && s.lives < 3 {
			s.t.Errorf("%d lives", s.lives)
		}
	})
}

func TestRandomReloadsOfAHealthyAppTakeNobodyDown(t *testing.T) {
	walk(t, 2, func(s *storm) {
		n := 1 + s.pick(4)
		soak := 2 * second
		blueGreen := s.pick(3) == 0
		version := func() state.Spec {
			spec := web(n)
			spec.Soak = &soak
			spec.Args = []string{[]string{"good", "bad"}[s.pick(2)]}
			spec.Reload.BlueGreen = blueGreen
			return spec
		}
		s.script(func(o SpawnOrder) program {
			p := program{boot: time.Duration(1+s.pick(3000)) * ms, drain: time.Duration(s.pick(9000)) * ms}
			if o.Spec.Args[0] == "bad" && o.Gen > 1 && s.pick(2) == 0 {
				p.mute = s.pick(2) == 0
				p.lives, p.code = p.boot+time.Duration(s.pick(1900))*ms, 1
			}
			return p
		})
		first := version()
		first.Args = []string{"good"}
		s.start(first)
		s.onStop(func(taken int) {
			if served := s.world.serving("web"); taken > 0 && served < n {
				s.t.Errorf("%d of %d slots are served", served, n)
			}
		})
		s.deaths(func() {
			for range 10 {
				ctx, cancel := context.WithTimeout(context.Background(), time.Duration(s.pick(20000))*ms)
				_, _ = s.current().Do(ctx, release(version()))
				cancel()
			}
		})
		s.good(Await{Name: "web"}, Settled)
		s.onStop(nil)
		s.sleep(time.Hour)
		if a := s.app("web"); a.Status != state.AppOnline || len(a.Workers) != n {
			s.t.Errorf("%s %+v", a.Status, a.Workers)
		}
		if surge := map[bool]int{false: 1, true: n}[blueGreen]; s.saw().atOnce > n+surge {
			s.t.Errorf("%d at once of %d", s.saw().atOnce, n)
		}
	})
}
