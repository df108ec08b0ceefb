package supervisor

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"supervisor/supervisor/state"
)

// mortal is a storm in which the supervisor dies, and is replaced, at any instant.
type mortal struct {
	*storm
	here  chan *Loop // the one that lives, when one does; in a bubble nobody may wait for a Mutex
	lives int
}

// current is the loop that lives now.
func (m *mortal) current() *Loop {
	loop := <-m.here
	m.here <- loop
	return loop
}

func newMortal(s *storm) *mortal {
	m := &mortal{storm: s, here: make(chan *Loop, 1)}
	m.here <- s.loop
	return m
}

// fate lets the supervisor die again and again until stop is closed: before one of its
// next acts, or at an instant, or by an upgrade.
func (m *mortal) fate(stop <-chan struct{}, over chan<- struct{}) {
	defer close(over)
	for {
		select {
		case <-stop:
			return
		case <-time.After(time.Duration(m.pick(8000)) * ms):
		}
		<-m.here
		crash, lucky := true, m.pick(3) > 0
		switch m.pick(4) {
		case 0:
			m.die()
		case 1:
			if crash = !m.handOver(); crash {
				m.die()
			}
		default:
			m.dieBefore(m.pick(12))
			select {
			case <-m.over:
			case <-time.After(time.Duration(m.pick(5000)) * ms):
				m.world.mu.Lock()
				m.world.doom = nil
				m.world.mu.Unlock()
				m.die()
			}
		}
		m.gap()
		m.live(crash, m.clock, func() bool { return lucky || !crash })
		m.lives++
		m.here <- m.loop
		m.check()
	}
}

// gap is the time without a supervisor.
func (m *mortal) gap() {
	if m.pick(2) == 0 {
		time.Sleep(time.Duration(m.pick(3000)) * ms)
	}
}

// handOver freezes the loop for its successor, if it can be; it may be thawed instead.
func (m *mortal) handOver() bool {
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(1+m.pick(5))*second)
	defer cancel()
	if m.pick(2) == 0 && m.loop.Calm(ctx) != nil {
		return false
	}
	data, err := m.loop.Freeze(ctx)
	if err != nil {
		return false
	}
	m.gap()
	if m.pick(2) == 0 {
		m.loop.Thaw()
		return false
	}
	m.world.mu.Lock()
	if differ(data, m.world.record) != "" && m.world.record != nil {
		m.t.Errorf("the final state is not on record: %s", differ(data, m.world.record))
	}
	m.world.record = data
	m.world.mu.Unlock()
	m.die()
	return true
}

// check holds the world against what the loop knows of it, some time after it began.
func (m *mortal) check() {
	time.Sleep(20 * ms)
	var known, alive map[uint64]bool
	done := make(chan struct{})
	loop := m.current()
	if !loop.send(askMsg{func() {
		m.world.mu.Lock()
		defer m.world.mu.Unlock()
		defer close(done)
		known, alive = map[uint64]bool{}, map[uint64]bool{}
		for id := range loop.spawns {
			known[id] = true
		}
		for id, p := range m.world.procs {
			if !p.gone && !m.world.dead {
				alive[id] = true
			}
		}
	}}) {
		return
	}
	select {
	case <-done:
	case <-loop.ended:
		return
	}
	for id := range alive {
		if !known[id] {
			m.t.Errorf("%d is alive, and nobody knows it", id)
		}
	}
}

// client is a storm's, that asks the next supervisor when one has died.
func (m *mortal) client(done *sync.WaitGroup) {
	defer done.Done()
	for range commands {
		time.Sleep(time.Duration(m.pick(6000)) * ms)
		cmd := m.command()
		for {
			ctx, cancel := context.WithTimeout(context.Background(), 24*time.Hour)
			out, err := m.current().Do(ctx, cmd)
			cancel()
			if err == nil {
				break
			}
			if !errors.Is(err, ErrEnded) {
				m.t.Errorf("%T was never answered: %v, %+v", cmd, err, out)
				break
			}
			if m.pick(2) == 0 {
				cmd = Await{"web"}
			}
			time.Sleep(10 * ms)
		}
	}
}

func TestRandomCommandsToASupervisorThatDies(t *testing.T) {
	for seed := *firstSeed; seed < *firstSeed+*storms; seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			scene(t, func(site *site) {
				s := &storm{site: site, rand: rand.New(rand.NewPCG(seed, 3))}
				m := newMortal(s)
				s.script(s.program)
				s.prepares(s.prepare)
				s.slow(time.Duration(s.pick(3)) * second)
				s.good(Put{Spec: func() state.Spec { spec := web(1); spec.AutoStart = false; return spec }()}, Registered)
				stop, over := make(chan struct{}), make(chan struct{})
				go m.fate(stop, over) // ends with stop
				var done sync.WaitGroup
				for range clients {
					done.Add(1)
					go m.client(&done) // ends after its commands
				}
				done.Wait()
				close(stop)
				<-over
				set(site, &s.calm, true)
				answers, known, up, count, args := s.aftermath()
				for _, answer := range answers {
					<-answer
				}
				s.sleep(time.Hour)
				s.settled(known, up, count, args)
				if m.lives < 3 {
					t.Errorf("%d lives", m.lives)
				}
			})
		})
	}
}

// The healthy app of TestRandomReloadsOfAHealthyAppTakeNobodyDown, whose supervisor dies.
func TestReloadsThatAreInterruptedTakeNobodyDown(t *testing.T) {
	for seed := *firstSeed; seed < *firstSeed+*storms; seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			scene(t, func(site *site) {
				s := &storm{site: site, rand: rand.New(rand.NewPCG(seed, 4))}
				m := newMortal(s)
				n := 1 + s.pick(4)
				soak := 2 * second
				blueGreen := s.pick(2) == 0
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
						t.Errorf("%d of %d slots are served", served, n)
					}
				})
				stop, over := make(chan struct{}), make(chan struct{})
				go m.fate(stop, over) // ends with stop
				for range 10 {
					ctx, cancel := context.WithTimeout(context.Background(), time.Duration(s.pick(20000))*ms)
					_, _ = m.current().Do(ctx, release(version()))
					cancel()
				}
				close(stop)
				<-over
				s.good(Await{"web"}, Settled)
				s.onStop(nil)
				s.sleep(time.Hour)
				synctest.Wait()
				if a := s.app("web"); a.Status != state.AppOnline || len(a.Workers) != n {
					t.Errorf("%s %+v", a.Status, a.Workers)
				}
				if surge := map[bool]int{false: 1, true: n}[blueGreen]; s.saw().atOnce > n+surge {
					t.Errorf("%d at once of %d", s.saw().atOnce, n)
				}
			})
		})
	}
}
