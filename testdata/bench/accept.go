package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"supervisor/testdata/load"
)

// The sides that serve with Node, by the way a connection takes.
const (
	shared      = "supervisor, shared"
	even        = "supervisor, even"
	nodeCluster = "Node's cluster"
	pm2Cluster  = "pm2, cluster"
	reusePorts  = "bare, SO_REUSEPORT"
)

// Ours beside a default, so that a row means what it says whichever is the default.
var (
	sharedKeys = app{"balance": "shared"}
	evenKeys   = app{"balance": "even"}
)

// site is somebody who serves at a port.
type site struct {
	port int
	// pids are those of the workers; nil where there is no manager to ask.
	pids func() ([]int, error)
}

// serving is a side that serves.
type serving struct {
	name string
	open func(s *stage, workers int) (*site, error)
}

// nodeServing are the ways to serve with app.js.
func nodeServing() map[string]serving {
	all := make(map[string]serving)
	for _, v := range []serving{
		managed(shared, supervise, sharedKeys), managed(even, supervise, evenKeys),
		managed(pm2Cluster, startPM2, nil),
		{nodeCluster, func(s *stage, workers int) (*site, error) {
			return bareSite(s, workers, 1, s.node, s.cluster)
		}},
		{reusePorts, func(s *stage, workers int) (*site, error) {
			return bareSite(s, 1, workers, s.node, s.app)
		}},
	} {
		all[v.name] = v
	}
	return all
}

// managed is app.js under a manager.
func managed(name string, start manage, keys app) serving {
	return serving{name, func(s *stage, workers int) (*site, error) {
		port, err := freePort()
		if err != nil {
			return nil, err
		}
		m, err := start(s, s.nodeApp(port, workers).with(s.known(keys)))
		if err != nil {
			return nil, err
		}
		return &site{port, func() ([]int, error) { return m.pids("web") }}, nil
	}}
}

// known leaves out a balance that is the only one this build has.
func (s *stage) known(keys app) app {
	if !s.even && keys["balance"] == "shared" {
		return nil
	}
	return keys
}

// bareSite starts so many processes, each with so many workers of its own.
func bareSite(s *stage, workers, processes int, path string, args ...string) (*site, error) {
	if path == "" {
		return nil, absent(s.missing["node"])
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	env := []string{portEnv(port), fmt.Sprintf("WORKERS=%d", workers)}
	if processes > 1 {
		env = append(env, "REUSE_PORT=1")
		args = append([]string{"-c", together, path, strconv.Itoa(processes)}, args...)
		path = "/bin/sh"
	}
	_, err = s.serve(workers*processes, env, path, args...)
	return &site{port: port}, err
}

// together starts a program several times, in one session, as the workers of a daemon
// are.
const together = `n=$1; shift; while [ $n -gt 0 ]; do "$0" "$@" & n=$((n-1)); done; wait`

// sides makes a row's sides: each serves with so many workers, and is measured by do.
func sides(all map[string]serving, workers int, do func(context.Context, *site) (figures, error), names ...string) (list []side) {
	for _, name := range names {
		v := all[name]
		list = append(list, side{name, func(s *stage) (measurement, error) {
			at, err := v.open(s, workers)
			if err != nil {
				return nil, err
			}
			return func(ctx context.Context) (figures, error) { return do(ctx, at) }, nil
		}})
	}
	return list
}

const (
	// connects is how long connections are counted, warmth how long they are made
	// before that, and connectors how many make them.
	connects   = 2 * time.Second
	warmth     = 500 * time.Millisecond
	connectors = 16
)

// acceptNodeRow is how many connections two workers take.
func acceptNodeRow() row {
	return row{
		name: "accept-node", title: "new connections per second, 2 Node workers",
		note:    "a connection for each request, 16 clients on the same machine",
		metrics: []metric{{name: "rate", title: "connections per second", unit: "1/s", picture: true}},
		sides:   sides(nodeServing(), 2, connect, shared, even, nodeCluster, pm2Cluster, reusePorts),
		goals: []goal{
			{side: shared, metric: "rate", against: nodeCluster, atLeast: 1},
			{side: shared, metric: "rate", against: reusePorts, atLeast: 0.95},
			{side: even, metric: "rate", against: nodeCluster, atLeast: 1},
			{side: even, metric: "rate", against: reusePorts, atLeast: 0.95},
		},
	}
}

// acceptGoRow is the same with Go, where the workers cost less beside the accept.
func acceptGoRow() row {
	goApp := func(keys app) func(s *stage, workers int) (*site, error) {
		return func(s *stage, workers int) (*site, error) {
			port, err := freePort()
			if err != nil {
				return nil, err
			}
			web := app{"name": "web", "script": s.server, "instances": workers, "wait_ready": true, "env": map[string]any{"PORT": port}}
			_, err = supervise(s, web.with(s.known(keys)))
			return &site{port: port}, err
		}
	}
	all := map[string]serving{
		shared: {shared, goApp(sharedKeys)}, even: {even, goApp(evenKeys)},
		reusePorts: {reusePorts, func(s *stage, workers int) (*site, error) { return bareSite(s, 1, workers, s.server) }},
	}
	return row{
		name: "accept-go", title: "new connections per second, 2 Go workers",
		note:    "a connection for each request, 16 clients on the same machine",
		metrics: []metric{{name: "rate", title: "connections per second", unit: "1/s"}},
		sides:   sides(all, 2, connect, shared, even, reusePorts),
		goals: []goal{
			{side: shared, metric: "rate", against: reusePorts, atLeast: 0.95},
			{side: even, metric: "rate", against: reusePorts, atLeast: 0.95},
		},
	}
}

// connect counts connections.
func connect(ctx context.Context, at *site) (figures, error) {
	cfg := load.Config{Address: local(at.port), Clients: connectors, Think: -1}
	warm := load.Run(ctx, cfg)
	err := pause(ctx, warmth)
	warm.Stop()
	if err != nil {
		return nil, err
	}
	l := load.Run(ctx, cfg)
	err = pause(ctx, connects)
	r := l.Stop()
	if err != nil {
		return nil, err
	}
	if r.Failed > 0 {
		return nil, fmt.Errorf("connections failed: %v", r)
	}
	return figures{"rate": float64(r.Requests) / r.Elapsed.Seconds()}, nil
}
