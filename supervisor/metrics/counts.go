package metrics

import (
	"slices"
	"time"

	"supervisor/supervisor/state"
)

// Counts is what has happened since it was made: nothing of it outlives the daemon, as
// is usual for counters.
type Counts struct {
	apps    map[string]*counts
	started map[uint64]time.Time // of workers that are not ready yet
	leaving map[uint64]time.Time // of those that were told to end
	lost    uint64               // events that came too fast to be counted
}

// counts are those of one app.
type counts struct {
	kills   uint64
	ready   histogram
	drain   histogram
	reload  histogram
	results map[string]uint64 // by Receipt.Result
	cut     uint64
}

// NewCounts returns counts of nothing.
func NewCounts() *Counts {
	return &Counts{apps: map[string]*counts{}, started: map[uint64]time.Time{}, leaving: map[uint64]time.Time{}}
}

func (c *Counts) of(app string) *counts {
	of := c.apps[app]
	if of == nil {
		of = &counts{results: map[string]uint64{}}
		c.apps[app] = of
	}
	return of
}

// Deleted is what an event of kind EventApp says of an app that is known no more.
const Deleted = "deleted"

// Learn counts an event of the stream. They have to come in their order.
func (c *Counts) Learn(e state.Event) {
	switch e.Kind {
	case state.EventLost:
		c.lost += uint64(e.Lost)
		clear(c.started) // how they went on may be what was lost
		clear(c.leaving)
	case state.EventApp:
		if e.Text == Deleted {
			delete(c.apps, e.App)
		}
	case state.EventReload:
		if e.Receipt != nil {
			c.reloaded(e.App, *e.Receipt)
		}
	case state.EventWorker:
		c.worker(e)
	}
}

func (c *Counts) reloaded(app string, r state.Receipt) {
	of := c.of(app)
	of.results[r.Result]++
	of.reload.observe(time.Duration(r.DurationMS) * time.Millisecond)
	of.cut += uint64(max(0, r.ConnectionsCut))
}

func (c *Counts) worker(e state.Event) {
	switch e.What {
	case state.WhatSpawned:
		c.started[e.Worker] = e.Time
	case state.WhatReady:
		if at, ok := c.started[e.Worker]; ok {
			c.of(e.App).ready.observe(e.Time.Sub(at))
		}
		delete(c.started, e.Worker)
	case state.WhatDraining:
		c.leaving[e.Worker] = e.Time
	case state.WhatKilled:
		c.of(e.App).kills++
	case state.WhatGone, state.WhatExited, state.WhatBackoff, state.WhatErrored:
		if at, ok := c.leaving[e.Worker]; ok {
			c.of(e.App).drain.observe(e.Time.Sub(at))
		}
		delete(c.leaving, e.Worker)
		delete(c.started, e.Worker)
	}
}

// bounds are the upper ends of the buckets of every histogram, in seconds: from a Go
// worker that is ready at once to a drain of minutes.
var bounds = [...]float64{0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300}

// histogram counts durations by bucket.
type histogram struct {
	counts [len(bounds) + 1]uint64 // the last is of what is above all bounds
	sum    float64
}

func (h *histogram) observe(d time.Duration) {
	s := max(0, d.Seconds())
	i, _ := slices.BinarySearch(bounds[:], s)
	h.counts[i]++
	h.sum += s
}
