package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"time"

	"supervisor/testdata/load"
)

// pace is the pause between two connections that are then held.
const pace = 3 * time.Millisecond

// fairnessRow is how connections that stay are spread.
func fairnessRow(name string, connections, workers int, metrics []metric, goals []goal) row {
	hold := func(ctx context.Context, at *site) (figures, error) {
		return held(ctx, at, connections, workers)
	}
	return row{
		name: name, title: fmt.Sprintf("%d keep-alive connections on %d Node workers", connections, workers),
		note:    "made 3 ms apart and held; the worst of the rounds",
		metrics: metrics,
		sides:   sides(nodeServing(), workers, hold, even, shared, nodeCluster, pm2Cluster, reusePorts),
		goals:   goals,
	}
}

func fairnessRows() []row {
	least := metric{name: "least", title: "fewest on a worker", over: slices.Min[[]float64]}
	most := metric{name: "most", title: "most on a worker", over: slices.Max[[]float64], picture: true}
	four := fairnessRow("fairness-100", 100, 4, []metric{least, most}, []goal{
		{side: even, metric: "least", atLeast: 18},
		{side: even, metric: "most", atMost: 35},
	})
	two := fairnessRow("fairness-8", 8, 2, []metric{least, most}, []goal{
		{side: even, metric: "most", atMost: 7},
	})
	two.metrics = []metric{least, {name: "most", title: most.title, over: most.over}}
	return []row{four, two}
}

// held makes connections, asks once on each, and counts them by worker while all are
// open.
func held(ctx context.Context, at *site, connections, workers int) (figures, error) {
	var open []net.Conn
	defer func() {
		for _, c := range open {
			c.Close()
		}
	}()
	by := make(map[string]int)
	for range connections {
		c, err := net.Dial("tcp", local(at.port))
		if err != nil {
			return nil, err
		}
		open = append(open, c)
		c.SetDeadline(time.Now().Add(load.DefaultTimeout))
		pid, err := ask(c, "/", "keep-alive")
		if err != nil {
			return nil, err
		}
		by[pid]++
		if err := pause(ctx, pace); err != nil {
			return nil, err
		}
	}
	least, most := connections, 0
	for _, n := range by {
		least, most = min(least, n), max(most, n)
	}
	if len(by) < workers {
		least = 0
	}
	return figures{"least": float64(least), "most": float64(most)}, nil
}

// ask sends one request and returns the body of its answer.
func ask(c net.Conn, path, connection string) (string, error) {
	if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: bench\r\nConnection: %s\r\n\r\n", path, connection); err != nil {
		return "", err
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return string(body), err
}

const (
	// blockedFor is how long requests are counted, and blockAfter when one of the
	// workers is told to compute for 3 s (app.js).
	blockedFor = 5 * time.Second
	blockAfter = 500 * time.Millisecond
	askers     = 8
)

// blockedRow is what the others do while a worker computes.
func blockedRow() row {
	return row{
		name: "blocked", title: "one of 3 Node workers computes for 3 s",
		note:   "8 clients, a connection for each request, for 5 s; a request that waits for that worker waits for all of the 3 s",
		rounds: 3,
		metrics: []metric{
			{name: "served", title: "requests served"},
			{name: "p99", title: "99 of 100 waited at most", unit: "ms"},
			{name: "max", title: "longest wait", unit: "ms"},
		},
		sides: sides(nodeServing(), 3, blocked, shared, even, nodeCluster, pm2Cluster),
		goals: []goal{
			{side: shared, metric: "served", against: pm2Cluster, atLeast: 1},
			{side: even, metric: "served", against: pm2Cluster, atLeast: 1},
		},
	}
}

func blocked(ctx context.Context, at *site) (figures, error) {
	l := load.Run(ctx, load.Config{Address: local(at.port), Clients: askers})
	defer l.Stop()
	if err := pause(ctx, blockAfter); err != nil {
		return nil, err
	}
	answered := make(chan error, 1)
	go func() { // ended by its deadline
		c, err := net.Dial("tcp", local(at.port))
		if err == nil {
			c.SetDeadline(time.Now().Add(load.DefaultTimeout))
			_, err = ask(c, "/block", "close")
			c.Close()
		}
		answered <- err
	}()
	if err := pause(ctx, blockedFor-blockAfter); err != nil {
		return nil, err
	}
	r := l.Stop()
	if err := <-answered; err != nil {
		return nil, fmt.Errorf("/block: %w", err)
	}
	if r.Failed > 0 {
		return nil, fmt.Errorf("requests failed: %v", r)
	}
	return figures{"served": float64(r.Requests), "p99": ms(r.P99), "max": ms(r.Max)}, nil
}
