package main

import (
	"context"
	"fmt"
	"syscall"
	"time"
)

// surge is the strategy that starts all the new workers at once.
var surge = app{"reload": map[string]any{"max_surge": "100%"}}

// nodeApp is app.js in two workers.
func (s *stage) nodeApp(port, instances int) app {
	return app{
		"name": "web", "script": s.app, "instances": instances, "exec_mode": "cluster",
		"wait_ready": true, "listen_timeout": 30000,
		"env": map[string]any{"PORT": port},
	}
}

// reloadNodeRow is the reload of two workers that are ready at once.
func reloadNodeRow() row {
	const own = "one bare worker, boot + drain"
	drains := func(keys app) func(s *stage, port int) app {
		return func(s *stage, port int) app {
			return s.nodeApp(port, 2).with(app{"env": map[string]any{"PORT": port, "DRAIN": "1"}}).with(keys)
		}
	}
	return row{
		name: "reload-node", title: "reload of 2 Node workers that are ready at once",
		note:    "the whole command; by default one worker after the other; a bare worker's time is from its exec to ready, and from SIGINT to its end",
		metrics: []metric{{name: "wall", title: "wall", unit: "ms", picture: true}},
		sides: []side{
			reloadSide("supervisor", supervise, drains(nil)),
			reloadSide("supervisor, max_surge 100%", supervise, drains(surge)),
			reloadSide("pm2", startPM2, drains(nil)),
			{own, bareReload},
		},
		goals: []goal{
			{side: "supervisor", metric: "wall", against: "pm2", atMost: 0.5},
			{side: "supervisor", metric: "wall", against: own, atMost: 2 * 1.15},
			{side: "supervisor, max_surge 100%", metric: "wall", against: own, atMost: 1.15},
		},
	}
}

// reloadGoRow is the reload of eight workers that are ready in 3 ms.
func reloadGoRow() row {
	quick := func(keys app, env ...string) func(s *stage, port int) app {
		return func(s *stage, port int) app {
			vars := map[string]any{"PORT": port, "DELAY": "3ms"}
			for _, name := range env {
				vars[name] = "1"
			}
			return app{"name": "web", "script": s.server, "instances": 8, "listen_timeout": 30000, "env": vars}.with(keys)
		}
	}
	ready := app{"exec_mode": "cluster", "wait_ready": true}
	return row{
		name: "reload-go", title: "reload of 8 Go workers that are ready in 3 ms",
		note:    "the whole command; pm2 has no reload for Go: it stops and starts each, and its workers share their port by SO_REUSEPORT",
		metrics: []metric{{name: "wall", title: "wall", unit: "ms", picture: true}},
		sides: []side{
			reloadSide("supervisor, max_surge 100%", supervise, quick(ready.with(surge))),
			reloadSide("supervisor, blue-green", supervise, quick(ready.with(app{"reload": map[string]any{"strategy": "blue-green"}}))),
			reloadSide("supervisor", supervise, quick(ready)),
			reloadSide("pm2, fork mode", startPM2, quick(app{"exec_mode": "fork"}, "REUSE_PORT")),
		},
		goals: []goal{
			{side: "supervisor, max_surge 100%", metric: "wall", atMost: 60},
			{side: "supervisor, blue-green", metric: "wall", atMost: 60},
		},
	}
}

// reloadSide measures the command `reload web`.
func reloadSide(name string, start manage, web func(s *stage, port int) app) side {
	return side{name, func(s *stage) (measurement, error) {
		port, err := freePort()
		if err != nil {
			return nil, err
		}
		m, err := start(s, web(s, port))
		if err != nil {
			return nil, err
		}
		return func(context.Context) (figures, error) {
			c, err := m.run("reload", "web")
			return figures{"wall": ms(c.wall)}, err
		}, nil
	}}
}

// bareReload is what one worker takes by itself.
func bareReload(s *stage) (measurement, error) {
	if s.node == "" {
		return nil, absent(s.missing["node"])
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) (figures, error) {
		begun := time.Now()
		b, err := s.serve(1, []string{portEnv(port), "DRAIN=1"}, s.node, s.app)
		if err != nil {
			return nil, err
		}
		boot := time.Since(begun)
		begun = time.Now()
		if err := b.cmd.Process.Signal(syscall.SIGINT); err != nil {
			return nil, err
		}
		select {
		case <-b.ended:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if code := b.cmd.ProcessState.ExitCode(); code != 0 {
			return nil, fmt.Errorf("the bare worker ended with %d", code)
		}
		return figures{"wall": ms(boot + time.Since(begun))}, nil
	}, nil
}
