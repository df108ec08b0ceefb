package systems

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"supervisor/testdata/load"
)

const (
	servicePort  = 3200
	receiverPort = 3201
	// quota is the ecosystem's: two workers, and one more during a reload.
	quota = 3
)

// webhooks is what the service knows of its subscribers.
type webhooks struct {
	Subscriptions []string
	Peak, Refused int
	Events        int
	Delivered     int
	Undelivered   int
	Unheard       int // events at a time without a subscription
	Journal       []struct {
		At       time.Time
		What, By string
		Now      int
	}
}

func (s *system) webhooks() (w webhooks) {
	s.t.Helper()
	_, body := s.get(servicePort, "/subscriptions")
	s.Decode(body, &w)
	return w
}

// subscriber tells the pid of who subscribed.
func subscriber(t *testing.T, by string) int {
	t.Helper()
	pid, err := strconv.Atoi(by[strings.LastIndexByte(by, '-')+1:])
	if err != nil {
		t.Fatalf("subscriber %q", by)
	}
	return pid
}

// subscribed compares the subscriptions with the workers that run.
func (s *system) subscribed() {
	s.t.Helper()
	var have []int
	for _, by := range s.webhooks().Subscriptions {
		have = append(have, subscriber(s.t, by))
	}
	want := s.Pids("receiver")
	slices.Sort(have)
	slices.Sort(want)
	if !slices.Equal(have, want) {
		s.t.Errorf("subscribed are %v, workers are %v", have, want)
	}
}

// events is a load of events: an answer is lost if one subscriber did not get one.
func (s *system) events() load.Config {
	return load.Config{Address: s.address(servicePort), Path: "/events", Body: []byte(`{"kind":"test"}`), Think: 5 * time.Millisecond}
}

// Reload and stop leave no subscription behind, no event is lost meanwhile, and there
// are never more subscriptions than workers.
func TestWebhookUnsubscribesUnderLoad(t *testing.T) {
	s := open(t, "webhook")
	s.Must("start", "--only", "service")
	lives := s.lives()
	s.Must("start")
	s.subscribed()
	s.under(func() {
		for range reloads {
			s.clean("receiver")
			s.subscribed()
		}
	}, s.events())
	if w := s.webhooks(); w.Unheard > 0 {
		t.Errorf("%d events came at a time without a subscription", w.Unheard)
	}
	s.under(func() { s.Must("stop", "receiver") }, s.events())
	w := s.webhooks()
	t.Logf("%d events, %d delivered, %d undelivered, %d after the last subscription; peak %d, refused %d; journal of %d",
		w.Events, w.Delivered, w.Undelivered, w.Unheard, w.Peak, w.Refused, len(w.Journal))
	if len(w.Subscriptions) > 0 {
		t.Errorf("left behind after stop: %v", w.Subscriptions)
	}
	if w.Undelivered > 0 || w.Peak != quota || w.Refused > 0 {
		t.Errorf("undelivered %d, want 0; peak %d, want %d; refused %d, want 0", w.Undelivered, w.Peak, quota, w.Refused)
	}
	w.within(t, lives(), 2*(reloads+1))
	if left := s.logged("receiver", " leaves a subscription behind"); left > 0 {
		t.Errorf("%d workers left one behind", left)
	}
	s.Must("stop")
}

// within checks that each worker was subscribed once, after its spawn and until before
// its end: so at no time there were more subscriptions than workers.
func (w webhooks) within(t *testing.T, lives map[int]life, workers int) {
	t.Helper()
	events := make(map[int]string)
	for _, e := range w.Journal {
		pid := subscriber(t, e.By)
		events[pid] += e.What + " "
		l := lives[pid]
		// The journal's clock has milliseconds.
		if e.At.Before(l.spawned.Add(-time.Millisecond)) || l.gone.IsZero() || e.At.After(l.gone) {
			t.Errorf("%s %s at %v; it lived from %v to %v", e.By, e.What, e.At, l.spawned, l.gone)
		}
	}
	for pid, all := range events {
		if all != "subscribed unsubscribed " {
			t.Errorf("pid %d: %s", pid, all)
		}
	}
	if len(events) != workers {
		t.Errorf("%d workers were subscribed, want %d", len(events), workers)
	}
}

// A single worker has nobody to answer for it: it is asked itself, after SIGINT.
func TestWebhookAnswersItsOwnLastChallenge(t *testing.T) {
	s := open(t, "webhook")
	s.edit("ecosystem.yaml", func(text string) string { return strings.Replace(text, "instances: 2", "instances: 1", 1) })
	s.Must("start")
	me := fmt.Sprintf("receiver-0-%d", s.Pids("receiver")[0])
	if status, body := s.get(receiverPort, "/"); status != 200 || !strings.Contains(body, me) {
		t.Errorf("the worker says %d %s, want %s", status, body, me)
	}
	s.Must("stop", "receiver")
	if own := fmt.Sprintf("%s asked about unsubscribe of %s", me, me); s.logged("receiver", own) != 1 {
		t.Errorf("not logged: %s", own)
	}
	if w := s.webhooks(); len(w.Subscriptions) > 0 {
		t.Errorf("left behind: %v", w.Subscriptions)
	}
}

// stop of everything goes in the reverse order, so the service is there to be told.
func TestWebhookStopsInOrder(t *testing.T) {
	s := open(t, "webhook")
	s.Must("start")
	s.Must("stop")
	if n := s.logged("receiver", " unsubscribed"); n != 2 {
		t.Errorf("%d workers unsubscribed, want 2", n)
	}
}
