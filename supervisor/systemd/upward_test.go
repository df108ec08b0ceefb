package systemd

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// manager remembers what was said, with the time since the first word was possible.
type manager struct {
	begin time.Time
	mu    sync.Mutex
	said  []string
}

func (m *manager) say(lines ...string) error {
	text := strings.Join(lines, " ")
	if i := strings.Index(text, "MONOTONIC_USEC="); i >= 0 {
		text = text[:i] + "MONOTONIC_USEC"
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.said = append(m.said, time.Since(m.begin).String()+" "+text)
	return nil
}

func (m *manager) heard(t *testing.T, want ...string) {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	if strings.Join(m.said, "\n") != strings.Join(want, "\n") {
		t.Errorf("said\n%s\nwant\n%s", strings.Join(m.said, "\n"), strings.Join(want, "\n"))
	}
	m.said = nil
}

func speak(t *testing.T, given Manager) (*Upward, *manager) {
	m := &manager{begin: time.Now()}
	given.Say, given.Failed = m.say, func(err error) { t.Error(err) }
	return NewUpward(t.Context(), given), m
}

func TestUpwardLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u, m := speak(t, Manager{Watchdog: 30 * time.Second})
		end := u.Busy()
		time.Sleep(25 * time.Second) // a start that takes long is extended, and there is no watchdog yet
		synctest.Wait()
		m.heard(t, "10s EXTEND_TIMEOUT_USEC=30000000", "20s EXTEND_TIMEOUT_USEC=30000000")
		u.Ready("2 apps")
		end()
		u.Status("2 apps")
		u.Status("1\napp")
		m.heard(t, "25s READY=1 STATUS=2 apps", "25s STATUS=1 app")
		time.Sleep(35 * time.Second)
		synctest.Wait()
		m.heard(t, "40s WATCHDOG=1", "55s WATCHDOG=1")
		first, second := u.Reloading(), u.Reloading()
		first()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		second()
		m.heard(t, "1m0s RELOADING=1 MONOTONIC_USEC", "1m10s WATCHDOG=1 EXTEND_TIMEOUT_USEC=30000000", "1m10s READY=1")
		u.Stopping(5 * time.Second)
		time.Sleep(time.Minute)
		synctest.Wait()
		m.heard(t, "1m10s STOPPING=1 STATUS=stopping EXTEND_TIMEOUT_USEC=5000000")
	})
}

// Nothing is said for a loop that does not answer, and everything else is.
func TestUpwardHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u, m := speak(t, Manager{Watchdog: 2 * time.Second, Ready: true})
		answer := make(chan error)
		u.Watch(func(ctx context.Context) error {
			select {
			case err := <-answer:
				return err
			case <-ctx.Done():
				return ctx.Err()
			}
		})
		time.Sleep(time.Hour)
		u.Status("hung")
		answer <- nil
		synctest.Wait()
		m.heard(t, "1h0m0s STATUS=hung", "1h0m0s WATCHDOG=1")
		time.Sleep(time.Second)
		synctest.Wait()
		answer <- errors.New("it has ended")
		synctest.Wait()
		m.heard(t)
	})
}

// A successor is silent until it is the main process.
func TestUpwardQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u, m := speak(t, Manager{Watchdog: 2 * time.Second, Ready: true, Quiet: true})
		u.Status("a")
		u.Status("b")
		m.heard(t)
		u.Speak()
		m.heard(t, "0s STATUS=a STATUS=b")
	})
}

// A reload within the first start says nothing, and nobody is spoken to by a nil Upward.
func TestUpwardBeforeReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u, m := speak(t, Manager{})
		u.Reloading()()
		m.heard(t)
		u.Ready(strings.Repeat("x", 5000))
		if len(m.said) != 1 || len(m.said[0]) > 2*maxStatus {
			t.Errorf("%d words", len(m.said))
		}
	})
	var nobody *Upward
	nobody.Ready("")
	nobody.Reloading()()
	nobody.Busy()()
	nobody.Stopping(0)
	nobody.Watch(nil)
}

func TestWatchdogOf(t *testing.T) {
	for value, want := range map[string]time.Duration{"": 0, "x": 0, "-1": 0, "0": 0, "30000000": 30 * time.Second, "99999999999999999": 0} {
		if got := WatchdogOf(func(string) string { return value }); got != want {
			t.Errorf("WATCHDOG_USEC=%s: %v, want %v", value, got, want)
		}
	}
}
