package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"syscall"
	"time"

	"supervisor/testdata/load"
)

const (
	// scaleApps of scaleEach workers are the many; one app more serves, under load.
	scaleApps  = 200
	scaleEach  = 5
	scaleKills = 100
	scaleIdle  = 10 * time.Second
	scaleLoad  = 2 // clients
)

// scaleRow is one life of a daemon with 1,000 workers.
func scaleRow() row {
	const own = "supervisor"
	return row{
		name: "scale", title: "1,000 workers in 200 apps", scale: true, fresh: true, rounds: 1, limit: 10 * time.Minute,
		note: "static Go workers that wait, all apps reloaded by one command, each with max_surge 100%; beside them one app of 2 Go servers under a light load",
		metrics: []metric{
			{name: "start", title: "start", unit: "ms"},
			{name: "list", title: "list", unit: "ms"},
			{name: "pss", title: "memory of the daemon (PSS)", unit: "MB"},
			{name: "rss", title: "memory of the daemon (RSS)", unit: "MB"},
			{name: "cpu", title: "CPU of the daemon in 10 idle seconds", unit: "ms"},
			{name: "wakes", title: "wake-ups in 10 idle seconds"},
			{name: "reload", title: "reload of all", unit: "ms"},
			{name: "lost", title: "requests lost in it"},
			{name: "back", title: "kill -9 of 100 until all are back", unit: "ms"},
		},
		sides: []side{{own, manyWorkers}},
		goals: []goal{
			{side: own, metric: "list", atMost: 100},
			{side: own, metric: "pss", atMost: 60},
			{side: own, metric: "cpu", zero: true},
			{side: own, metric: "wakes", zero: true},
			{side: own, metric: "lost", zero: true},
		},
	}
}

func manyWorkers(s *stage) (measurement, error) {
	f, err := s.fifo()
	if err != nil {
		return nil, err
	}
	s.env = append(s.env, f.env())
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	apps := []app{{
		"name": "web", "script": s.server, "instances": 2, "wait_ready": true, "listen_timeout": "120s", "env": map[string]any{"PORT": port},
	}}
	for i := range scaleApps {
		apps = append(apps, s.tiny(scaleEach).with(app{
			"name": fmt.Sprintf("tiny%d", i), "wait_ready": true, "listen_timeout": "120s", "min_uptime": 100,
		}).with(surge))
	}
	return func(ctx context.Context) (figures, error) {
		got := make(figures)
		begun := time.Now()
		m, err := supervise(s, apps...)
		if err != nil {
			return nil, err
		}
		got["start"] = ms(time.Since(begun))
		alive, err := f.ready(ctx, scaleApps*scaleEach)
		if err != nil {
			return nil, err
		}
		for _, step := range []func(context.Context) error{
			func(ctx context.Context) error { return idle(ctx, m, got) },
			func(context.Context) error {
				l, err := list(m, "list")
				got["list"] = l["wall"]
				return err
			},
			func(ctx context.Context) error { return reloadAll(ctx, m, port, got) },
			func(ctx context.Context) error {
				if alive, err = f.ready(ctx, scaleApps*scaleEach); err != nil {
					return err
				}
				return killMany(ctx, f, alive, got)
			},
		} {
			if err := step(ctx); err != nil {
				return nil, err
			}
		}
		return got, nil
	}, nil
}

// ready waits for so many workers, and returns their pids.
func (f *fifo) ready(ctx context.Context, n int) (pids []int, err error) {
	for range n {
		w, err := f.wait(ctx, "ready")
		if err != nil {
			return nil, fmt.Errorf("%d of %d workers are ready: %w", len(pids), n, err)
		}
		pids = append(pids, w.pid)
	}
	return pids, nil
}

// idle is what a daemon has and does when it is left alone.
func idle(ctx context.Context, m manager, got figures) error {
	if err := pause(ctx, settle); err != nil {
		return err
	}
	own := m.own()
	size, err := memory(own)
	if err != nil {
		return err
	}
	got["pss"], got["rss"] = size["pss"], size["rss"]
	used, err := cpu(own)
	if err != nil {
		return err
	}
	woken, err := switches(own)
	if err != nil {
		return err
	}
	if err := pause(ctx, scaleIdle); err != nil {
		return err
	}
	usedAfter, err := cpu(own)
	if err != nil {
		return err
	}
	wokenAfter, err := switches(own)
	got["cpu"], got["wakes"] = ms(usedAfter-used), float64(wokenAfter-woken)
	return err
}

// reloadAll replaces every worker, under a light load.
func reloadAll(ctx context.Context, m manager, port int, got figures) error {
	l := load.Run(ctx, load.Config{Address: local(port), Clients: scaleLoad, Think: 10 * time.Millisecond})
	defer l.Stop()
	if err := l.Wait(flowing); err != nil {
		return err
	}
	c, err := m.run("reload")
	if err != nil {
		return err
	}
	err = l.Wait(flowing)
	got["reload"], got["lost"] = ms(c.wall), float64(l.Stop().Failed)
	return err
}

// killMany kills workers of the last generation, chosen at random, and waits for as
// many successors.
func killMany(ctx context.Context, f *fifo, alive []int, got figures) error {
	if len(alive) < scaleKills {
		return errors.New("too few workers")
	}
	if err := pause(ctx, settle); err != nil { // all have been stable
		return err
	}
	rand.Shuffle(len(alive), func(i, j int) { alive[i], alive[j] = alive[j], alive[i] })
	begun := now()
	for _, pid := range alive[:scaleKills] {
		if err := send(pid, syscall.SIGKILL); err != nil {
			return err
		}
	}
	var last time.Duration
	for range scaleKills {
		w, err := f.wait(ctx, "ready")
		if err != nil {
			return err
		}
		last = max(last, w.at)
	}
	got["back"] = ms(last - begun)
	return nil
}
