package main

import (
	"context"
	"errors"
	"slices"
	"syscall"
	"time"

	"supervisor/testdata/load"
)

const (
	// crashes are those of one measurement, crashPause the time between two.
	crashes    = 3
	crashPause = 1200 * time.Millisecond
	// flowing is how many answers say that a load flows.
	flowing = 50
)

// crashRow is what a crash costs the clients.
func crashRow() row {
	return row{
		name: "crash", title: "SIGKILL of one of 3 Node workers, under load",
		note:   "3 of them, 1.2 s apart; 8 clients, a connection for each request; a request in flight in a worker that is killed is lost",
		rounds: 3,
		metrics: []metric{
			{name: "lost", title: "requests lost"},
			{name: "max", title: "longest wait", unit: "ms"},
		},
		sides: sides(nodeServing(), 3, crash, shared, even, pm2Cluster),
		goals: []goal{
			{side: shared, metric: "lost", atMost: crashes * askers},
			{side: even, metric: "lost", atMost: crashes * askers},
		},
	}
}

func crash(ctx context.Context, at *site) (figures, error) {
	l := load.Run(ctx, load.Config{Address: local(at.port), Clients: askers})
	defer l.Stop()
	for range crashes {
		if err := pause(ctx, crashPause); err != nil {
			return nil, err
		}
		pids, err := at.pids()
		if err != nil {
			return nil, err
		}
		if len(pids) == 0 {
			return nil, errors.New("no worker runs")
		}
		// The oldest: it has lived for longer than min_uptime.
		if err := send(slices.Min(pids), syscall.SIGKILL); err != nil {
			return nil, err
		}
	}
	if err := pause(ctx, crashPause); err != nil {
		return nil, err
	}
	r := l.Stop()
	return figures{"lost": float64(r.Failed), "max": ms(r.Max)}, nil
}

// lostMetrics are those of a reload under load; nothing lost is nothing lost in any
// round.
func lostMetrics() []metric {
	return []metric{
		{name: "wall", title: "wall", unit: "ms"},
		{name: "new", title: "lost on new connections", over: slices.Max[[]float64]},
		{name: "busy", title: "lost on busy keep-alive", over: slices.Max[[]float64]},
	}
}

// reloadUnderLoad counts what is lost, on both kinds of connections, while do reloads.
func reloadUnderLoad(ctx context.Context, port int, do func(ctx context.Context) (time.Duration, error)) (figures, error) {
	cfg := load.Config{Address: local(port), Clients: askers}
	fresh := load.Run(ctx, cfg)
	defer fresh.Stop()
	cfg.KeepAlive = true
	busy := load.Run(ctx, cfg)
	defer busy.Stop()
	flows := func() error { return errors.Join(fresh.Wait(flowing), busy.Wait(flowing)) }
	if err := flows(); err != nil {
		return nil, err
	}
	wall, err := do(ctx)
	if err != nil {
		return nil, err
	}
	if err := flows(); err != nil {
		return nil, err
	}
	return figures{"wall": ms(wall), "new": float64(fresh.Stop().Failed), "busy": float64(busy.Stop().Failed)}, nil
}

// commanded is a reload by a manager's command.
func commanded(m manager) func(context.Context) (time.Duration, error) {
	return func(context.Context) (time.Duration, error) {
		c, err := m.run("reload", "web")
		return c.wall, err
	}
}

// lostNodeRow is the default Node program, which has no handler for the stop signal.
func lostNodeRow() row {
	reloaded := func(name string, start manage, keys app) side {
		return side{name, func(s *stage) (measurement, error) {
			port, err := freePort()
			if err != nil {
				return nil, err
			}
			m, err := start(s, s.nodeApp(port, 2).with(s.known(keys)))
			if err != nil {
				return nil, err
			}
			return func(ctx context.Context) (figures, error) {
				return reloadUnderLoad(ctx, port, commanded(m))
			}, nil
		}}
	}
	metrics := lostMetrics()
	metrics[2].picture = true
	return row{
		name: "lost-node", title: "reload under load of 2 Node workers without a signal handler",
		note:    "requests lost in a reload, the most of the rounds; 8 clients with a connection for each request, 8 on keep-alive",
		rounds:  3,
		metrics: metrics,
		sides: []side{
			reloaded(shared, supervise, sharedKeys), reloaded(even, supervise, evenKeys), reloaded(pm2Cluster, startPM2, nil),
		},
		goals: []goal{
			{side: shared, metric: "new", zero: true}, {side: shared, metric: "busy", zero: true},
			{side: even, metric: "new", zero: true}, {side: even, metric: "busy", zero: true},
		},
	}
}
