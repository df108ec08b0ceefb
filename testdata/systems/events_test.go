package systems

import (
	"bufio"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"time"

	"supervisor/supervisor/state"
)

// life is when a process was spawned and when it was gone, as the supervisor says.
type life struct{ spawned, gone time.Time }

// lives collects the lives of all workers from now on; the returned function ends that
// and gives them by pid. The daemon has to run.
func (s *system) lives() func() map[int]life {
	s.t.Helper()
	ctx, cancel := context.WithCancel(s.t.Context())
	s.t.Cleanup(cancel)
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", filepath.Join(s.home, "supervisor.sock"))
		},
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://supervisor/v1/events", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	resp, err := client.Do(req) // its head says that we are subscribed
	if err != nil {
		s.t.Fatal(err)
	}
	all := make(map[int]life)
	var done sync.WaitGroup
	done.Go(func() { // ended by cancel
		defer resp.Body.Close()
		lines := bufio.NewScanner(resp.Body)
		for lines.Scan() {
			var e state.Event
			if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
				s.t.Error(err)
				return
			}
			if e.Lost > 0 {
				s.t.Errorf("%d events lost", e.Lost)
			}
			if e.Kind != state.EventWorker {
				continue
			}
			l := all[e.PID]
			switch e.What {
			case state.WhatSpawned:
				l.spawned = e.Time
			case state.WhatGone, state.WhatExited, state.WhatFailed:
				l.gone = e.Time
			}
			all[e.PID] = l
		}
	})
	return func() map[int]life {
		cancel()
		done.Wait()
		return all
	}
}
