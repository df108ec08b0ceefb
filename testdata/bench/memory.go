package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// settle is how long a daemon is left alone before it is called idle.
const settle = 3 * time.Second

// tiny is an app that costs next to nothing, so that what is seen is its supervisor.
func (s *stage) tiny(instances int) app {
	return app{"name": "tiny", "script": s.worker, "args": []string{"sleep"}, "instances": instances, "listen_timeout": 60000}
}

// memoryRow is the memory of an idle daemon.
func memoryRow(name string, workers int, bound float64) row {
	return row{
		name: name, title: fmt.Sprintf("memory of the idle daemon, %d workers", workers),
		note:   "all processes that are not workers, 3 s after the start; static Go workers, which pm2 runs in fork mode",
		rounds: 3, fresh: true, quick: workers < 10,
		metrics: []metric{
			{name: "pss", title: "PSS", unit: "MB", picture: true},
			{name: "rss", title: "RSS", unit: "MB"},
		},
		sides: []side{
			memorySide("supervisor", supervise, workers, app{"exec_mode": "cluster", "wait_ready": true}),
			memorySide("supervisor, fork mode", supervise, workers, app{"exec_mode": "fork", "wait_ready": true}),
			memorySide("pm2, fork mode", startPM2, workers, app{"exec_mode": "fork"}),
		},
		goals: []goal{
			{side: "supervisor", metric: "pss", against: "pm2, fork mode", atMost: bound},
			{side: "supervisor, fork mode", metric: "pss", against: "pm2, fork mode", atMost: bound},
		},
	}
}

func memorySide(name string, start manage, workers int, keys app) side {
	return side{name, func(s *stage) (measurement, error) {
		m, err := start(s, s.tiny(workers).with(keys))
		if err != nil {
			return nil, err
		}
		return func(ctx context.Context) (figures, error) {
			if err := pause(ctx, settle); err != nil {
				return nil, err
			}
			return memory(m.own())
		}, nil
	}}
}

// memory sums what processes have, in MB (2^20 bytes).
func memory(procs []proc) (figures, error) {
	if len(procs) == 0 {
		return nil, fmt.Errorf("there is no daemon")
	}
	sum := figures{"pss": 0, "rss": 0}
	for _, p := range procs {
		// proc_pid_smaps(5)
		data, err := os.ReadFile("/proc/" + strconv.Itoa(p.pid) + "/smaps_rollup")
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(data)) {
			fields := strings.Fields(line)
			if len(fields) != 3 {
				continue
			}
			name := strings.ToLower(strings.TrimSuffix(fields[0], ":"))
			if _, wanted := sum[name]; !wanted {
				continue
			}
			kb, err := strconv.ParseFloat(fields[1], 64)
			if err != nil {
				return nil, err
			}
			sum[name] += kb / 1024
		}
	}
	return sum, nil
}

// lists is how often a list is asked for in one measurement.
const lists = 5

// listRow is the list as a whole command.
func listRow() row {
	return row{
		name: "list", title: "list of 2 workers", note: "`supervisor list` and `pm2 ls`, each as a whole process", quick: true,
		metrics: []metric{
			{name: "wall", title: "wall", unit: "ms", picture: true},
			{name: "cpu", title: "CPU of the command", unit: "ms"},
		},
		sides: []side{
			listSide("supervisor", supervise, "list", app{"wait_ready": true}),
			listSide("pm2", startPM2, "ls", app{"exec_mode": "fork"}),
		},
		goals: []goal{{side: "supervisor", metric: "wall", against: "pm2", atMost: 1.0 / 12}},
	}
}

func listSide(name string, start manage, command string, keys app) side {
	return side{name, func(s *stage) (measurement, error) {
		m, err := start(s, s.tiny(2).with(keys))
		if err != nil {
			return nil, err
		}
		return func(context.Context) (figures, error) { return list(m, command) }, nil
	}}
}

// list is the median of some lists.
func list(m manager, command string) (figures, error) {
	var wall, cpu []float64
	for range lists {
		c, err := m.run(command)
		if err != nil {
			return nil, err
		}
		wall, cpu = append(wall, ms(c.wall)), append(cpu, ms(c.cpu))
	}
	return figures{"wall": median(wall), "cpu": median(cpu)}, nil
}

// ms is a duration in milliseconds.
func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
