package crash

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"supervisor/supervisor/state"
	"supervisor/testdata/lab"
	"supervisor/testdata/load"
)

// Limits of how a process may grow over many upgrades: requests under way, and what a
// collection has not freed yet.
const (
	spareDescriptors = 8
	spareMemory      = 6 << 10 // kB
)

// pong is who answers.
type pong struct {
	PID       int
	Version   string
	KeeperPID int `json:"keeper_pid"`
}

func (s *site) pong() (p pong) {
	s.t.Helper()
	s.Decode(s.Must("ping", "--json").Stdout, &p)
	return p
}

// upgraded waits until another daemon than the one before answers.
func (s *site) upgraded(before *lab.Handle) *lab.Handle {
	s.t.Helper()
	before.Wait()
	return s.daemon()
}

func TestTwentyUpgradesUnderLoad(t *testing.T) {
	s := newSite(t, web(t), stamped(t), objects(t), node(t))
	s.app("web").rate, s.app("objects").rate = "100/20ms", "100/20ms" // logs -f can keep up with it
	s.ecosystem()
	s.Must("start")
	first := s.steady()
	binaries := []string{lab.Binary, built(t, buildOther)}
	lab.Under(t, func([]*load.Load) {
		followers := s.followed("web", "objects")
		var before, keeper figures
		for i := range 20 {
			old := s.daemon()
			if i%5 == 4 {
				old.Signal(unix.SIGUSR2) // to the binary on record
			} else {
				s.Must("upgrade", binaries[i%2])
			}
			now := s.upgraded(old)
			if pong := s.pong(); pong.PID != now.PID || pong.PID == old.PID {
				t.Fatalf("upgrade %d: pid %d answers; it was %d, and %d is on record", i, pong.PID, old.PID, now.PID)
			}
			s.same(fmt.Sprintf("upgrade %d", i), first, s.steady())
			if t.Failed() {
				return
			}
			if i == 3 {
				before, keeper = s.figures(now.PID), s.figures(s.keeper().PID)
			}
		}
		s.flat("the daemon", before, s.figures(s.daemon().PID))
		s.flat("the keeper", keeper, s.figures(s.keeper().PID))
		followers.end()
		after := s.perform(reload(s.app("web")), first)
		s.perform(reload(s.app("node")), after)
	}, s.loads(s.apps...)...)
}

// flat checks that a process has become no larger.
func (s *site) flat(who string, before, after figures) {
	s.t.Helper()
	s.t.Logf("%s: %+v before, %+v after", who, before, after)
	if after.descriptors > before.descriptors+spareDescriptors || after.part > before.part+spareMemory {
		s.t.Errorf("%s has grown: %+v before, %+v after", who, before, after)
	}
}

// An upgrade in the middle of a reload carries the reload over.
func TestUpgradeDuringReload(t *testing.T) {
	late := web(t)
	late.instances, late.mode, late.env = 4, "ready-late", "DELAY: 200ms"
	s := newSite(t, late)
	s.Must("start")
	before := s.steady()
	lab.Under(t, func([]*load.Load) {
		events := s.Events(t.Context())
		cmd := s.Command("reload", "web", "--json")
		var stdout, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		for ready := 0; ready < 2; { // of 4: the reload is in its middle
			e, ok := events.Next()
			if !ok {
				t.Fatal(events.Err())
			}
			if e.Kind == state.EventWorker && e.What == state.WhatReady {
				ready++
			}
		}
		old := s.daemon()
		s.Must("upgrade")
		s.upgraded(old)
		if err := cmd.Wait(); err != nil {
			t.Errorf("the reload: %v\n%s", err, stderr.String())
		}
		var answer struct{ Apps []state.Receipt }
		if err := json.Unmarshal(stdout.Bytes(), &answer); err != nil || len(answer.Apps) != 1 || answer.Apps[0].Result != state.Complete || len(answer.Apps[0].Workers) != 4 {
			t.Errorf("the reload: %v\n%s", err, stdout.String())
		}
		s.replaced("an upgrade during a reload", "web", before, s.steady())
	}, s.loads(late)...)
}

// A SIGTERM that comes in the middle of an upgrade ends everything, whoever of the two
// daemons it is for then.
func TestAStopInTheMiddleOfAnUpgrade(t *testing.T) {
	s := newSite(t, web(t))
	for round := range 12 {
		s.Must("start")
		s.steady()
		keeper, daemon := s.keeper(), s.daemon()
		before, _ := os.ReadFile(s.Log())
		daemon.Signal(unix.SIGUSR2)
		<-time.After(time.Duration(round) * 3 * time.Millisecond) // this very time is what is tried
		daemon.Signal(unix.SIGTERM)
		daemon.Wait()
		text, _ := os.ReadFile(s.Log())
		if !strings.Contains(string(text[len(before):]), unix.SIGTERM.String()) { // it was gone already
			s.Must("kill")
		}
		keeper.Wait()
		for _, p := range s.Scan() {
			t.Errorf("round %d: left: %+v", round, p)
		}
	}
}
