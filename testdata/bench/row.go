package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// row is one piece of work that all its sides do.
type row struct {
	name  string // what -only takes
	title string
	note  string // how it was done, where the title does not say it
	// rounds is the most that are measured; 0: as many as -rounds says.
	rounds int
	// fresh opens a side anew for each round, and no other beside it: memory, and
	// what a side does only once.
	fresh bool
	scale bool // measured with -scale only
	// limit bounds one measurement; 0: guard.
	limit   time.Duration
	quick   bool // part of -quick
	metrics []metric
	sides   []side // ours first
	goals   []goal
}

// metric is one of the figures of a row's measurement.
type metric struct {
	name, title, unit string
	// over makes one value of the rounds'; nil: the median.
	over func([]float64) float64
	// picture: the metric has bars in the SVG.
	picture bool
}

// side is somebody who does the work.
type side struct {
	name string
	// open prepares the stage and returns the measurement, which may be repeated.
	open func(*stage) (measurement, error)
}

// measurement is done once in each round.
type measurement func(ctx context.Context) (figures, error)

// figures are by the metrics' names.
type figures map[string]float64

// goal is a bound for a side's metric: atMost or atLeast, times the value of the side
// against if there is one, else itself.
type goal struct {
	side, metric    string
	against         string
	atMost, atLeast float64
	zero            bool // atMost 0
}

// absent says why a side can't be measured here.
type absent string

func (a absent) Error() string { return string(a) }

// guard bounds one measurement; it is no measure of anything.
const guard = 2 * time.Minute

// measure runs a row's rounds. A side that fails is measured no more, and the error is
// of those that did; with the result, unless ctx has ended.
func measure(ctx context.Context, t *tools, r row, o options) (rowResult, error) {
	rounds := o.rounds
	if r.rounds > 0 {
		rounds = min(rounds, r.rounds)
	}
	if o.quick {
		rounds = 1
	}
	m := &measuring{tools: t, row: r, samples: make(map[string][]figures), missing: make(map[string]string)}
	defer m.close()
	var failed error
	for round := range rounds {
		for _, s := range r.sides {
			if m.missing[s.name] != "" {
				continue
			}
			got, err := m.one(ctx, s)
			if why := absent(""); errors.As(err, &why) {
				m.missing[s.name] = string(why)
				continue
			}
			if ctx.Err() != nil {
				return rowResult{}, ctx.Err()
			}
			if err != nil {
				failed = errors.Join(failed, fmt.Errorf("%s: %s, round %d: %w", r.name, s.name, round+1, err))
				m.missing[s.name], _, _ = strings.Cut("failed: "+err.Error(), "\n")
				fmt.Fprintf(o.log, "  round %d  %-32s %v\n", round+1, s.name, err)
				continue
			}
			m.samples[s.name] = append(m.samples[s.name], got)
			fmt.Fprintf(o.log, "  round %d  %-32s %s\n", round+1, s.name, got.text(r.metrics))
		}
	}
	return m.result(rounds), failed
}

// measuring is a row on its way.
type measuring struct {
	tools   *tools
	row     row
	open    []*stage
	ready   map[string]measurement
	samples map[string][]figures
	missing map[string]string // why a side has none
}

// one measures a side once.
func (m *measuring) one(ctx context.Context, s side) (figures, error) {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(m.row.limit, guard))
	defer cancel()
	if do := m.ready[s.name]; do != nil {
		return do(ctx)
	}
	st, err := m.tools.stage()
	if err != nil {
		return nil, err
	}
	m.open = append(m.open, st)
	if m.row.fresh {
		defer m.close()
	}
	st.ctx = ctx
	do, err := s.open(st)
	if err != nil {
		return nil, err
	}
	if !m.row.fresh {
		if m.ready == nil {
			m.ready = make(map[string]measurement)
		}
		m.ready[s.name] = func(ctx context.Context) (figures, error) {
			st.ctx = ctx
			return do(ctx)
		}
	}
	return do(ctx)
}

// close ends what the sides have started.
func (m *measuring) close() {
	for _, st := range m.open {
		st.close()
	}
	m.open, m.ready = nil, nil
}

// result makes values of the samples, and judges them.
func (m *measuring) result(rounds int) rowResult {
	r := rowResult{Name: m.row.name, Title: m.row.title, Note: m.row.note, Rounds: rounds, When: time.Now().UTC().Truncate(time.Second)}
	for _, mt := range m.row.metrics {
		mr := metricResult{Name: mt.name, Title: mt.title, Unit: mt.unit, Picture: mt.picture}
		for _, s := range m.row.sides {
			sr := sideResult{Side: s.name, Missing: m.missing[s.name]}
			for _, f := range m.samples[s.name] {
				if v, ok := f[mt.name]; ok {
					sr.Samples = append(sr.Samples, round(v))
				}
			}
			if len(sr.Samples) > 0 && sr.Missing == "" {
				v := round(mt.combine(sr.Samples))
				sr.Value = &v
			} else if sr.Missing == "" {
				continue // the side has no such figure
			}
			mr.Sides = append(mr.Sides, sr)
		}
		r.Metrics = append(r.Metrics, mr)
	}
	for _, g := range m.row.goals {
		r.Goals = append(r.Goals, g.judge(m.row, r))
	}
	return r
}

// combine makes one value of the rounds'.
func (m metric) combine(samples []float64) float64 {
	if m.over != nil {
		return m.over(samples)
	}
	return median(samples)
}

// metric finds a row's metric.
func (r row) metric(name string) metric {
	for _, m := range r.metrics {
		if m.name == name {
			return m
		}
	}
	panic("row " + r.name + " has no metric " + name)
}

// judge holds the result against the goal. The ratio of two sides is the median of
// the rounds' ratios where the metric is a median, since the rounds are what the
// machine did at the same time; else that of the values.
func (g goal) judge(r row, result rowResult) goalResult {
	m := r.metric(g.metric)
	got := goalResult{Side: g.side, Metric: g.metric, Against: g.against, AtMost: g.atMost, AtLeast: g.atLeast, Zero: g.zero}
	own := result.side(g.metric, g.side)
	if own == nil || own.Value == nil {
		return got
	}
	reached := *own.Value
	if g.against != "" {
		other := result.side(g.metric, g.against)
		if other == nil || other.Value == nil || *other.Value == 0 {
			return got
		}
		reached /= *other.Value
		if m.over == nil && len(own.Samples) == len(other.Samples) && !slices.Contains(other.Samples, 0) {
			var ratios []float64
			for i := range own.Samples {
				ratios = append(ratios, own.Samples[i]/other.Samples[i])
			}
			reached = median(ratios)
		}
	}
	reached = round(reached)
	met := reached <= g.atMost
	if g.atLeast > 0 {
		met = reached >= g.atLeast
	}
	got.Reached, got.Met = &reached, &met
	return got
}

// median is the middle one, or the mean of the middle two.
func median(values []float64) float64 {
	v := slices.Sorted(slices.Values(values))
	if len(v) == 0 {
		return 0
	}
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}
