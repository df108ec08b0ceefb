package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"strconv"
	"syscall"
	"time"
)

const (
	// kills are those of one measurement, killPause the time that a successor then
	// lives: it is stable, in our terms and in pm2's, before it is killed.
	kills     = 10
	killPause = 60 * time.Millisecond
)

// respawnRow is the time from a worker's SIGKILL to its successor.
func respawnRow() row {
	return row{
		name: "respawn", title: "SIGKILL of a worker to its successor's first act",
		note:    "median of 10; from kill(2) to main of the next worker, a static Go program, which tells the time: its exec and the start of its runtime are in it; bare: a loop of wait, fork and exec",
		quick:   true,
		metrics: []metric{{name: "time", title: "time", unit: "ms", picture: true}},
		sides: []side{
			respawnSide("supervisor", supervise, app{"wait_ready": true, "min_uptime": 20}),
			respawnSide("pm2, fork mode", startPM2, app{"exec_mode": "fork", "min_uptime": 100, "max_restarts": 100000}),
			{"bare", bareRespawn},
		},
		goals: []goal{{side: "supervisor", metric: "time", atMost: 5}},
	}
}

func respawnSide(name string, start manage, keys app) side {
	return side{name, func(s *stage) (measurement, error) {
		f, err := s.fifo()
		if err != nil {
			return nil, err
		}
		s.env = append(s.env, f.env())
		if _, err := start(s, s.tiny(1).with(keys)); err != nil {
			return nil, err
		}
		w, err := f.wait(s.ctx, "ready")
		pid := w.pid
		if err != nil {
			return nil, err
		}
		return func(ctx context.Context) (figures, error) { return respawn(ctx, f, &pid) }, nil
	}}
}

// respawn kills the worker some times, and then pid is the last one's.
func respawn(ctx context.Context, f *fifo, pid *int) (figures, error) {
	var times []float64
	for range kills {
		if err := pause(ctx, killPause); err != nil {
			return nil, err
		}
		begun := now()
		if err := send(*pid, syscall.SIGKILL); err != nil {
			return nil, fmt.Errorf("cannot kill %d: %w", *pid, err)
		}
		w, err := f.wait(ctx, "boot")
		if err != nil {
			return nil, err
		}
		times = append(times, ms(w.at-begun))
		*pid = w.pid
		if _, err := f.wait(ctx, "ready"); err != nil {
			return nil, err
		}
	}
	return figures{"time": median(times)}, nil
}

// bareRespawn is the least that anybody can do.
func bareRespawn(s *stage) (measurement, error) {
	f, err := s.fifo()
	if err != nil {
		return nil, err
	}
	start := func() (*exec.Cmd, error) {
		cmd := exec.Command(s.worker, "sleep")
		cmd.Dir, cmd.Env = s.dir, append(s.env, f.env())
		return cmd, cmd.Start()
	}
	return func(ctx context.Context) (figures, error) {
		cmd, err := start()
		if err != nil {
			return nil, err
		}
		first, err := f.wait(ctx, "ready")
		if err != nil {
			return nil, err
		}
		pid, stop, ended := first.pid, make(chan struct{}), make(chan error, 1)
		go func() { // ended by stop, and the kill after it
			for {
				cmd.Wait()
				select {
				case <-stop:
					ended <- nil
					return
				default:
				}
				if cmd, err = start(); err != nil {
					ended <- err
					return
				}
			}
		}()
		got, err := respawn(ctx, f, &pid)
		close(stop)
		send(pid, syscall.SIGKILL)
		select {
		case lerr := <-ended:
			if lerr != nil {
				return nil, lerr
			}
		case <-ctx.Done():
		}
		return got, err
	}, nil
}

// spawns are those of one measurement, of each kind.
const spawns = 100

// spawnRow is what the shim adds.
func spawnRow() row {
	const shim, bare = "supervisor's shim", "bare fork + exec"
	return row{
		name: "spawn", title: "start and end of a program, through the shim", quick: true,
		note:    "median of 100, in turns, of a static Go program that ends at once; the filter that finds sockets included",
		metrics: []metric{{name: "wall", title: "wall", unit: "ms"}, {name: "over", title: "overhead", unit: "ms"}},
		sides: []side{
			{shim, func(s *stage) (measurement, error) {
				return func(context.Context) (figures, error) {
					got, err := spawn(s)
					return figures{"wall": ms(got.Shim), "over": ms(got.Shim - got.Bare)}, err
				}, nil
			}},
			{bare, func(s *stage) (measurement, error) {
				return func(context.Context) (figures, error) {
					got, err := spawn(s)
					return figures{"wall": ms(got.Bare)}, err
				}, nil
			}},
		},
		goals: []goal{{side: shim, metric: "over", atMost: 2}},
	}
}

// spawned is what the program of the folder spawn says.
type spawned struct{ Shim, Bare time.Duration }

func spawn(s *stage) (got spawned, err error) {
	out, err := s.run(nil, s.spawn, strconv.Itoa(spawns), s.worker, "exit")
	if err != nil {
		return got, err
	}
	return got, json.Unmarshal([]byte(out.out), &got)
}
