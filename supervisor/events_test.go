package supervisor

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"supervisor/supervisor/state"
)

// drain reads what has come until now.
func drain(events <-chan state.Event) []state.Event {
	synctest.Wait()
	var all []state.Event
	for {
		select {
		case e, more := <-events:
			if !more {
				return all
			}
			all = append(all, e)
		default:
			return all
		}
	}
}

// lines are events in short: kind, what or text, worker.
func lines(events []state.Event) []string {
	var all []string
	for _, e := range events {
		line := e.Kind + " " + e.What
		switch e.Kind {
		case state.EventWorker:
			line += fmt.Sprintf(" %d/%d %d", e.Slot, e.Generation, e.PID)
		case state.EventApp, state.EventNote:
			line += e.Text
		}
		all = append(all, line)
	}
	return all
}

func TestTheEventsOfOneReload(t *testing.T) {
	scene(t, func(s *site) {
		events, cancel := s.loop.Events()
		s.start(web(1))
		if got, want := lines(drain(events)), []string{"app added", "worker spawned 0/1 1101", "worker ready 0/1 1101"}; !slices.Equal(got, want) {
			t.Errorf("start: %q", got)
		}
		s.good(release(web(1)), Reloaded)
		all := drain(events)
		want := []string{
			"reload begun", "worker spawned 0/2 1102", "worker ready 0/2 1102",
			"worker draining 0/1 1101", "worker gone 0/1 1101", "reload complete",
		}
		if got := lines(all); !slices.Equal(got, want) {
			t.Errorf("reload: %q", got)
		}
		for i, e := range all {
			if e.App != "web" || e.Seq == 0 || i > 0 && e.Seq != all[i-1].Seq+1 {
				t.Errorf("%+v", e)
			}
		}
		if last := all[len(all)-1]; last.Receipt == nil || last.Receipt.ToGeneration != 2 {
			t.Errorf("%+v", last)
		}
		s.loop.Tell(Messaged{ID: 102, Data: json.RawMessage(`{"a":1}`)})
		s.loop.Tell(Noted{App: "web", Text: "look"})
		if got := drain(events); len(got) != 2 || got[0].Kind != state.EventMessage || string(got[0].Data) != `{"a":1}` || got[1].Text != "look" {
			t.Errorf("%+v", got)
		}
		s.good(ScaleApp{"web", 2}, Scaled)
		s.good(DeleteApp{"web"}, Deleted)
		got := lines(drain(events))
		if got[0] != "app scaled" || got[len(got)-1] != "app deleted" {
			t.Errorf("%q", got)
		}
		cancel()
		cancel()
		synctest.Wait()
		if _, more := <-events; more {
			t.Error("an event after cancel")
		}
	})
}

func TestTheEventsOfAFailure(t *testing.T) {
	scene(t, func(s *site) {
		s.start(web(1))
		events, cancel := s.loop.Events()
		defer cancel()
		s.run(program{mute: true, deaf: true})
		s.do(release(web(1)))
		want := []string{
			"reload begun", "worker spawned 0/2 1102", "worker failed 0/2 1102", "worker killed 0/2 1102",
			"worker exited 0/2 1102", "reload rolled_back",
		}
		if got := lines(drain(events)); !slices.Equal(got, want) {
			t.Errorf("%q", got)
		}
		s.run(program{lives: 10 * ms, code: 1})
		s.crash(0, 1, 0)
		s.sleep(600 * second)
		got := lines(drain(events))
		if got[0] != "worker exited 0/1 1101" && got[0] != "worker waiting restart 0/1 1101" || got[len(got)-1][:14] != "worker errored" {
			t.Errorf("%q", got)
		}
	})
}

func TestASlowReaderLosesEventsAndIsToldAndBlocksNobody(t *testing.T) {
	scene(t, func(s *site) {
		s.start(web(1))
		slow, cancelSlow := s.loop.Events()
		defer cancelSlow()
		quick, cancelQuick := s.loop.Events()
		defer cancelQuick()
		got := 0
		for range eventBuffer + 50 {
			s.loop.Tell(Noted{App: "web", Text: "x"})
			got += len(drain(quick))
		}
		if got != eventBuffer+50 {
			t.Errorf("a quick reader got %d", got)
		}
		if n := len(drain(slow)); n != eventBuffer {
			t.Errorf("a slow reader got %d", n)
		}
		s.loop.Tell(Noted{App: "web", Text: "y"})
		all := drain(slow)
		if len(all) != 2 || all[0].Kind != state.EventLost || all[0].Lost != 50 || all[1].Text != "y" {
			t.Errorf("%+v", all)
		}
	})
}

// What a worker says is held for a reader that sleeps, but not without end.
func TestAReaderThatSleepsHoldsLittleOfWhatWorkersSay(t *testing.T) {
	scene(t, func(s *site) {
		s.start(web(1))
		asleep, cancel := s.loop.Events()
		defer cancel()
		big := json.RawMessage(`"` + strings.Repeat("x", 1<<20) + `"`)
		for range 100 {
			s.loop.Tell(Messaged{ID: 101, Data: big})
		}
		s.loop.Tell(Noted{App: "web", Text: "small"})
		s.sleep(ms)
		size, told := 0, 0
		for _, e := range drain(asleep) {
			size += len(e.Data)
			told += e.Lost
		}
		if size == 0 || size > eventBytes || told == 0 {
			t.Errorf("%d bytes for a reader that sleeps, %d events called lost", size, told)
		}
		s.loop.Tell(Messaged{ID: 101, Data: big})
		if got := drain(asleep); len(got) != 1 || len(got[0].Data) != len(big) {
			t.Errorf("awake again it got %d events", len(got))
		}
	})
}

func TestTheEndOfTheLoopEndsTheStream(t *testing.T) {
	scene(t, func(s *site) {
		events, _ := s.loop.Events()
		s.end()
		<-s.over
		if _, more := <-events; more {
			t.Error("an event")
		}
	})
}
